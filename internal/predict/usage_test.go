package predict

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// inOrder draws outcomes at distinct milliseconds in order of time.
func inOrder() *rapid.Generator[[]Outcome] {
	return rapid.Custom(func(t *rapid.T) []Outcome {
		at := noon
		out := make([]Outcome, rapid.IntRange(0, 60).Draw(t, "n"))
		for i := range out {
			at += int64(rapid.IntRange(1, 40_000).Draw(t, "gap")) * int64(time.Millisecond)
			out[i] = Outcome{
				At:        at,
				Latency:   time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond,
				Quota:     rapid.IntRange(0, 3).Draw(t, "quota") == 0,
				Failed:    rapid.Bool().Draw(t, "failed"),
				Remaining: rapid.Int64Range(-1, 9).Draw(t, "remaining"),
				Limit:     rapid.Int64Range(-1, 9).Draw(t, "limit"),
				ResetAt:   at + rapid.Int64Range(-1, 1).Draw(t, "reset")*int64(time.Hour),
				RetryAt:   at + rapid.Int64Range(-1, 1).Draw(t, "retry")*int64(time.Minute),
			}
		}
		return out
	})
}

func TestMergeIsAddInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := inOrder().Draw(t, "outcomes")
		cut := rapid.IntRange(0, len(all)).Draw(t, "cut")
		var want, got, batch Usage
		for i, o := range all {
			want.Add(o)
			if i < cut {
				got.Add(o)
			} else {
				batch.Add(o)
			}
		}
		got.Merge(batch)
		require.Equal(t, want, got)
	})
}

func TestUsageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h History
		var want, got Usage
		for _, o := range inOrder().Draw(t, "outcomes") {
			var b Usage
			b.Add(o)
			h.Learn(&want, b)
		}
		data, err := json.Marshal(want)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &got))
		want.Cost.First = Hint{} // for batches, which are not stored
		require.Equal(t, want, got)
	})
}

func TestCloneSharesNothing(t *testing.T) {
	u, h := calls(5, 0, 0, 0), History{}
	h.ended(Life{Uses: 7})
	v, g := u.Clone(), h.Clone()
	u.Cells[0].Calls, h.Lives[0].Uses = 99, 99
	assert.EqualValues(t, 4, v.Cells[0].Calls)
	assert.EqualValues(t, 7, g.Lives[0].Uses)
}

func TestFloodStaysBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h History
	var u, batch Usage
	at, largest := noon, 0
	for i := range 100_000 {
		at += r.Int64N(20) * int64(time.Millisecond)
		batch.Add(Outcome{At: at, Latency: time.Duration(r.Int64N(int64(time.Hour))), Quota: r.IntN(2) == 0,
			Remaining: r.Int64N(1e12), Limit: 1e12, ResetAt: at + day, RetryAt: at + hour})
		if i%1000 != 999 {
			continue
		}
		h.Learn(&u, batch)
		batch = Usage{}
		h.TokenEnded(u)
		h.Started(at, at+hour)
		require.LessOrEqual(t, len(u.Cells), MaxCells)
		require.LessOrEqual(t, len(h.Lives), MaxLives)
		data, err := json.Marshal(u)
		require.NoError(t, err)
		largest = max(largest, len(data))
	}
	require.EqualValues(t, 100_000, u.Calls)
	assert.Less(t, largest, 5<<10)
	u.Trim(at + int64(Window))
	data, err := json.Marshal(u)
	require.NoError(t, err)
	assert.Less(t, len(data), 500)
	for range 2 * MaxLives {
		v := calls(3, 0, 0, 0)
		h.Learn(&v, calls(3, 0, 0, 0))
		h.TokenEnded(v)
	}
	require.Len(t, h.Lives, MaxLives)
	for range 50 * 24 { // fill all that is kept by hour of the day
		at += hour
		h.Started(at, 0)
		h.Learn(&u, calls(2, 1, 0, 0).shifted(at-noon))
	}
	data, err = json.Marshal(h)
	require.NoError(t, err)
	assert.Less(t, len(data), 8<<10)
	t.Logf("largest usage %d bytes, history %d bytes", largest, len(data))
}

func TestSumsOfLatencyDoNotOverflow(t *testing.T) {
	var c Cell
	for range 100 {
		c.join(Cell{Calls: 1, Latency: maxCellLatency})
		require.Equal(t, maxCellLatency, c.Latency)
	}
	var u Usage
	u.Add(Outcome{At: noon, Latency: 1 << 62})
	require.Equal(t, maxLatency, Assess(u, 0, noon, Config{}).Mean)
}

