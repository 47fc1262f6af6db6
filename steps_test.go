package tokenguard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

func TestASuccessAtTheSameInstantClearsASuspicion(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(40 * time.Minute)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: quota}))
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id}))
		assert.Zero(t, r.replica.Newest().Doc.Tokens[id].By("").Quota)
	})
}

func TestTheSameReportIsOneObservationAlsoAfterASuccess(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(40 * time.Minute)
		f := quota
		f.At = time.Now()
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: f}))
		time.Sleep(time.Second)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id}))
		time.Sleep(2 * time.Minute)
		for range 2 {
			require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: f}))
			r.no(ReasonNotQuotaFailure, Request{Failing: id, Failure: f}) // and starts nothing
		}
		assert.Zero(t, r.replica.Newest().Doc.Tokens[id].By("").Quota)
		assert.Equal(t, 1, r.up.count())
	})
}

// Another process heard the same report: the document knows it.
func TestTheSameReportIsOneObservationOverProcesses(t *testing.T) {
	store := NewMemoryStore()
	bubble(t, func(t *testing.T, r *rig) {
		other := r.open(WithStore(store), WithName("x"))
		defer other.Close()
		id := r.must(Request{}).Token.ID()
		time.Sleep(40 * time.Minute)
		f := quota
		f.At = time.Now()
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: f}))
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id}))
		time.Sleep(2 * time.Minute)
		require.NoError(t, other.Report(t.Context(), Outcome{TokenID: id, Failure: f}))
		assert.Zero(t, other.replica.Newest().Doc.Tokens[id].By("").Quota)
	}, WithStore(store), WithName("x"))
}

// Outcomes that wait for a commit count for the predictor: on the document alone the call would start, be vetoed on
// the newest document, and ask again without end.
func TestPendingOutcomesVetoTheReplacementOfASpentToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(40 * time.Minute)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: quota}))
		time.Sleep(time.Minute)
		report := quota
		report.At = time.Now()
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: report}))
		require.True(t, r.replica.Newest().Doc.Tokens[id].By("").Spent)
		time.Sleep(10 * time.Second)
		for range 20 {
			require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Caller: "another", Latency: time.Second}))
			time.Sleep(10 * time.Millisecond)
		}
		require.NotEmpty(t, r.replica.Pending(id).Calls, "some wait")
		e, err := r.Explain(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, AnswerServe, e.Verdict.Answer)

		refused := r.no(ReasonQuotaSufficient, Request{Failing: id, Failure: report}) // the reporter
		assert.Equal(t, StepPredictor, refused.Verdict.Step)
		assert.ErrorIs(t, refused, ErrNotNeeded)
		assert.Equal(t, id, r.must(Request{}).Token.ID(), "the others are served")
		assert.Equal(t, 1, r.up.count())
	})
}

// Who needs a token and reported nothing gets the one whose suspicion is lifted.
func TestAnOrdinaryNeedIsServedWhenThePredictorLifts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(40 * time.Minute)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: quota}))
		time.Sleep(time.Minute)
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Failure: quota}))
		for range 20 {
			time.Sleep(time.Second)
			require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id, Latency: time.Second}))
		}
		assert.Equal(t, id, r.must(Request{}).Token.ID())
		assert.False(t, r.replica.Newest().Doc.Tokens[id].By("").Spent)
		assert.Equal(t, 1, r.up.count())
	})
}

// That a token was asked for again is in memory until the next commit. Who is served from the cache meanwhile must not be
// the reason that its scope counts as new, and so is never refreshed.
func TestAUseInMemoryCountsWhereATokenIsDueForARefresh(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		other := r.must(Request{Scope: "other"})
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: other.Token.ID()}))
		time.Sleep(6 * time.Minute)
		r.up.replies = []func(context.Context, Request) (Token, error){gives("short", 10*time.Minute), gives("next", time.Hour)}
		r.up.calls = nil
		short := r.must(Request{})
		time.Sleep(59900 * time.Millisecond)
		r.must(Request{})
		time.Sleep(200 * time.Millisecond) // a hit, of which the slow path hears nothing
		require.Equal(t, short.Token.ID(), r.must(Request{}).Token.ID())
		time.Sleep(5 * time.Minute) // past the refresh, before the expiry; the hour has one start left
		require.False(t, r.replica.Newest().Doc.Tokens[short.Token.ID()].Proved())
		foreseen, err := r.Explain(t.Context(), Request{})
		require.NoError(t, err)
		require.Equal(t, AnswerStart, foreseen.Verdict.Answer, "%+v", foreseen.Verdict)
		require.Equal(t, SourceRequest, r.must(Request{}).Source)
	}, WithRefreshAhead(5*time.Minute))
}

