package predict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func learn(h *History, u *Usage, outcomes ...Outcome) {
	for _, o := range outcomes {
		var b Usage
		b.Add(o)
		h.Learn(u, b)
	}
}

// However long one expert was the best, the others can come back.
func TestNoExpertIsForgotten(t *testing.T) {
	h := History{Weights: [experts]float64{0.2, 0.2, 0.2, 0.2, 0.2}}
	for range 100_000 {
		h.reweigh([experts]opinion{{0.002, true}, {0.01, true}, {0.4, true}, {0.99, true}, {0, false}}, false, 1)
	}
	sum := 0.0
	for _, w := range h.Weights {
		assert.Greater(t, w, 1e-7)
		sum += w
	}
	assert.InDelta(t, 1, sum, 1e-9)
	assert.Greater(t, h.Weights[0], 0.7)
	assert.InDelta(t, 0.2, h.Weights[4], 0.01, "a silent one neither wins nor loses")
}

// A batch of outcomes that outgrew its window is learned by number.
func TestLearnCountsWhatLeftTheWindow(t *testing.T) {
	var h History
	var u, b Usage
	for i := range int64(30) {
		b.Add(Outcome{At: noon + i*int64(time.Minute)})
	}
	h.Learn(&u, b)
	assert.EqualValues(t, 30, u.Track.Uses)
	assert.EqualValues(t, 30, u.Calls)
	assert.EqualValues(t, 30, h.Accuracy().Count)
}

// A failure that is not about quota is unknown to the forecast.
func TestLearnIgnoresOtherFailures(t *testing.T) {
	var h History
	var u Usage
	learn(&h, &u, Outcome{At: noon, Failed: true}, Outcome{At: noon + second, Failed: true})
	assert.EqualValues(t, 2, u.Fails)
	assert.Zero(t, h.Accuracy().Count)
	assert.Zero(t, u.Track)
}

// A batch of many is forecast in chunks; the counts are exact all the same.
func TestLearnOfAFlood(t *testing.T) {
	var h History
	var u, b Usage
	for i := range int64(5000) {
		b.Add(Outcome{At: noon + i*int64(time.Millisecond), Quota: i >= 4900})
	}
	h.Learn(&u, b)
	require.EqualValues(t, 5000, h.Accuracy().Count)
	assert.EqualValues(t, 100, h.Book.Refused)
	assert.Equal(t, []Life{{Uses: 4900}}, h.Lives)
}

// The channel forgets toward its rest as the exponential says: with the prior
// rates alone, a = 1/6 and b = 2 an hour, rest = 1/13.
func TestTheChannelRecoversWithTime(t *testing.T) {
	var h History
	tr := track{At: noon, Shut: 1}
	assert.InDelta(t, 1, h.shutAt(&tr, noon), 1e-12)
	assert.InDelta(t, 1.0/13+12.0/13*0.1146, h.shutAt(&tr, noon+hour), 1e-3)
	assert.InDelta(t, 1.0/13, h.shutAt(&tr, noon+day), 1e-9)
}
