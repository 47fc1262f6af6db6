package replica

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What was counted waits with the other outcomes, and a commit ends the counting: it was begun on
// what a document said.
func TestCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{})
		second := timeline.Instant(time.Second)
		for name, ask := range map[string]func() ledger.Pending{
			"all":    func() ledger.Pending { return r.AllPending()["a"] },
			"of one": func() ledger.Pending { _ = r.Pending("a"); return r.pending["a"] },
			"any":    func() ledger.Pending { assert.True(t, r.SuccessesWait()); return r.pending["a"] },
			"taken":  func() ledger.Pending { return r.takePending()["a"] },
		} {
			r.pending, r.counters = nil, nil
			counter := r.Counter("a", "op")
			assert.False(t, r.SuccessesWait())
			require.True(t, counter.Add(5*second, 0), name)
			require.True(t, counter.Add(4*second, 2*time.Second), name)
			assert.False(t, counter.Add(11*second, 0), "another span of the predictor")
			p := ask()
			assert.EqualValues(t, 2, p.Usage.Uses(), name)
			assert.EqualValues(t, 5*second, p.Usage.Good, name)
			assert.Equal(t, ledger.Successes{"op": {Began: 5 * second, Uses: 2}}, p.Successes, name)
			require.Equal(t, name != "taken", counter.Add(12*second, 0), name)
		}
	})
}

func TestCountersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{})
		first := r.Counter("0", "op")
		assert.Same(t, first, r.Counter("0", "op"))
		require.True(t, first.Add(1, 0))
		for n := range maxCounters {
			require.True(t, r.Counter(strconv.Itoa(n), "op").Add(1, 0))
		}
		require.True(t, first.Add(2, 0))
		r.Counter("one more", "op")
		assert.Len(t, r.counters, 1)
		assert.False(t, first.Add(3, 0), "what is counted after its end would be lost")
		assert.Len(t, r.AllPending(), maxCounters)
		zero := r.Pending("0")
		assert.EqualValues(t, 3, zero.Uses())
	})
}

// A success that is reported while the guard closes is stored with the rest, or told that it came too late.
func TestCloseEndsTheCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{})
		counter, idle := r.Counter("a", "op"), r.Counter("b", "op")
		require.True(t, counter.Add(1, 0))
		r.Close()
		assert.False(t, counter.Add(2, 0))
		assert.False(t, idle.Add(2, 0), "nothing waits for a commit, so none would end it")
		assert.Equal(t, 1, r.AllPending()["a"].Successes["op"].Uses)
	})
}

// What waits for a commit outlives a store that panics in it.
func TestAStoreThatPanicsLosesNoOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{})
		require.True(t, r.Counter("a", "op").Add(1, 0))
		r.AddOutcome("b", "op", predict.Outcome{At: 1, Failed: true}, 0)
		update := r.store.Update
		r.store.Update = func(context.Context, func(Snapshot) ([]byte, error)) (Snapshot, error) { panic("the engine is broken") }
		assert.Panics(t, func() { _ = r.Flush(t.Context()) })
		r.store.Update = update
		p := r.AllPending()
		assert.Equal(t, 1, p["a"].Successes["op"].Uses)
		assert.EqualValues(t, 1, p["b"].Usage.Fails)
		require.NoError(t, r.Flush(t.Context()))
		assert.Empty(t, r.AllPending())
	})
}

// Flush stores what was counted, also where nothing else waits.
func TestFlushTakesWhatWasCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, &fakeStore{})
		_, err := r.Commit(t.Context(), func(d *Draft) bool {
			d.Doc.Tokens["a"] = &ledger.Token{ID: "a", Kind: ledger.Anonymous, Private: true, Acquired: d.At.Now}
			return true
		})
		require.NoError(t, err)
		now := r.Meter.Read().Now
		require.True(t, r.Counter("a", "op").Add(now, 0))
		require.NoError(t, r.Flush(t.Context()))
		assert.Equal(t, 1, r.Newest().Doc.Tokens["a"].Uses)
		assert.Equal(t, now, r.Newest().Doc.Tokens["a"].By("op").Success)
	})
}
