package predict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spend lets calls use up a stated quota at the given costs, one a minute.
func spend(h *History, u *Usage, from, limit int64, costs ...int64) (at, left int64) {
	at, left = from, limit
	for _, cost := range costs {
		at += int64(time.Minute)
		left -= cost
		learn(h, u, Outcome{At: at, Remaining: left, Limit: limit})
	}
	return at, left
}

func TestUsesLeftCountCredits(t *testing.T) {
	var h History
	var u Usage
	learn(&h, &u, Outcome{At: noon, Remaining: 1000, Limit: 1000})
	at, _ := spend(&h, &u, noon, 1000, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10)
	f := h.Forecast(u, at)
	assert.InDelta(t, 80, f.UsesLeft, 12, f.Reason()) // 800 credits at 10, the prior of 1 still counted in
	assert.Greater(t, f.ExhaustedAt, at+hour)

	// What one token taught holds for the next from its first word on.
	h.TokenEnded(u)
	u = Usage{}
	learn(&h, &u, Outcome{At: at + hour, Remaining: 1000, Limit: 1000})
	assert.InDelta(t, 100, h.Forecast(u, at+hour).UsesLeft, 8)

	// A call with more credits than are left is refused before nothing is left.
	at, left := spend(&h, &u, at+hour, 1000, 500, 10, 10, 10, 400, 10, 10, 10, 10, 10, 10, 4)
	require.EqualValues(t, 6, left)
	assert.Zero(t, h.Forecast(u, at).UsesLeft)
}

func TestCallsThatCostNothingLeaveMore(t *testing.T) {
	var h History
	var u Usage
	learn(&h, &u, Outcome{At: noon, Remaining: 100, Limit: 100})
	at, left := spend(&h, &u, noon, 100, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0)
	require.EqualValues(t, 92, left)
	assert.Greater(t, h.Forecast(u, at).UsesLeft, int64(180))
}

func TestAnotherWindowIsNoCost(t *testing.T) {
	var u Usage
	for i, o := range []Outcome{
		{Remaining: 10, Limit: 100}, {Remaining: 8, Limit: 100}, // 2 over 1
		{Remaining: 90, Limit: 100}, // full again
		{Remaining: 40, Limit: 50},  // another window
		{Remaining: 39, Limit: 50}, {},
		{Remaining: 33, Limit: 50}, // 1 over 1, 6 over 2
	} {
		o.At = noon + int64(i)*second
		u.Add(o)
	}
	assert.Equal(t, Cost{First: Hint{Remaining: 10, Limit: 100, Uses: 1}, Spent: 9, Over: 4, Most: 2}, u.Cost)
}

func TestNothingRemainsAsStated(t *testing.T) {
	said := func(u *Usage, at, remaining int64, o Outcome) {
		o.At, o.Remaining, o.Limit = at, remaining, 100
		u.Add(o)
	}
	var u Usage
	for i := range int64(20) {
		said(&u, noon+i*second, 20-i, Outcome{})
	}
	now := noon + 20*second
	require.Equal(t, High, Assess(u, 0, now, Config{}).Level, "one is left")
	said(&u, now, 0, Outcome{ResetAt: noon + hour})
	for _, since := range []int64{0, now} {
		a := Assess(u, since, now, Config{})
		assert.Equal(t, Exhausted, a.Level, "though every call succeeded")
		assert.Equal(t, told, a.Confidence)
		assert.Equal(t, "the upstream said that nothing remains of 100", a.Reason)
	}
	assert.Equal(t, Exhausted, Assess(u, 0, noon+hour-1, Config{}).Level, "beyond the window of the rules, too")
	assert.Equal(t, Unknown, Assess(u, 0, noon+hour, Config{}).Level, "until the reset that was stated")
	assert.Equal(t, Exhausted, Assess(Usage{Hint: u.Hint}, 0, now, Config{}).Level, "before any outcome")

	under := u.Clone()
	under.Add(Outcome{At: now + 5*second})
	assert.Equal(t, Exhausted, Assess(under, 0, now+5*second, Config{}).Level, "that call was under way")
	under.Add(Outcome{At: now + 90*second})
	assert.Equal(t, High, Assess(under, 0, now+90*second, Config{}).Level, "a later success shows otherwise")
}
