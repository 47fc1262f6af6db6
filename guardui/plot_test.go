package guardui

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// Ticks are round, few, dated once and then at each new day, and say the zone.
func TestAxis(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 7, 0, 0, time.FixedZone("", 7200))
	for _, length := range []time.Duration{11 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 24 * time.Hour, 48 * time.Hour, 31 * 24 * time.Hour} {
		a := newAxis(now.Add(-length), now)
		require.NotEmpty(t, a.Ticks)
		assert.LessOrEqual(t, len(a.Ticks), maxTicks+1, length)
		assert.Regexp(t, `^\d+ \w+ UTC$`, a.Ticks[0].Date)
		for i, tick := range a.Ticks {
			assert.True(t, tick.X >= 0 && tick.X <= 100)
			if i > 0 {
				assert.Greater(t, tick.X, a.Ticks[i-1].X)
				assert.Equal(t, tick.Clock == "00:00", tick.Date != "", "%v: %v", length, tick)
			}
		}
	}
	a := newAxis(now.Add(-24*time.Hour), now)
	assert.Equal(t, tick{a.Ticks[0].X, "00:00", "28 Feb UTC"}, a.Ticks[0], "UTC, whatever the clock's zone")
}

// What a window held and will hold, by its acquisitions, and where it is used up.
func TestWindowPlot(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	attempts := []tokenguard.Attempt{
		{Start: now.Add(-90 * time.Minute), End: now.Add(-89 * time.Minute)},
		{Start: now.Add(-40 * time.Minute), End: now.Add(-40 * time.Minute)},
		{Start: now.Add(-10 * time.Minute), End: now.Add(-10 * time.Minute)},
	}
	w := tokenguard.WindowStats{Used: 2, Limit: 4, Remaining: 2, ExhaustedAt: now.Add(30 * time.Minute)}
	p := newWindow(newBudget("hour", w, time.Hour), now, 3*time.Hour, time.Hour, attempts)
	var said []string
	for _, m := range p.Marks {
		said = append(said, m.Class+" "+m.Title)
		assert.Equal(t, plotHeight, m.Y+m.H)
	}
	assert.Equal(t, []string{
		"used 1 Mar 10:30:00 UTC to 1 Mar 11:20:00 UTC: 1 of 4 used",
		"used 1 Mar 11:20:00 UTC to 1 Mar 11:31:00 UTC: 2 of 4 used",
		"used 1 Mar 11:31:00 UTC to 1 Mar 11:50:00 UTC: 1 of 4 used",
		"used 1 Mar 11:50:00 UTC to 1 Mar 12:00:00 UTC: 2 of 4 used",
		"later 1 Mar 12:00:00 UTC to 1 Mar 12:20:00 UTC: 2 of 4 still count, if nothing else starts",
		"later 1 Mar 12:20:00 UTC to 1 Mar 12:50:00 UTC: 1 of 4 still count, if nothing else starts",
	}, said)
	require.NotNil(t, p.Forecast)
	assert.Equal(t, []any{p.Now, p.Limit.Y}, []any{p.Forecast.X1, p.Forecast.Y2})
	assert.Greater(t, p.Forecast.Y1, p.Forecast.Y2, "it rises to the limit")
	assert.Equal(t, "The hour: 2 of 4 used, forecast: used up at about 1 Mar 12:30:00 UTC", p.Summary)

	w.Used, w.Remaining, w.ExhaustedAt = 4, 0, time.Time{} // as after a lost state
	p = newWindow(newBudget("hour", w, time.Hour), now, 3*time.Hour, time.Hour, attempts)
	assert.Nil(t, p.Forecast)
	assert.Equal(t, "used up now; 2 more than are drawn count as used, since the state was lost", p.Note)
}

// What left the window before the picture begins is not in it, whatever happened then and since.
func TestWindowPlotLeavesOutWhatIsOver(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(before time.Duration) tokenguard.Attempt {
		return tokenguard.Attempt{Start: now.Add(-before), End: now.Add(-before)}
	}
	said := func(attempts ...tokenguard.Attempt) (out []string) {
		w := tokenguard.WindowStats{Used: 1, Limit: 4, Remaining: 3}
		for _, m := range newWindow(newBudget("hour", w, time.Hour), now, 3*time.Hour, time.Hour, attempts).Marks {
			out = append(out, m.Class+" "+m.Title)
		}
		return out
	}
	assert.Empty(t, said(at(7*time.Hour), at(7*time.Hour), at(5*time.Hour)))
	assert.Equal(t, []string{
		"used 1 Mar 09:01:00 UTC to 1 Mar 09:30:00 UTC: 1 of 4 used", // it began before
		"used 1 Mar 11:30:00 UTC to 1 Mar 12:00:00 UTC: 1 of 4 used",
		"later 1 Mar 12:00:00 UTC to 1 Mar 12:30:00 UTC: 1 of 4 still count, if nothing else starts",
	}, said(at(7*time.Hour), at(7*time.Hour), at(210*time.Minute), at(30*time.Minute)))
}

