package tokenguard

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEventsNameTheFailingToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: "value-1"})
		r.must(Request{Failure: broken, Failing: id})
		r.must(Request{Failure: banned})
		var got []string
		for e := range r.History() {
			if e.Kind != EventReported && e.Verdict.Class != ClassNone {
				got = append(got, e.Failing)
			}
		}
		assert.Equal(t, []string{id, id, ""}, got, "an ID, whatever was handed in")
	})
}

func TestObserversAreAllCalledInOrder(t *testing.T) {
	var calls []string
	observe := func(name string) Option {
		return WithObserver(func(e Event) { calls = append(calls, name+" "+string(e.Kind)) })
	}
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		assert.Equal(t, []string{"a started", "b started", "c started", "a acquired", "b acquired", "c acquired"}, calls)
		calls = nil
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: "value-1"})
		assert.Equal(t, []string{"a reported", "b reported", "c reported", "a refused", "b refused", "c refused"}, calls)
	}, observe("a"), observe("b"), observe("c"))
}

// One that panics or ends the goroutine keeps the event from no other, nor from the log, and the caller meets the panic as
// before.
func TestAnObserverThatPanicsKeepsNothingFromTheOthers(t *testing.T) {
	for name, act := range map[string]func(){"panic": func() { panic("observer") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			var logs bytes.Buffer
			observe := func(name string, act func()) Option {
				return WithObserver(func(e Event) {
					if e.Kind == EventRefused {
						calls = append(calls, name)
						act()
					}
				})
			}
			bubble(t, func(t *testing.T, r *rig) {
				r.must(Request{})
				met := make(chan any)
				go func() {
					defer func() { met <- recover() }()
					_, _ = r.Acquire(t.Context(), Request{Scope: "b"})
				}()
				if got := <-met; name == "panic" {
					assert.Equal(t, "observer", got)
				}
				assert.Equal(t, []string{"a", "b", "c"}, calls)
				assert.Contains(t, logs.String(), "call refused")
			}, observe("a", func() {}), observe("b", act), observe("c", func() {}), WithLogger(slog.New(slog.NewTextHandler(&logs, nil))))
		})
	}
}

// Observers may call the guard for whatever they are told, and what that tells them again ends.
func TestObserversThatCallTheGuard(t *testing.T) {
	var guard *Guard
	var calls atomic.Int64
	observe := WithObserver(func(e Event) {
		if e.Kind == EventStarted || calls.Add(1) > 10_000 {
			return
		}
		ctx := context.Background()
		_, _ = guard.Acquire(ctx, Request{Scope: e.Scope, Caller: "observer", Failure: quota, Failing: e.TokenID})
		_ = guard.Report(ctx, Outcome{TokenID: e.TokenID, Failure: unauth})
		_, _ = guard.Explain(ctx, Request{Scope: e.Scope})
		_ = guard.Stats()
	})
	bubble(t, func(t *testing.T, r *rig) {
		guard = r.Guard
		for range 3 {
			_, _ = r.Acquire(t.Context(), Request{})
			_, _ = r.Acquire(t.Context(), Request{Scope: "b"})
			time.Sleep(10 * time.Minute)
		}
		assert.Less(t, calls.Load(), int64(10_000))
	}, observe, observe, observe)
}

// What a user's functions do inside an acquisition ends that acquisition alone.
func TestPanickingObserverInAnAcquisition(t *testing.T) {
	for name, act := range map[string]func(){"panic": func() { panic("observer") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				done, start := make(chan error, 10), time.Now()
				for range 10 {
					go func() { _, err := r.Token(t.Context()); done <- err }()
				}
				failed := 0
				for range 10 {
					if err := <-done; assert.Error(t, err) && errors.As(err, new(*RequestError)) {
						failed++
					}
				}
				assert.Positive(t, failed, "the others may have come after it, and were refused once its lease was over")
				assert.LessOrEqual(t, time.Since(start), testLease+time.Second)
				require.NotZero(t, len(r.replica.Newest().Doc.Attempts), "the attempt is charged")
			}, WithObserver(func(e Event) {
				if e.Kind == EventStarted {
					act()
				}
			}))
		})
	}
}