// A token that is asked for again a minute after it came proves that its scope is in use. That is saved within a second, once,
// so that it wakes who waits for it, and a killed process takes it to no grave.
func TestAUseThatProvesItsTokenIsSaved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		time.Sleep(time.Minute)
		saved := r.Stats().Store.Revision
		for range 20 {
			time.Sleep(500 * time.Millisecond)
			require.Equal(t, id, r.must(Request{}).Token.ID())
		}
		assert.True(t, r.replica.Newest().Doc.Tokens[id].Proved())
		assert.Equal(t, saved+1, r.Stats().Store.Revision)
	})
}

// So does Close: a process that lives for less than a second is closed before the save is due.
func TestCloseKeepsAUseThatProves(t *testing.T) {
	for _, wait := range []time.Duration{0, 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			memory := NewMemoryStore()
			open := func() *Guard {
				g, err := New(giveToken("value"), WithStore(memory), WithName("n"), WithFreshness(0))
				require.NoError(t, err)
				return g
			}
			g := open()
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			require.NoError(t, g.Close())
			time.Sleep(5 * time.Minute)
			g = open()
			_, err = g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(wait)
			require.NoError(t, g.Close())
			snap, err := memory.View(t.Context(), "n")
			require.NoError(t, err)
			d, err := ledger.Decode(snap.Data)
			require.NoError(t, err)
			assert.True(t, d.Tokens[token.ID()].Proved(), "closed after %v", wait)
		})
	}
}

func TestClosedGuardServesNothingFromTheHotPath(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id}))
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: id})) // waits: Close commits it
		require.NoError(t, r.Close())
		_, err := r.Token(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		r.no(ReasonClosed, Request{})
	})
}

func TestWhoHasLeftAlreadyStartsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Acquire(ctx, Request{})
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		assert.Zero(t, r.up.count())
		assert.EqualValues(t, 1, r.Stats().Calls.Left)
	})
}

func TestPausedCallerWaitsForThePersonalToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		assert.Equal(t, TokenID("mine"), id)
		for _, kind := range []Kind{Anonymous, Personal} {
			_, err := r.Acquire(t.Context(), Request{Kind: kind, Failing: id, Failure: slow})
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, time.Minute, in(refused.Verdict.RetryAt), kind)
		}
		start := time.Now()
		grant, err := r.Wait(t.Context(), Request{Failing: id, Failure: slow})
		require.NoError(t, err)
		assert.Equal(t, SourcePersonal, grant.Source)
		assert.Equal(t, time.Minute, time.Since(start))
	}, WithPersonalToken(func(context.Context) (Token, error) { return NewToken("mine", time.Time{}), nil }))
}

func TestWaitForARejectedPersonalToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{Kind: Personal}).Token.ID()
		time.Sleep(time.Minute)
		start := time.Now()
		grant, err := r.Wait(t.Context(), Request{Kind: Personal, Failing: id, Failure: unauth})
		require.NoError(t, err, "its function is asked again after an hour")
		assert.Equal(t, SourcePersonal, grant.Source)
		assert.Equal(t, time.Hour, time.Since(start))
	}, WithPersonalToken(func(context.Context) (Token, error) { return NewToken("mine", time.Time{}), nil }))
}

func TestExpiredPersonalTokenIsNotFetchedOnEachCall(t *testing.T) {
	calls := 0
	bubble(t, func(t *testing.T, r *rig) {
		for range 5 {
			grant := r.must(Request{})
			assert.Equal(t, SourceCache == grant.Source || SourceRequest == grant.Source, true)
			assert.Contains(t, grant.Verdict().Detail, "expired already", "the fallback is visible")
		}
		assert.Equal(t, 1, calls)
	}, WithPersonalToken(func(context.Context) (Token, error) { calls++; return NewTokenIn("mine", -time.Second), nil }))
}

