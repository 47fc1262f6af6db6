package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// A guard that only refuses lends its refusals, too, renews its term, and still opens to the nanosecond.
func TestRefusalsAreLentAndEnd(t *testing.T) {
	var refused, counted atomic.Int64
	bubble(t, func(t *testing.T, r *rig) {
		ask := Request{Scope: "other", Caller: "c", Failure: broken}
		r.must(Request{})
		opens := r.no(ReasonMinInterval, ask).Verdict.RetryAt
		calls := int64(1)
		storm := func(n int) {
			for range n {
				r.no(ReasonMinInterval, ask)
				calls++
			}
		}
		storm(300) // its events are sampled by now
		a := r.again(&ask)
		calls++
		require.NotNil(t, a)
		require.True(t, a.lent(1), "no clock is read")
		for range 10 {
			time.Sleep(hotLife)
			require.Nil(t, r.again(&ask), "the term is over")
			storm(2)
			require.NotNil(t, r.again(&ask), "and another one was begun")
			calls++
		}
		time.Sleep(time.Until(opens) - 5*time.Second)
		storm(300)
		require.False(t, r.again(&ask).lent(1), "near its end each call reads the clock")
		calls++
		time.Sleep(time.Until(opens) - time.Nanosecond)
		storm(1)
		time.Sleep(time.Nanosecond)
		r.must(ask)

		require.Equal(t, calls, r.Stats().Calls.Answers[StepLimiter][ReasonMinInterval])
		time.Sleep(5 * time.Minute)
		require.Equal(t, calls, refused.Load()+counted.Load()+waitsFor(r, ask))
	}, WithObserver(func(e Event) {
		if e.Kind == EventRefused {
			refused.Add(1)
			counted.Add(int64(e.Repeats))
		}
	}))
}

// waitsFor is how many events of a refusal were left out and not told yet.
func waitsFor(r *rig, req Request) (n int64) {
	e := Event{Kind: EventRefused, Verdict: Verdict{Reason: ReasonMinInterval, Class: Classify(req.Failure)}}
	repeats, _ := r.events.journal.Admit(&e)
	return int64(repeats)
}

// Two questions of one place do not drive each other out, and none gets the answer of another.
func TestAnswersKeepApart(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		texts := make([]Request, 400)
		for i := range texts {
			texts[i] = Request{Scope: fmt.Sprint("scope ", i%3), Caller: fmt.Sprint("caller ", i%5), Failure: Failure{StatusCode: 500 + i%4, Message: fmt.Sprint("text ", i)}}
			r.no(ReasonMinInterval, texts[i])
		}
		known := 0
		for i := range texts {
			if a := r.again(&texts[i]); a != nil {
				known++
				require.Equal(t, texts[i].Scope, a.event.Scope)
				require.Equal(t, texts[i].Caller, a.event.Caller)
				require.Contains(t, a.event.Text, fmt.Sprint("text ", i))
			}
		}
		// With a random seed 372 of 400 find room on average, with a deviation of 6.
		require.Greater(t, known, 330, "of %d in %d places", len(texts), answersKept)
		other := texts[0]
		other.Failure.Message += "x"
		require.Nil(t, r.again(&other))
	})
}

func TestKnownRefusalsAllocateNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		for range 200 {
			r.no(ReasonMinInterval, Request{Scope: "other"})
		}
		require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = r.Acquire(context.Background(), Request{Scope: "other"}) }))
	})
}

// A refusal that names an instant which moves with each report costs a look-up and its own copy.
func TestKnownRefusalsThatMove(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Caller: "c"}))
		time.Sleep(time.Minute)
		ask := Request{Caller: "c", Failing: token.ID(), Failure: unauth}
		var first *RefusedError
		for range 200 {
			first = r.no(ReasonMinInterval, ask)
		}
		require.NotNil(t, r.again(&ask), "remembered")
		require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _, _ = r.Acquire(context.Background(), ask) }), 1.0)
		time.Sleep(time.Millisecond)
		later := r.no(ReasonMinInterval, ask)
		require.Equal(t, time.Millisecond, later.Verdict.RetryAt.Sub(first.Verdict.RetryAt))
		require.Equal(t, time.Minute, time.Until(later.Verdict.RetryAt))
	})
}

// countingStore counts what the guard asks of its store.
type countingStore struct {
	Store
	views, updates atomic.Int64
}

func (s *countingStore) View(ctx context.Context, name string) (Snapshot, error) {
	s.views.Add(1)
	return s.Store.View(ctx, name)
}

func (s *countingStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	s.updates.Add(1)
	return s.Store.Update(ctx, name, fn)
}