// No observer runs inside the store: looking at the guard there would wait for itself.
func TestObserverMayUseTheGuard(t *testing.T) {
	var g *Guard
	store := NewMemoryStore()
	found := false
	bubble(t, func(t *testing.T, r *rig) {
		g = r.Guard
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: r.must(Request{}).Token.ID()}))
		// The document is replaced by one of another lineage.
		_, err := store.Update(t.Context(), "x", func(Snapshot) ([]byte, error) { return []byte(`{"version":1,"epoch":"other","settled":true}`), nil })
		require.NoError(t, err)
		require.NoError(t, r.Clear(t.Context(), Clear{Backoff: true}))
		assert.True(t, found, "the loss is told")
	}, WithStore(store), WithName("x"), WithFreshness(0), WithObserver(func(e Event) {
		if e.Kind == EventState && strings.Contains(e.Text, "lost") {
			found = true
			g.Stats()
			_, _ = g.Explain(context.Background(), Request{})
		}
	}))
}

func TestFilterRateCountsOwnStartsAlone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, func(context.Context, Request) (Token, error) {
			time.Sleep(time.Second)
			return Token{}, Failed(broken)
		})
		for range 50 {
			go func() { _, _ = r.Token(t.Context()) }()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		calls := r.Stats().Calls
		assert.EqualValues(t, 50, calls.Failed)
		assert.InDelta(t, 49.0/50, calls.FilterRate, 1e-9)
		assert.Equal(t, 1, r.up.count(), "50 callers of a failing source make one call")
	})
}

func TestClosedGuardTakesNoReports(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		require.NoError(t, r.Close())
		assert.ErrorIs(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: unauth}), ErrClosed)
		assert.ErrorIs(t, r.Clear(t.Context(), Clear{Backoff: true}), ErrClosed)
		assert.ErrorIs(t, r.Adopt(t.Context(), NewToken("x", time.Time{})), ErrClosed)
	})
}

// Two starts that fail open at once see each other.
func TestFailingOpenKeepsTheLimitsOfThisProcess(t *testing.T) {
	s := &faulty{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		time.Sleep(300 * time.Second)
		s.view.Store(true)
		s.update.Store(true)
		done := make(chan error, 50)
		for i := range 50 {
			go func() { _, err := r.Acquire(t.Context(), Request{Scope: string(rune('a' + i))}); done <- err }()
		}
		for range 50 {
			<-done
		}
		assert.Equal(t, 2, r.up.count(), "300 s apart")
		s.view.Store(false)
		s.update.Store(false)
	}, append(named(s), WithFailOpenToLocalShare(1))...)
}

func TestStatsKnowTheOutcomesThatWait(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		for i := range 20 {
			o := Outcome{TokenID: id, Latency: time.Second}
			if i%2 == 1 {
				o.Failure = broken
			}
			require.NoError(t, r.Report(t.Context(), o))
			time.Sleep(time.Millisecond)
		}
		s := r.Stats().Predictor
		assert.Equal(t, LevelMedium, s.Level, s.Reason)
		assert.EqualValues(t, 10, s.Accuracy.Count, "failures of another class say nothing of quota")
	})
}

// unreadable is an error that cannot be printed, as a nil pointer in an error is.
type unreadable struct{ text string }

func (e *unreadable) Error() string { return e.text }

// An acquisition that failed is remembered as failed, whatever the user's functions do that look at its failure.
func TestAFailureIsRememberedWhateverLooksAtIt(t *testing.T) {
	far := broken
	far.Header = map[string][]string{"Retry-After": {"9000000"}} // more than is honoured: an event says so
	for name, c := range map[string]struct {
		err error
		opt Option
	}{
		"classifier that ends its goroutine": {Failed(broken), WithClassifier(func(Failure) Class { runtime.Goexit(); return "" })},
		"classifier that panics":             {Failed(broken), WithClassifier(func(Failure) Class { panic("classifier") })},
		"error that is a nil pointer":        {(*unreadable)(nil), WithRefreshAhead(0)},
		"failure around a nil pointer":       {Failed(Failure{StatusCode: 503, Err: (*unreadable)(nil)}), WithRefreshAhead(0)},
		"observer that panics": {Failed(far), WithObserver(func(e Event) {
			if e.Kind == EventState {
				panic("observer")
			}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.up.replies = []func(context.Context, Request) (Token, error){func(context.Context, Request) (Token, error) { return Token{}, c.err }}
				_, err := r.Acquire(t.Context(), Request{})
				require.Error(t, err)
				doc := r.replica.Newest().Doc
				require.Len(t, doc.Attempts, 1)
				assert.True(t, doc.Attempts[0].Failed, "%+v", doc.Attempts[0])
				assert.Equal(t, 1, doc.Failures.Count)
				r.no(map[bool]Reason{true: ReasonRetryAfter, false: ReasonBackoff}[name == "observer that panics"], Request{})
			}, c.opt)
		})
	}
}
