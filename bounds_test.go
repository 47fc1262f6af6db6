package tokenguard

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
)

// A long scope is kept by its hash, which nobody notices.
func TestLongScopes(t *testing.T) {
	long := strings.Repeat("<repository>", 40)
	store := NewMemoryStore()
	var events []Event
	bubble(t, func(t *testing.T, r *rig) {
		first := r.must(Request{Scope: long + "a"})
		assert.Equal(t, long+"a", first.Token.Scope())
		assert.Equal(t, long+"a", r.up.calls[0].Scope, "RequestFunc sees the whole name")
		again := r.must(Request{Scope: long + "a"})
		assert.True(t, first.Token.Equal(again.Token))
		assert.Equal(t, long+"a", again.Token.Scope())
		assert.Equal(t, long+"a", events[0].Scope)
		r.no(ReasonMinInterval, Request{Scope: long + "b"})
		r.no(ReasonMinInterval, Request{Scope: ledger.ScopeKey(long + "a")}) // no way to another scope's token
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: first.Token.ID(), Failure: unauth}))

		require.NoError(t, r.Adopt(t.Context(), NewToken("adopted", time.Time{}).WithScope(long+"c")))
		assert.Equal(t, "adopted", r.must(Request{Scope: long + "c"}).Token.Value())
		snap, err := store.View(t.Context(), "x")
		require.NoError(t, err)
		assert.NotContains(t, string(snap.Data), long)
	}, WithStore(store), WithName("x"), WithObserver(func(e Event) { events = append(events, e) }))
}

func TestPersonalTokenOfALongScope(t *testing.T) {
	long := strings.Repeat("scope of a long name/", 20)
	bubble(t, func(t *testing.T, r *rig) {
		for range 2 {
			assert.Equal(t, SourcePersonal, r.must(Request{Scope: long}).Source)
		}
		assert.Equal(t, SourceRequest, r.must(Request{Scope: long + "other"}).Source)
	}, WithPersonalToken(func(context.Context) (Token, error) { return NewToken("mine", time.Time{}).WithScope(long), nil }))
}

// A token of any bytes but control characters comes out of every store as it was, in every process.
func TestTokensThatAreNoText(t *testing.T) {
	for _, value := range []string{"\xff\xfe\x80", "caf\xe9 token", strings.Repeat("\"\\", 100), strings.Repeat("\u2028", 50), strings.Repeat("<&>", 1000), "plain"} {
		for name, opts := range map[string][]Option{"plain": nil, "sealed": {WithEncryption([]byte(strings.Repeat("k", 32)))}} {
			store := NewMemoryStore()
			opts = append(opts, WithStore(store), WithName("x"))
			token, err := newTestGuard(t, giveToken(value), opts...).Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, value, token.Value())
			again, err := newTestGuard(t, nil2, opts...).Token(t.Context())
			require.NoError(t, err, "%s: %q", name, value)
			require.Equal(t, value, again.Value())
			require.Equal(t, token.ID(), again.ID())
		}
	}
}

// What a command or a file puts after a token is dropped; what no header takes is refused at every door, by its byte.
func TestControlCharactersInTokens(t *testing.T) {
	for given, value := range map[string]string{"word\n": "word", "word\r\n": "word", "word": "word"} {
		g := newTestGuard(t, giveToken(given))
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, value, token.Value())
		assert.Equal(t, token.ID(), TokenID(given))
		assert.Equal(t, value, NewToken(given, time.Time{}).Value())
		require.NoError(t, g.Report(t.Context(), Outcome{TokenID: given, Failure: unauth}), "a value is known with its line end")
		assert.NotZero(t, g.replica.Newest().Doc.Tokens[token.ID()].Evidence)
	}
	for given, says := range map[string]string{
		"word\n\n": "0x0A at byte 5 of 5", "a\nb": "0x0A at byte 2 of 3", "a\tb": "0x09 at byte 2", "\x00": "0x00 at byte 1", "a\x7f": "0x7F at byte 2", "word\r": "0x0D at byte 5", "\xffa\x1b": "0x1B at byte 3",
	} {
		_, err := newTestGuard(t, giveToken(given)).Token(t.Context())
		var failed *RequestError
		require.ErrorAs(t, err, &failed)
		assert.ErrorContains(t, err, says)
		assert.NotContains(t, err.Error(), given)
		err = newTestGuard(t, nil2).Adopt(t.Context(), NewToken(given, time.Time{}))
		require.ErrorIs(t, err, ErrRequest)
		assert.ErrorContains(t, err, says)
		mine := newTestGuard(t, giveToken("anonymous"), WithPersonalToken(func(context.Context) (Token, error) { return NewToken(given, time.Time{}), nil }))
		grant, err := mine.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, "anonymous", grant.Token.Value())
		assert.Contains(t, grant.Verdict().Detail, says)
	}
	_, err := newTestGuard(t, giveToken("\n")).Token(t.Context())
	assert.ErrorContains(t, err, "the token is empty")
}

// 20,000 strangers and texts of a megabyte leave nothing: the document stays below 64 KiB, the guard below 24 MiB.
func TestFloods(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		huge := strings.Repeat("a long text without an end ", 1<<20/27)
		for i := range int(amount(5_000, 20_000)) {
			f := Failure{StatusCode: 429, Message: fmt.Sprint("quota exceeded in region ", i)}
			if i%200 == 0 {
				f.Message += huge
				f.Header = map[string][]string{"X-Long": {huge}}
				f.Err = errors.New(huge)
			}
			scope := fmt.Sprint("s", i)
			_, err := r.Acquire(t.Context(), Request{Scope: scope, Caller: fmt.Sprint("c", i) + f.Message[:20], Failure: f, Failing: fmt.Sprint("id", i)})
			require.Error(t, err)
			require.NoError(t, r.Report(t.Context(), Outcome{TokenID: fmt.Sprint("id", i), Failure: f}))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b, err := r.replica.Newest().Doc.Encode()
		require.NoError(t, err)
		t.Logf("document %d bytes, %d KiB more in memory", len(b), (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)
		assert.Less(t, len(b), 64<<10)
		assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(24<<20))
		assert.Len(t, r.replica.Newest().Doc.Tokens, 1)
		assert.LessOrEqual(t, len(r.replica.Newest().Doc.Triggers), 1)
	})
}

