package tokenguard

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Refusals that come often are counted with one addition, those for which there is no room one by one: exactly, by reason,
// scope and operation, and in the events that were left out.
func TestFrequentRefusalsAreCountedExactly(t *testing.T) {
	const scopes, operations, each = 9, 5, 400
	var told, repeats atomic.Int64
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		var callers sync.WaitGroup
		for scope := range scopes {
			for operation := range operations {
				callers.Go(func() {
					req := Request{Scope: fmt.Sprint("scope ", scope), Caller: "caller " + string(rune('a'+operation))}
					for i := range each {
						if _, err := r.Acquire(t.Context(), req); err == nil {
							t.Error("served")
						}
						if i%100 == 50 {
							time.Sleep(hotLife) // another term, and another answer
						}
					}
				})
			}
		}
		callers.Wait()
		const calls = scopes * operations * each
		assert.Len(t, r.answers.frequent.known, 32, "there is no room for all")
		s := r.Stats()
		assert.EqualValues(t, calls, s.Calls.Answers[StepLimiter][ReasonMinInterval])
		assert.EqualValues(t, calls, s.Calls.Refused)
		byName, _ := r.counters.usage.scopes.Now()
		for scope := range scopes {
			assert.EqualValues(t, operations*each, byName[fmt.Sprint("scope ", scope)].Refused)
		}
		byName, _ = r.counters.usage.operations.Now()
		for operation := range operations {
			assert.EqualValues(t, scopes*each, byName["caller "+string(rune('a'+operation))].Refused)
		}
		var minutes int64
		for _, m := range s.Calls.Minutes {
			minutes += m.Refused
		}
		assert.EqualValues(t, calls, minutes)
		time.Sleep(5 * time.Minute)
		require.EqualValues(t, calls, told.Load()+repeats.Load()+waitsFor(r, Request{}))
	}, WithObserver(func(e Event) {
		if e.Kind == EventRefused {
			told.Add(1)
			repeats.Add(int64(e.Repeats))
		}
	}))
}

// A long text that came often is known by the text itself: by all of it, with its status and for whom it was.
func TestLongTextsThatComeOften(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		rev := r.cache.table.Load().rev
		text := strings.Repeat("a long text of an upstream. ", 40)
		ask := Request{Scope: "other", Caller: "c", Failing: TokenID("x"), Failure: Failure{StatusCode: 503, Message: text}}
		r.no(ReasonMinInterval, ask)
		require.Nil(t, r.answers.lookupLong(&ask, text, rev), "it came once")
		for range 300 {
			r.no(ReasonMinInterval, ask)
		}
		rev = r.cache.table.Load().rev
		require.NotNil(t, r.answers.lookupLong(&ask, strings.Clone(text), rev))
		require.Zero(t, testing.AllocsPerRun(200, func() { _, _ = r.Acquire(context.Background(), ask) }))
		for i := range len(text) {
			other := []byte(text)
			other[i] ^= 1
			require.Nil(t, r.answers.lookup(&ask, string(other), rev), i)
		}
		for _, other := range []Request{
			{Scope: "else", Caller: "c", Failing: ask.Failing, Failure: ask.Failure}, {Scope: "other", Caller: "d", Failing: ask.Failing, Failure: ask.Failure},
			{Scope: "other", Caller: "c", Failing: TokenID("y"), Failure: ask.Failure}, {Scope: "other", Caller: "c", Failing: ask.Failing, Failure: Failure{StatusCode: 502, Message: text}},
		} {
			require.Nil(t, r.answers.lookup(&other, text, rev), other)
		}
		for range 3 { // what is decided anew takes the place of what was known
			time.Sleep(hotLife)
			require.Nil(t, r.again(&ask), "the term is over")
			r.no(ReasonMinInterval, ask)
			require.NotNil(t, r.again(&ask))
			rev = r.cache.table.Load().rev
			require.Same(t, r.answers.lookupLong(&ask, text, rev), r.again(&ask))
		}
		time.Sleep(5 * time.Minute)
		r.must(Request{Scope: "other", Caller: "later"})
		require.Nil(t, r.answers.lookupLong(&ask, text, r.cache.table.Load().rev), "of another revision")
	})
}