// stormGuard has a token of scope "held" and was refused by the upstream for every other scope but "".
func stormGuard(t testing.TB, opts ...Option) (*Guard, *countingStore, Token) {
	store := &countingStore{Store: NewMemoryStore()}
	g, err := New(func(_ context.Context, req Request) (Token, error) {
		if req.Scope != "held" {
			return Token{}, errors.New("connection reset")
		}
		return NewTokenIn("secret of the storm", time.Hour), nil
	}, append([]Option{WithStore(store), WithName("storm"), WithFreshness(time.Hour)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	grant, err := g.Acquire(t.Context(), Request{Scope: "held"})
	require.NoError(t, err)
	return g, store, grant.Token
}

func refusedFor(t testing.TB, err error) Reason {
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	return refused.Verdict.Reason
}

var quotaText = "No remaining quota: No AI requests remaining"

func TestStormsAllocateNothingAndLeaveTheStoreAlone(t *testing.T) {
	g, store, token := stormGuard(t)
	reset := Failure{StatusCode: 503, Message: "upstream connect error"}
	long := Failure{StatusCode: 503, Message: strings.Repeat("upstream connect error or disconnect. ", 27)}
	for _, storm := range []struct {
		name   string
		req    Request
		reason Reason
	}{
		{"hit", Request{Scope: "held", Caller: "c"}, ""},
		{"limiter", Request{Scope: "other", Caller: "c"}, ReasonMinInterval},
		{"limiter, text", Request{Scope: "other", Failure: reset}, ReasonMinInterval},
		{"limiter, 1 KB", Request{Scope: "other", Failure: long}, ReasonMinInterval},
		{"limiter, error", Request{Scope: "other", Failure: Failure{Err: errors.New("connection reset")}}, ReasonMinInterval},
		{"limiter, header", Request{Scope: "other", Failure: Failure{StatusCode: 503, Header: map[string][]string{"Date": {"today"}, "X-Trace": {"1"}}, Message: "upstream connect error"}}, ReasonMinInterval},
		{"not its quota", Request{Scope: "held", Failing: token.ID(), Failure: Failure{StatusCode: 401, Message: "invalid token"}}, ReasonNotQuotaFailure},
		{"says no quota", Request{Scope: "held", Caller: "another", Failing: token.ID(), Failure: reset}, ""},
		{"forbidden", Request{Scope: "other", Failure: Failure{StatusCode: 403, Message: "account banned"}}, ReasonForbidden},
		{"too new", Request{Scope: "held", Failing: token.ID(), Failure: Failure{StatusCode: 429, Message: quotaText}}, ReasonTokenTooNew},
	} {
		t.Run(storm.name, func(t *testing.T) {
			call := func() error {
				_, err := g.Acquire(context.Background(), storm.req)
				return err
			}
			for range 2 * 100 { // until its events are sampled
				_ = call()
			}
			if err := call(); storm.reason == "" {
				require.NoError(t, err)
			} else {
				require.Equal(t, storm.reason, refusedFor(t, err))
			}
			views, updates := store.views.Load(), store.updates.Load()
			before := g.Stats().Calls
			require.Zero(t, testing.AllocsPerRun(200, func() { _ = call() }))
			after := g.Stats().Calls
			require.EqualValues(t, 201, after.Total-before.Total, "every call is counted")
			require.Equal(t, updates, store.updates.Load())
			require.Equal(t, views, store.views.Load())
		})
	}
}

func TestBackoffAndDuplicateStormsAllocateNothing(t *testing.T) {
	store := &countingStore{Store: NewMemoryStore()}
	fetches := 0
	g, err := New(func(context.Context, Request) (Token, error) {
		fetches++
		return Token{}, errors.New("connection reset")
	},
		WithStore(store), WithName("storm"), WithFreshness(time.Hour))
	require.NoError(t, err)
	defer g.Close()
	ask := Request{Caller: "c", Failure: Failure{StatusCode: 429, Message: quotaText + " (request 1)"}}
	_, err = g.Acquire(t.Context(), ask)
	require.ErrorContains(t, err, "connection reset")
	for _, storm := range []struct {
		req    Request
		reason Reason
	}{{Request{}, ReasonBackoff}, {Request{Caller: "c", Failure: Failure{StatusCode: 429, Message: quotaText + " (request 2)"}}, ReasonDuplicate}} {
		for range 2 * 100 {
			_, err = g.Acquire(t.Context(), storm.req)
			require.Equal(t, storm.reason, refusedFor(t, err))
			require.ErrorContains(t, errors.Unwrap(err), "connection reset")
		}
		updates := store.updates.Load()
		require.Zero(t, testing.AllocsPerRun(200, func() { _, _ = g.Acquire(context.Background(), storm.req) }))
		require.Equal(t, updates, store.updates.Load())
	}
	require.Equal(t, 1, fetches)
}

// A remembered answer ends with its gate, and with the document.
func TestStormEndsWithItsGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _, _ := stormGuard(t)
		ask := Request{Scope: "other"}
		var refused *RefusedError
		for range 3 {
			_, err := g.Acquire(t.Context(), ask)
			require.ErrorAs(t, err, &refused)
			require.Equal(t, ReasonMinInterval, refused.Verdict.Reason)
		}
		time.Sleep(time.Until(refused.Verdict.RetryAt) - time.Nanosecond)
		_, err := g.Acquire(t.Context(), ask)
		require.Equal(t, ReasonMinInterval, refusedFor(t, err))
		time.Sleep(time.Nanosecond)
		_, err = g.Acquire(t.Context(), ask)
		var failed *RequestError
		require.ErrorAs(t, err, &failed, "the gate opens to the nanosecond")
		_, err = g.Acquire(t.Context(), ask)
		require.Equal(t, ReasonBackoff, refusedFor(t, err), "the new document has another answer")
		require.NoError(t, g.Clear(t.Context(), Clear{Backoff: true}))
		_, err = g.Acquire(t.Context(), ask)
		require.Equal(t, ReasonMinInterval, refusedFor(t, err))
		require.NoError(t, g.Close())
		_, err = g.Acquire(t.Context(), ask)
		require.ErrorIs(t, err, ErrClosed)
	})
}