func TestCloseReleasesWhoWaitsForThePersonalToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		done := make(chan error, 3)
		for range 3 {
			go func() { _, err := r.Token(t.Context()); done <- err }()
		}
		synctest.Wait()
		start := time.Now()
		require.NoError(t, r.Close())
		for range 3 {
			require.ErrorIs(t, <-done, ErrClosed)
		}
		assert.Zero(t, time.Since(start))
		time.Sleep(time.Minute)
	}, WithPersonalToken(func(ctx context.Context) (Token, error) { <-ctx.Done(); return Token{}, ctx.Err() }))
}

// RequestFunc may use another guard, whose refusal says nothing about this one.
func TestWaitReturnsARequestErrorThatHoldsARefusal(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		inner := &RefusedError{Verdict: Verdict{Reason: ReasonHourLimit, RetryAt: time.Now().Add(time.Hour)}}
		r.up.replies = append(r.up.replies, func(context.Context, Request) (Token, error) { return Token{}, inner })
		start := time.Now()
		_, err := r.Wait(t.Context(), Request{})
		var failed *RequestError
		require.True(t, errors.As(err, &failed))
		require.ErrorIs(t, err, inner)
		assert.Zero(t, time.Since(start))
	})
}

// sleepingClock is a Clock whose Sleep ends with its context alone.
type sleepingClock struct{ asleep chan struct{} }

func (c sleepingClock) Now() time.Time { return time.Now() }
func (c sleepingClock) Sleep(ctx context.Context, _ time.Duration) error {
	c.asleep <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func TestWaitOnAClocksSleepIsWokenByATokenAndByClose(t *testing.T) {
	clock := sleepingClock{make(chan struct{}, 10)}
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, fails(broken))
		_, err := r.Token(t.Context())
		require.Error(t, err)
		done := make(chan Grant, 1)
		go func() { grant, _ := r.Wait(t.Context(), Request{}); done <- grant }()
		<-clock.asleep
		require.NoError(t, r.Adopt(t.Context(), NewToken("from elsewhere", time.Time{})))
		assert.Equal(t, "from elsewhere", (<-done).Token.Value())

		closed := make(chan error, 1)
		go func() { _, err := r.Wait(t.Context(), Request{Scope: "other"}); closed <- err }()
		<-clock.asleep
		require.NoError(t, r.Close())
		assert.ErrorIs(t, <-closed, ErrClosed)
	}, WithClock(clock))
}

func TestPersonalTokenIsFetchedOnceForAll(t *testing.T) {
	calls := 0
	first, leave := context.WithCancel(context.Background())
	bubble(t, func(t *testing.T, r *rig) {
		gone := make(chan error, 1)
		go func() { _, err := r.Acquire(first, Request{}); gone <- err }()
		synctest.Wait()
		done := make(chan Source, 100)
		for range 100 {
			go func() { grant, _ := r.Acquire(t.Context(), Request{}); done <- grant.Source }()
		}
		synctest.Wait()
		leave()
		assert.ErrorIs(t, <-gone, context.Canceled)
		for range 100 {
			assert.Equal(t, SourcePersonal, <-done)
		}
		assert.Equal(t, 2, calls, "one of those who stayed fetched it for all")
		time.Sleep(time.Hour - time.Nanosecond)
		r.must(Request{})
		assert.Equal(t, 2, calls)
		time.Sleep(time.Nanosecond)
		r.must(Request{})
		assert.Equal(t, 3, calls, "once per TTL")
		assert.Zero(t, r.up.count())
	}, WithPersonalToken(func(ctx context.Context) (Token, error) {
		calls++
		select {
		case <-time.After(time.Second):
			return NewToken("mine", time.Time{}), nil
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}))
}

func TestKeyClosingDoublesAndOnlyForItsKey(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, fails(banned))
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 24, 24} {
			_, err := r.Acquire(t.Context(), Request{Scope: "never"})
			var failed *RequestError
			require.ErrorAs(t, err, &failed)
			refused := r.no(ReasonBackoff, Request{Scope: "never"})
			assert.Equal(t, want*time.Hour, in(refused.Verdict.RetryAt))
			assert.ErrorIs(t, refused, failed.Err, "the failure is remembered")
			time.Sleep(want * time.Hour)
		}
		r.up.replies = []func(context.Context, Request) (Token, error){gives("v", time.Hour)}
		time.Sleep(5 * time.Minute)
		r.must(Request{Scope: "other"})
	})
}
