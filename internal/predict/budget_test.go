package predict

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Against counts drawn by the definition: Poisson with a Gamma-distributed mean.
func TestAtLeastAgainstDraws(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const draws = 40_000
	for _, c := range []struct{ shape, scale float64 }{{1, 2}, {3, 0.5}, {20, 0.1}, {4, 3}} {
		var count [64]float64
		for range draws {
			mean := 0.0 // a Gamma variable of whole shape is a sum of exponential ones
			for range int(c.shape) {
				mean += r.ExpFloat64() * c.scale
			}
			n, at := 0, r.ExpFloat64()
			for ; at < mean; at += r.ExpFloat64() {
				n++
			}
			count[min(n, 63)]++
		}
		tail := 1.0
		for n := range 20 {
			assert.InDelta(t, tail, atLeast(n, c.shape*c.scale, c.shape*c.scale*c.scale), 0.01, "%+v, at least %d", c, n)
			tail -= count[n] / draws
		}
	}
	assert.Equal(t, 1.0, atLeast(0, 0, 0))
	assert.Zero(t, atLeast(1, 0, 0))
	assert.Zero(t, atLeast(math.MaxInt, 5, 5), "at once, not after a loop")
}

func TestBudgetOfNothing(t *testing.T) {
	var h History
	f := h.Budget(noon, 0, nil, 3, 20)
	assert.Less(t, f.Hour.Probability, 0.01)
	assert.Less(t, f.Day.Probability, 0.01)
	assert.Zero(t, f.Hour.ExhaustedAt)
	assert.Zero(t, f.Day.ExhaustedAt)
}

func TestBudgetThatIsFull(t *testing.T) {
	var h History
	counted := []int64{noon - 50*int64(time.Minute), noon - 30*int64(time.Minute), noon - 2*hour, noon - int64(time.Minute)}
	f := h.Budget(noon, 0, counted, 3, 20)
	assert.Equal(t, 3, f.Hour.Used)
	assert.Equal(t, noon, f.Hour.ExhaustedAt)
	assert.Equal(t, 1.0, f.Hour.Probability)
	assert.Equal(t, 4, f.Day.Used)
	assert.Zero(t, f.Day.ExhaustedAt)
	assert.Equal(t, "3 of 3 used, 0.0 more expected in 1h0m0s: full with probability 1.00", f.Hour.Reason)
}

// One start an hour, around the clock: a day budget of 20 that is used by 14
// runs out when 6 more have come, before the first of the 14 leaves.
func TestBudgetOfTheDayRunsOut(t *testing.T) {
	var h History
	var counted []int64
	now := noon
	for range 14 * 24 {
		h.Started(now, 0)
		now += hour
	}
	for i := range int64(14) {
		counted = append(counted, now-(14-i)*hour)
	}
	f := h.Budget(now, 0, counted, 3, 20)
	require.NotZero(t, f.Day.ExhaustedAt)
	assert.InDelta(t, 6, hours(f.Day.ExhaustedAt-now), 1.5, f.Day.Reason)
	assert.Greater(t, f.Day.Probability, 0.8)
	assert.InDelta(t, 24, f.Day.Expected, 2)
	assert.Zero(t, f.Hour.ExhaustedAt)
	assert.Zero(t, h.Budget(now, 0, nil, 3, 50).Day.ExhaustedAt, "with a larger budget it does not")
}

// Nothing starts before the guard opens, so nothing fills up before.
func TestBudgetOfAClosedGuard(t *testing.T) {
	var h History
	now := noon
	for range 14 * 24 * 2 {
		h.Started(now, 0)
		now += hour / 2
	}
	open := h.Budget(now, 0, nil, 2, 20)
	require.NotZero(t, open.Hour.ExhaustedAt)
	require.NotZero(t, open.Day.ExhaustedAt)
	closed := h.Budget(now, now+3*hour, nil, 2, 20)
	assert.Zero(t, closed.Hour.Probability)
	assert.Zero(t, closed.Hour.ExhaustedAt)
	assert.InDelta(t, hours(open.Day.ExhaustedAt-now)+3, hours(closed.Day.ExhaustedAt-now), 0.5)
}

// While the limits permit no start, none can come: that is no sign of calm.
func TestClosedTimeIsUnknown(t *testing.T) {
	var open, closed History
	for i := range int64(10) {
		at := noon + i*6*hour
		open.Started(at, 0)
		closed.Started(at, at+5*hour)
	}
	now := noon + 60*hour
	assert.Greater(t, closed.Budget(now, 0, nil, 3, 20).Day.Expected, 2*open.Budget(now, 0, nil, 3, 20).Day.Expected)
}

// Two a hour by day, one in ten hours by night, for 40 days under a limit of 3
// an hour. Forecast at every half hour whether the window will be full within
// the next, scored in the second half.
func TestBudgetSkillInASimulatedOffice(t *testing.T) {
	var brier, base, seen, full float64
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 7))
		type forecast struct {
			at    int64
			p     float64
			score bool
		}
		var h History
		var starts []int64
		var open []forecast
		settle := func(f forecast, isFull bool) {
			y := float64(one(isFull))
			rate := (full + 0.5) / (seen + 1)
			seen, full = seen+1, full+y
			if f.score {
				brier += (f.p - y) * (f.p - y)
				base += (rate - y) * (rate - y)
			}
		}
		for at := noon; at < noon+40*day; at += int64(time.Minute) {
			for len(open) > 0 && open[0].at <= at-hour {
				settle(open[0], false)
				open = open[1:]
			}
			for len(starts) > 0 && starts[0] <= at-day {
				starts = starts[1:]
			}
			rate := 0.1
			if i := hourOf(at); i >= 9 && i < 17 {
				rate = 2
			}
			used := 0
			for _, s := range starts {
				used += int(one(s > at-hour))
			}
			if used < 3 && r.Float64() < rate/60 {
				starts = append(starts, at)
				closed := int64(0)
				if used == 2 {
					closed = starts[len(starts)-3] + hour
					for _, f := range open {
						settle(f, true)
					}
					open = nil
				}
				h.Started(at, closed)
				used++
			}
			if at%(30*int64(time.Minute)) == 0 && used < 3 {
				w := h.Budget(at, 0, starts, 3, 50).Hour
				open = append(open, forecast{at: at, p: w.Probability, score: at > noon+20*day})
			}
		}
	}
	t.Logf("the hour window fills after %.1f %% of forecasts; skill over the base rate %.3f", 100*full/seen, 1-brier/base)
	assert.Greater(t, 1-brier/base, 0.2)
}