// What a report means may change with the time at which it is made: a storm must not hide that.
func TestStormStillReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, store, token := stormGuard(t)
		ask := Request{Scope: "held", Failing: token.ID(), Failure: Failure{StatusCode: 429, Message: quotaText}}
		updates := store.updates.Load()
		start := time.Now()
		calls := 0
		for ; time.Since(start) < 60*time.Second; calls++ {
			_, err := g.Acquire(t.Context(), ask)
			require.Equal(t, ReasonTokenTooNew, refusedFor(t, err))
			time.Sleep(min(130*time.Millisecond, time.Until(start.Add(60*time.Second))))
		}
		require.Equal(t, updates+1, store.updates.Load(), "one suspicion, stored once")
		_, err := g.Acquire(t.Context(), Request{Scope: "held"})
		require.NoError(t, err, "the others are still served")
		_, err = g.Acquire(t.Context(), ask)
		require.Equal(t, ReasonTokenTooNew, refusedFor(t, err))
		require.Equal(t, updates+2, store.updates.Load(), "confirmed after 60 s to the nanosecond")
		_, err = g.Acquire(t.Context(), Request{Scope: "held"})
		require.Error(t, err, "it is spent")
		require.NoError(t, g.Close())
		snap, err := store.View(context.Background(), "storm")
		require.NoError(t, err)
		doc, err := ledger.Decode(snap.Data)
		require.NoError(t, err)
		require.EqualValues(t, calls+1, doc.Tokens[token.ID()].Usage.Calls, "each call of the storm is an observation")
	})
}

// Two questions share no hash where any byte differs, wherever it stands, or where text moves from one part to the next.
func TestQuestionsHashAllOfTheirText(t *testing.T) {
	c := &answerCache{seed: maphash.MakeSeed(), keys: newBlockKeys()}
	seen := map[uint64]string{}
	add := func(what string, req *Request, text string) {
		h := c.hash(req, text)
		if other, known := seen[h]; known {
			t.Fatalf("%s as %s", what, other)
		}
		seen[h] = what
	}
	for _, length := range []int{0, 1, 63, 64, 65, 128, 200, 1024, maxText} {
		text := strings.Repeat("x", length)
		add(fmt.Sprint(length), &Request{}, text)
		for i := range length {
			for _, bit := range []byte{1, 0x80} {
				other := []byte(text)
				other[i] ^= bit
				add(fmt.Sprintf("%d bytes with another bit %#x at %d", length, bit, i), &Request{}, string(other))
			}
		}
	}
	var blocks string
	for i := range 3 * blockSize / 8 {
		blocks += fmt.Sprintf("word %03d", i)
	}
	for _, text := range []string{blocks, blocks[64:] + blocks[:64], blocks[64:128] + blocks[:64] + blocks[128:], blocks[8:16] + blocks[:8] + blocks[16:], blocks[16:32] + blocks[:16] + blocks[32:], blocks[:128], strings.Repeat("\x00", 192), strings.Repeat("\x00", 64)} {
		add(text, &Request{}, text)
	}
	add("caller", &Request{Caller: blocks}, "")
	add("scope", &Request{Scope: blocks}, "")
	add("status", &Request{Failure: Failure{StatusCode: 1}}, blocks)
	other := &answerCache{seed: c.seed, keys: newBlockKeys()}
	assert.NotEqual(t, c.hash(&Request{}, blocks), other.hash(&Request{}, blocks), "keyed")
}

var hashSum uint64

func BenchmarkQuestionHash(b *testing.B) {
	c := &answerCache{seed: maphash.MakeSeed(), keys: newBlockKeys()}
	for _, length := range []int{20, 1024, maxText} {
		text, sum := strings.Repeat("x", length), uint64(0)
		b.Run(fmt.Sprint(length, "/hash"), func(b *testing.B) {
			for b.Loop() {
				sum += c.hash(&Request{}, text)
			}
		})
		b.Run(fmt.Sprint(length, "/maphash"), func(b *testing.B) {
			for b.Loop() {
				sum += maphash.String(c.seed, text)
			}
		})
		hashSum += sum
	}
}