// However many acquisitions there are, the picture stays small and hides no peak.
func TestWindowPlotIsBounded(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var attempts []tokenguard.Attempt
	for i := range 5000 {
		at := now.Add(-time.Duration(5000-i) * 15 * time.Second)
		attempts = append(attempts, tokenguard.Attempt{Start: at, End: at})
	}
	p := newWindow(newBudget("hour", tokenguard.WindowStats{Used: 240, Limit: 300, Remaining: 60}, time.Hour), now, 3*time.Hour, time.Hour, attempts)
	assert.LessOrEqual(t, len(p.Marks), maxSteps+2)
	highest := 0
	for _, m := range p.Marks {
		highest = max(highest, m.H)
	}
	assert.Equal(t, height(240, 300), highest)
}

// Each minute says what its calls were told; the three parts stand on each other.
func TestMinutesPlot(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	assert.Nil(t, newMinutes(now, nil))
	p := newMinutes(now, []tokenguard.MinuteStats{{Start: now.Add(-30 * time.Second), Served: 6, Refused: 3, Failed: 1}})
	require.Len(t, p.Marks, 3)
	for i, class := range []string{"served", "refused", "failed"} {
		assert.Equal(t, []any{class, "1 Mar 12:00:00 UTC: 6 served, 3 refused, 1 failed"}, []any{p.Marks[i].Class, p.Marks[i].Title})
		if i > 0 {
			assert.Equal(t, p.Marks[i-1].Y, p.Marks[i].Y+p.Marks[i].H)
		}
	}
	assert.Equal(t, "in the last two hours 6 served, 3 refused, 1 failed; the most in a minute: 10, at 1 Mar 12:00:00 UTC", p.Note)
	assert.Equal(t, []int64{2, 4, 10, 20, 100, 2000}, []int64{round(1), round(3), round(10), round(11), round(99), round(1001)})
}

// What lived in the last day, with the uses that are left; nothing of what is over longer.
func TestLifetimes(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	v := &view{Stats: tokenguard.Stats{At: now}}
	assert.Nil(t, newLifetimes(v))
	v.Cache.Tokens = []tokenguard.TokenStats{
		{ID: "new", AcquiredAt: now.Add(-time.Hour), EndsAt: now.Add(time.Hour), State: "usable", Calls: 30, UsesLeft: 10},
		{ID: "spent", AcquiredAt: now.Add(-2 * time.Hour), EndsAt: now.Add(time.Hour), State: "spent", Calls: 40, UsesLeft: 5},
		{ID: "unknown", AcquiredAt: now.Add(-3 * time.Hour), EndsAt: now.Add(-2 * time.Hour), State: "usable", UsesLeft: -1},
		{ID: "old", AcquiredAt: now.Add(-50 * time.Hour), EndsAt: now.Add(-25 * time.Hour), State: "expired"},
	}
	v.Accounts = []account{newAccount(tokenguard.IdentityStats{ID: "id_dead", Since: now.Add(-9 * time.Hour), State: "ended", StateSince: now.Add(-time.Hour)})}
	l := newLifetimes(v)
	require.Len(t, l.Rows, 4)
	assert.Equal(t, 1, l.More)
	assert.Equal(t, []string{"", "about 10", "none", "not known"}, []string{l.Rows[0].Uses, l.Rows[1].Uses, l.Rows[2].Uses, l.Rows[3].Uses})
	assert.Equal(t, []int{-1, 250, 0, -1}, []int{l.Rows[0].Fill, l.Rows[1].Fill, l.Rows[2].Fill, l.Rows[3].Fill})
	assert.Equal(t, "life-bad", l.Rows[0].Bar.Class)
	assert.Less(t, l.Rows[0].Bar.X+l.Rows[0].Bar.W, l.Now, "it ended before now")
	assert.Greater(t, l.Rows[1].Bar.X+l.Rows[1].Bar.W, l.Now)
	assert.Equal(t, "new: acquired 1 Mar 11:00:00 UTC, ends 1 Mar 13:00:00 UTC; usable; calls reported: 30; uses left: about 10", l.Rows[1].Bar.Title)
}
