package tokenguard

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// While the store is away, what is reported again and again takes no more room, loses nothing that a rule asks for, and
// what finds no room is said.
func TestReportsThatWaitForTheStore(t *testing.T) {
	store := &faulty{Store: NewMemoryStore()}
	var notices []string
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(time.Hour / 2)
		store.update.Store(true)
		report := func(caller string, f Failure) {
			if err := r.Report(t.Context(), Outcome{TokenID: id, Caller: caller, Failure: f}); err != nil { // nil: nothing new
				require.ErrorIs(t, err, ErrStore)
			}
		}
		long := broken
		long.StatusCode, long.Message = 429, "too many requests"
		for i := range 90 { // the longest wait in the middle
			long.Header = map[string][]string{"Retry-After": {"600"}}
			if i == 40 {
				long.Header = map[string][]string{"Retry-After": {"7200"}}
			}
			report("chat", quota)
			report("feed", long)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, r.Stats().Store.Unsaved, 2*2)
		assert.Empty(t, notices)
		for i := range 400 {
			_ = r.Report(t.Context(), Outcome{TokenID: id, Caller: "caller " + string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}), Failure: unauth})
		}
		_, _ = r.Explain(t.Context(), Request{})
		store.update.Store(false)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Caller: "late", Failure: unauth})) // takes along what waits
		require.Zero(t, r.Stats().Store.Unsaved)
		said := 0
		for _, text := range notices {
			if strings.Contains(text, "256 changes wait for the store") {
				said++
			}
		}
		assert.Equal(t, 1, said, notices)

		other := r.open(WithStore(store), WithName("x"))
		defer other.Close()
		explained, err := other.Explain(t.Context(), Request{Caller: "chat"})
		require.NoError(t, err)
		assert.NotEqual(t, ReasonUnconfirmed, explained.Verdict.Reason, "the first and the last of its refusals confirm each other")
		pause := other.replica.Newest().Doc.Scope("").PauseOf("feed")
		require.NotZero(t, pause.Until)
		assert.InDelta(t, 7200-50, pause.Until.Sub(other.meter.Read().Now).Seconds(), 5, "the longest wait is known")
	}, WithStore(store), WithName("x"), WithObserver(func(e Event) {
		if e.Kind == EventState {
			notices = append(notices, e.Text)
		}
	}))
}

// A ban of who asks closes the guard, whichever scope met it; a refusal of one scope closes that one alone.
func TestABanIsOfWhoAsks(t *testing.T) {
	for text, most := range map[string]int{
		"Your IP address has been blocked":  4,
		"Your account has been suspended":   4,
		"This device has been banned":       4,
		"No permission for this repository": 20,
	} {
		synctest.Test(t, func(t *testing.T) {
			starts := 0
			g, err := New(func(context.Context, Request) (Token, error) {
				starts++
				return Token{}, Failed(Failure{StatusCode: 403, Message: text})
			})
			require.NoError(t, err)
			defer g.Close()
			for minute := range 6 * 60 {
				_, err := g.Acquire(t.Context(), Request{Scope: fmt.Sprint("scope ", minute%60)})
				require.Error(t, err)
				time.Sleep(time.Minute)
			}
			t.Logf("%q: %d starts in 6 h over 60 scopes", text, starts)
			assert.LessOrEqual(t, starts, most)
			if most == 20 {
				assert.Greater(t, starts, 15, "it keeps no other scope from asking")
				return
			}
			explained, err := g.Explain(t.Context(), Request{Scope: "never asked"})
			require.NoError(t, err)
			assert.Equal(t, ReasonBackoff, explained.Verdict.Reason)
			assert.Contains(t, explained.Verdict.Detail, "has banned the caller")
			require.NoError(t, g.Clear(t.Context(), Clear{Backoff: true}))
			_, err = g.Acquire(t.Context(), Request{Scope: "never asked"})
			require.ErrorAs(t, err, new(*RequestError), "an operator can lift it")
		})
	}
}

// A success counts from when its call began, however slow the store is to tell what the guard knows: a refusal of the
// same operation in between stands.
func TestALateSuccessDisprovesNothing(t *testing.T) {
	store := &hanging{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{Caller: "chat"}).Token.ID()
		ok := Outcome{TokenID: id, Caller: "chat"}
		require.NoError(t, r.Report(t.Context(), ok))
		time.Sleep(10 * time.Minute)
		began := time.Now()
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Caller: "chat", Failure: unauth}))
		time.Sleep(10 * time.Second)
		store.hang()
		ok.Latency = time.Since(began)
		time.AfterFunc(time.Second, store.release)
		_ = r.Report(t.Context(), ok)
		synctest.Wait()
		explained, err := r.Explain(t.Context(), Request{Caller: "chat"})
		require.NoError(t, err)
		assert.NotEqual(t, ReasonCached, explained.Verdict.Reason, "the stream began before the refusal")
		ok.Latency = time.Since(began) - 200*time.Millisecond
		require.NoError(t, r.Report(t.Context(), ok))
		require.NoError(t, r.Report(t.Context(), ok))
		explained, err = r.Explain(t.Context(), Request{Caller: "chat"})
		require.NoError(t, err)
		assert.Equal(t, ReasonCached, explained.Verdict.Reason, "one that began after it disproves it")
	}, WithStore(store), WithName("x"))
}

// A classifier that hangs keeps no acquisition from its end, and so many of them at most are waited for.
func TestClassifierThatHangs(t *testing.T) {
	var said []string
	release := make(chan struct{})
	var running atomic.Int64
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, fails(Failure{StatusCode: 500, Message: "broken"}))
		release = make(chan struct{})
		for i := range maxClassifiers + 4 {
			began := time.Now()
			_, err := r.Acquire(t.Context(), Request{})
			var failed *RequestError
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, ClassUnknown, failed.Class)
			if i < maxClassifiers {
				assert.Equal(t, classifierPatience, time.Since(began))
			} else {
				assert.Zero(t, time.Since(began))
			}
			assert.Len(t, r.replica.Newest().Doc.Attempts, i+1)
			assert.True(t, r.replica.Newest().Doc.Attempts[i].Landed)
			time.Sleep(time.Minute)
		}
		assert.EqualValues(t, maxClassifiers, running.Load())
		assert.Len(t, said, 1)
		close(release)
	}, WithClassifier(func(Failure) Class { running.Add(1); <-release; return ClassTransient }),
		WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000, MinInterval: time.Nanosecond, FailureBackoffBase: time.Nanosecond, MaxBackoff: time.Nanosecond}),
		WithObserver(func(e Event) {
			if e.Kind == EventState {
				said = append(said, e.Text)
			}
		}))
}

// An answer is no older than its question: a RequestFunc that says so shortens no Retry-After.
func TestFailureFromBeforeItsOwnStart(t *testing.T) {
	for name, test := range map[string]struct{ before, pause time.Duration }{
		"before the start": {3 * time.Hour, 2 * time.Hour},
		"a moment before":  {time.Nanosecond, 2 * time.Hour},
		"not stated":       {0, 2 * time.Hour},
		"in the future":    {-time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.up.replies = append(r.up.replies, func(context.Context, Request) (Token, error) {
					f := Failure{StatusCode: 503, Header: map[string][]string{"Retry-After": {"7200"}}}
					if test.before != 0 {
						f.At = time.Now().Add(-test.before)
					}
					return Token{}, Failed(f)
				})
				_, err := r.Acquire(t.Context(), Request{})
				require.Error(t, err)
				refused := r.no(ReasonRetryAfter, Request{Scope: "other"})
				assert.Equal(t, test.pause, in(refused.Verdict.RetryAt))
			})
		})
	}
}
