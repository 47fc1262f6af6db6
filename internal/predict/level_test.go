package predict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const second = int64(time.Second)

// calls makes a usage of n outcomes, one each second up to noon, of which the
// first are refused for quota and the next fail in another way.
func calls(n, quota, other int, latency time.Duration) Usage {
	var u Usage
	for i := range n {
		u.Add(Outcome{
			At:      noon - int64(n-1-i)*second,
			Latency: latency,
			Quota:   i < quota,
			Failed:  i >= quota && i < quota+other,
		})
	}
	return u
}

func TestLevelRules(t *testing.T) {
	for _, c := range []struct {
		n, quota, other int
		latency         time.Duration
		want            Level
	}{
		{1, 0, 0, 0, High},
		{10, 0, 0, time.Second, High},
		{2, 1, 0, 0, Critical}, // exactly 50 % is not above
		{100, 50, 0, 0, Critical},
		{101, 51, 0, 0, Exhausted},
		{1, 1, 0, 0, Exhausted},
		{5, 1, 0, 0, High}, // exactly 20 %
		{100, 20, 0, 0, High},
		{100, 21, 0, 0, Critical},
		{10, 1, 6, 0, Medium}, // exactly 70 % failed
		{100, 20, 50, 0, Medium},
		{100, 20, 51, 0, Low},
		{100, 0, 71, 0, Low},
		{100, 0, 100, 0, Low},
		{10, 0, 3, 0, High}, // exactly 30 %
		{100, 0, 31, 0, Medium},
		{100, 51, 49, 0, Exhausted}, // quota goes before failures
		{100, 21, 79, 0, Critical},
		{10, 0, 0, 5 * time.Second, High}, // exactly 5 s
		{10, 0, 0, 5*time.Second + time.Microsecond, Medium},
		{10, 3, 0, 9 * time.Second, Critical},
		{100, 0, 71, 9 * time.Second, Low},
	} {
		a := Assess(calls(c.n, c.quota, c.other, c.latency), 0, noon, Config{})
		assert.Equal(t, c.want, a.Level, "%+v: %s", c, a.Reason)
		assert.EqualValues(t, c.n, a.Points)
		assert.EqualValues(t, c.quota, a.Quota)
		assert.EqualValues(t, c.quota+c.other, a.Fails)
		assert.Equal(t, c.latency, a.Mean)
	}
}

func TestLevelSaysWhatItRestsOn(t *testing.T) {
	assert.Equal(t, "calls in the last 5m0s: 12, refused for quota: 3, failed in any way: 5; quota refusals above 20 %",
		Assess(calls(12, 3, 2, time.Second), 0, noon, Config{}).Reason)
	assert.Contains(t, Assess(calls(4, 0, 0, 6*time.Second), 0, noon, Config{}).Reason, "the mean response took 6s, above 5s")
}

func TestLevelOfNothingIsUnknown(t *testing.T) {
	for _, u := range []Usage{{}, calls(20, 20, 0, 0)} {
		a := Assess(u, 0, noon+int64(time.Hour), Config{})
		assert.Equal(t, Unknown, a.Level)
		assert.Zero(t, a.Confidence)
		assert.Equal(t, "no call ended in the last 5m0s, so nothing is known", a.Reason)
	}
}

func TestLevelOfALatencyThatIsNotStated(t *testing.T) {
	u := calls(9, 0, 0, 0)
	u.Add(Outcome{At: noon, Latency: 6 * time.Second})
	assert.Equal(t, Medium, Assess(u, 0, noon, Config{}).Level)
}

// After a step back of the clock, what is dated later is not known yet.
func TestLevelLeavesOutTheFuture(t *testing.T) {
	assert.Zero(t, Assess(calls(10, 10, 0, 0), 0, noon-30*second, Config{}).Points)
}

func TestLevelThresholdsCanBeSet(t *testing.T) {
	u := calls(10, 1, 0, time.Second)
	assert.Equal(t, High, Assess(u, 0, noon, Config{}).Level)
	assert.Equal(t, Critical, Assess(u, 0, noon, Config{CriticalAbove: 0.05}).Level)
	assert.Equal(t, Medium, Assess(u, 0, noon, Config{SlowAbove: time.Millisecond}).Level)
	assert.EqualValues(t, 0, Assess(u, 0, noon+10*second, Config{Window: 10 * time.Second}).Points)
}

// A suspicion arises at a refusal. What counts against it is what came later,
// even within the same ten seconds.
func TestLevelSinceASuspicion(t *testing.T) {
	var u Usage
	at := noon
	add := func(quota bool) int64 {
		at += second / 2
		u.Add(Outcome{At: at, Quota: quota})
		return at
	}
	add(false)
	suspicion := add(true)
	assert.Zero(t, Assess(u, suspicion, at, Config{}).Points)
	for range 9 {
		add(false)
	}
	a := Assess(u, suspicion, at, Config{})
	assert.EqualValues(t, 9, a.Points)
	assert.Equal(t, High, a.Level)
	assert.Greater(t, a.Confidence, 0.7)
	assert.EqualValues(t, 11, Assess(u, 0, at, Config{}).Points)
}

func TestConfidence(t *testing.T) {
	assert.InDelta(t, 0, confidence(0, 0), 1e-12)
	assert.Less(t, confidence(0, 8), 0.7)
	assert.Greater(t, confidence(0, 9), 0.7)
	assert.Less(t, confidence(0.5, 38), 0.7, "an even split proves less")
	assert.Greater(t, confidence(0.5, 39), 0.7)
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		n := rapid.Int64Range(0, 1_000_000).Draw(t, "n")
		c, more := confidence(share, n), confidence(share, n+1)
		require.GreaterOrEqual(t, c, 0.0)
		require.Less(t, more, 1.0)
		require.Greater(t, more, c)
	})
}
