package tokenguard

import (
	"fmt"
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
