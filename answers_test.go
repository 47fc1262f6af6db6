package tokenguard

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
		require.Greater(t, known, 360, "of %d in %d places", len(texts), answersKept)
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