// Tokens as large as a header may be do not outgrow what a store takes.
func TestLargeTokensStayWithinADocument(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		adopt := func(i int) {
			assert.NoError(t, r.Adopt(t.Context(), NewTokenIn(fmt.Sprint(i, strings.Repeat("x", maxTokenSize-8)), allDay)))
		}
		together(74, adopt) // 64 fill it
		time.Sleep(time.Second)
		adopt(74)
		b, err := r.replica.Newest().Doc.Encode()
		require.NoError(t, err)
		assert.Less(t, len(b), 4<<20)
		assert.True(t, strings.HasPrefix(r.must(Request{}).Token.Value(), "74"))
		require.Error(t, r.Adopt(t.Context(), NewToken(strings.Repeat("x", maxTokenSize+1), time.Time{})))
	})
}

// Tokens that are refused before they ever worked close the scope for longer from one to the next: 10 min, 1 h, 2 h.
func TestRejectedTokensGrowTheBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, want := range []time.Duration{10, 60, 120, 240} {
			id := r.must(Request{}).Token.ID()
			time.Sleep(10 * time.Second)
			require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth}))
			assert.Equal(t, id, r.must(Request{Caller: "another"}).Token.ID(), "others keep it")
			e, err := r.Explain(t.Context(), Request{})
			require.NoError(t, err)
			limiter := e.Steps[4]
			assert.Equal(t, ReasonBackoff, limiter.Reason)
			assert.Equal(t, want*time.Minute, limiter.Evidence.Window)
			time.Sleep(time.Until(limiter.Until))
		}
	})
}

// A refusal in a token's first 10 s withholds it from its reporter until they are over.
func TestARefusalInTheFirstSecondsWithholds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(10*time.Second - 1)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth}))
		assert.Equal(t, id, r.must(Request{Caller: "another"}).Token.ID(), "others keep it")
		assert.Equal(t, time.Nanosecond, in(r.no(ReasonNotQuotaFailure, Request{}).Verdict.RetryAt))
		time.Sleep(time.Nanosecond)
		assert.Equal(t, id, r.must(Request{}).Token.ID(), "it has spread now")
		assert.Equal(t, 1, r.up.count())
	})
}

var update = flag.Bool("update", false, "write the golden files")

func TestStatsGolden(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, fails(broken), gives("v", time.Hour))
		_, err := r.Token(t.Context())
		require.Error(t, err)
		r.no(ReasonBackoff, Request{})
		time.Sleep(10 * time.Minute)
		id := r.must(Request{}).Token.ID()
		r.must(Request{})
		r.no(ReasonMinInterval, Request{Scope: "b"})
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Latency: time.Second}))
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: broken}))
		s := r.Stats()
		assert.Equal(t, s.Calls.Total, s.Calls.Served+s.Calls.Refused+s.Calls.Failed+s.Calls.Left)
		assert.EqualValues(t, 5, s.Calls.Total)
		assert.Equal(t, s.Acquisitions.Hour.Limit, s.Acquisitions.Hour.Used+s.Acquisitions.Hour.Remaining)
		assert.InDelta(t, 0.6, s.Calls.FilterRate, 1e-9)
		got, err := json.MarshalIndent(s, "", "  ")
		require.NoError(t, err)
		const path = "testdata/stats.golden.json"
		if *update {
			require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.JSONEq(t, string(want), string(got))
	}, WithClock(utcClock{}))
}

// utcClock makes the golden file the same in every time zone.
type utcClock struct{}

func (utcClock) Now() time.Time { return time.Now().UTC() }

// The page on Redis says how large a document gets with the tokens in it, since each commit sends it whole.
func TestSizeOfTheDocumentOnThePage(t *testing.T) {
	store := NewMemoryStore()
	size := func() int {
		s, err := store.View(t.Context(), "x")
		require.NoError(t, err)
		return len(s.Data)
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		g, err := New(func(context.Context, Request) (Token, error) {
			n++
			return NewTokenIn(fmt.Sprintf("%0100d", n), allDay), nil
		}, WithStore(store), WithName("x"), WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000, MinInterval: time.Second}))
		require.NoError(t, err)
		defer g.Close()
		var sizes [3]int
		for i, tokens := range []int{1, 2, 100} {
			for ; n < tokens; time.Sleep(time.Second) {
				_, err := g.Acquire(t.Context(), Request{Scope: fmt.Sprintf("model-%d", n), Caller: "GET api.example.com/me"})
				require.NoError(t, err)
			}
			sizes[i] = size()
		}
		page, err := os.ReadFile("docs/redis.md")
		require.NoError(t, err)
		round := func(n int) int { return (n + 25) / 50 * 50 }
		said := fmt.Sprintf("%d bytes with one token of 100 characters, about %d more for each further token in a scope of its own, its start included, and %d KB with 100 of them",
			round(sizes[0]), round((sizes[2]-sizes[0])/99), (sizes[2]+500)/1000)
		assert.True(t, strings.Contains(string(page), said), said)
	})
}