// shifted moves the cells in time.
func (u Usage) shifted(by int64) Usage {
	for i := range u.Cells {
		u.Cells[i].First += by / int64(time.Millisecond)
		u.Cells[i].Last += by / int64(time.Millisecond)
	}
	return u
}

// Pending outcomes of several processes arrive late and in any order.
func TestLateOutcomesFindTheirPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u Usage
		var all []int64
		now := noon + int64(Window)
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			at := now - rapid.Int64Range(0, int64(Window)-1).Draw(t, "ago")/int64(time.Millisecond)*int64(time.Millisecond)
			u.Add(Outcome{At: at})
			all = append(all, at)
		}
		require.LessOrEqual(t, len(u.Cells), MaxCells)
		since := rapid.Int64Range(noon, now).Draw(t, "since")
		got := Assess(u, since, now, Config{}).Points
		exact, sure := int64(0), int64(0)
		for _, at := range all {
			if at > since {
				exact++
			}
			if at > since+10*second {
				sure++
			}
		}
		require.LessOrEqual(t, got, exact, "nothing from before counts")
		require.GreaterOrEqual(t, got, sure, "at most ten seconds are left out")
	})
}

func TestHints(t *testing.T) {
	at := noon
	for name, c := range map[string]struct {
		outcomes []Outcome
		after    time.Duration
		left     int64
		ok       bool
	}{
		"nothing said":            {[]Outcome{{At: at}}, 0, 0, false},
		"remaining":               {[]Outcome{{At: at, Remaining: 7, Limit: 10}}, 0, 7, true},
		"less the uses since":     {[]Outcome{{At: at, Remaining: 7, Limit: 10}, {At: at + 1}, {At: at + 2}}, 0, 5, true},
		"failures use nothing":    {[]Outcome{{At: at, Remaining: 7, Limit: 10}, {At: at + 1, Failed: true}}, 0, 7, true},
		"never below nothing":     {[]Outcome{{At: at, Remaining: 1, Limit: 10}, {At: at + 1}, {At: at + 2}}, 0, 0, true},
		"the newest counts":       {[]Outcome{{At: at + 1, Remaining: 3, Limit: 10}, {At: at, Remaining: 7, Limit: 10}}, 0, 2, true},
		"void after the reset":    {[]Outcome{{At: at, Remaining: 0, Limit: 10, ResetAt: at + hour}}, time.Hour, 0, false},
		"void after a day":        {[]Outcome{{At: at, Remaining: 0, Limit: 10}}, 25 * time.Hour, 0, false},
		"malformed: negative":     {[]Outcome{{At: at, Remaining: -1, Limit: 10}}, 0, 0, false},
		"malformed: above limit":  {[]Outcome{{At: at, Remaining: 11, Limit: 10}}, 0, 0, false},
		"malformed: no limit":     {[]Outcome{{At: at, Remaining: 11}}, 0, 0, false},
		"malformed: reset passed": {[]Outcome{{At: at, Quota: true, ResetAt: at - 1}}, 0, 0, false},
		"malformed: reset in ms":  {[]Outcome{{At: at, Quota: true, ResetAt: at + 5000*day}}, 0, 0, false},
		"refused until the reset": {[]Outcome{{At: at, Quota: true, ResetAt: at + hour}}, 59 * time.Minute, 0, true},
		"retry-after wins":        {[]Outcome{{At: at, Quota: true, Remaining: 5, Limit: 10, ResetAt: at + hour, RetryAt: at + 2*hour}}, 90 * time.Minute, 0, true},
		"retry-after wins, sooner": {
			[]Outcome{{At: at, Quota: true, ResetAt: at + 2*hour, RetryAt: at + hour}}, 90 * time.Minute, 0, false},
		"a success ends the pause": {[]Outcome{{At: at, Quota: true, RetryAt: at + hour}, {At: at + 1}}, 0, 0, false},
		"a pause of another kind":  {[]Outcome{{At: at, Failed: true, RetryAt: at + hour}}, 0, 0, false},
	} {
		var added, merged Usage
		for _, o := range c.outcomes {
			var b Usage
			b.Add(o)
			added.Add(o)
			merged.Merge(b)
		}
		for _, u := range []Usage{added, merged} {
			left, ok := u.left(at+int64(c.after), price{})
			assert.Equal(t, c.ok, ok, name)
			assert.Equal(t, c.left, left, name)
		}
	}
}
