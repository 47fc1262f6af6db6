package predict

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// finite fails on any NaN or infinity in v.
func finite(t require.TestingT, v reflect.Value) {
	switch v.Kind() {
	case reflect.Float64:
		require.False(t, math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0), "not finite")
	case reflect.Struct:
		for i := range v.NumField() {
			finite(t, v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			finite(t, v.Index(i))
		}
	}
}

// exercise does with the state all that the package can do.
func exercise(t require.TestingT, h *History, u *Usage, o Outcome, now int64) {
	var b Usage
	b.Add(o)
	u.Trim(now)
	h.Learn(u, b)
	u.Add(o)
	h.Started(o.At, now)
	h.TokenEnded(*u)
	a := Assess(*u, o.At, now, Config{})
	f := h.Forecast(*u, now)
	g := h.Budget(now, 0, []int64{o.At, now}, 3, 20)
	for _, p := range []float64{a.Confidence, f.Confidence, f.Probability, g.Hour.Probability, g.Day.Probability} {
		require.True(t, p >= 0 && p <= 1, "%v is no probability", p)
	}
	require.GreaterOrEqual(t, a.Mean, time.Duration(0))
	require.GreaterOrEqual(t, f.UsesLeft, int64(0))
	require.LessOrEqual(t, len(u.Cells), MaxCells)
	require.LessOrEqual(t, len(h.Lives), MaxLives)
	for _, v := range []any{*h, *u, a, f, g, h.Accuracy()} {
		finite(t, reflect.ValueOf(v))
		_, err := json.Marshal(v)
		require.NoError(t, err)
	}
}

func FuzzDecode(f *testing.F) {
	var h History
	var u Usage
	for i := range int64(30) {
		var b Usage
		b.Add(Outcome{At: noon + i*second, Quota: i%7 == 6, Remaining: i, Limit: 40, ResetAt: noon + hour})
		h.Learn(&u, b)
		h.Started(noon+i*hour, 0)
	}
	hj, err := json.Marshal(h)
	require.NoError(f, err)
	uj, err := json.Marshal(u)
	require.NoError(f, err)
	f.Add(hj, uj, noon, noon+second, int64(time.Second), true, int64(3), int64(9))
	f.Add([]byte(`{"w":[1e308,1e308,1,1,1],"h":[{"n":1e308,"r":1e308}],"d":{"o":1e308,"oe":-1e308},"b":{"n":-1,"b":1e308},"a":{"a":-9223372036854775808,"n":[1e308]}}`),
		[]byte(`{"c":[[9223372036854775807,9223372036854775807,-1,9,9,9,9223372036854775807]],"n":9223372036854775807,"t":{"a":-9223372036854775808,"b":1e308,"u":9223372036854775807}}`),
		int64(math.MinInt64), int64(math.MaxInt64), int64(math.MaxInt64), false, int64(math.MaxInt64), int64(math.MaxInt64))
	f.Add([]byte(`{}`), []byte(`{"t":{"a":1000000,"b":1}}`), int64(1_000_000), int64(1_000_000), int64(0), true, int64(0), int64(0))
	f.Add([]byte(`{"w":[0,0,0,0,1]}`), []byte(`{"c":[]}`), int64(0), int64(0), int64(0), false, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, hj, uj []byte, at, now, latency int64, quota bool, remaining, limit int64) {
		var h History
		var u Usage
		if json.Unmarshal(hj, &h) != nil || json.Unmarshal(uj, &u) != nil {
			return
		}
		o := Outcome{At: at, Latency: time.Duration(latency), Quota: quota, Remaining: remaining, Limit: limit, ResetAt: now, RetryAt: now}
		for range 3 {
			exercise(t, &h, &u, o, now)
			o.Quota = !o.Quota
		}
	})
}

func TestDecodeKeepsWithinBounds(t *testing.T) {
	var h History
	require.NoError(t, json.Unmarshal([]byte(`{"h":[{"n":1e308,"r":1e308}],"d":{"o":-6,"oe":-1},"w":[0,1,0,0,0],
		"b":{"n":2,"r":9,"k":9,"b":1e308},"a":{"n":[-1],"h":[1e308]}}`), &h))
	require.Equal(t, History{
		Hours:  [24]decayingCount{{hourMemory, hourMemory}},
		Book:   scoreBook{N: 2, Refused: 2, Right: 2, Brier: 2},
		Demand: demand{Hours: [24]float64{demandMemory}},
	}, h)
	var u Usage
	require.NoError(t, json.Unmarshal([]byte(`{"c":[[11000,99999,2,5,0,7,-1],[-5,0,0,0,0,0,0]],"n":1,"q":-3,"f":9,"t":{"b":7,"r":-1}}`), &u))
	require.Equal(t, Usage{
		Cells: []Cell{{First: 0}, {First: 11_000, Last: 20_999, Calls: 2, Quota: 2, Fails: 2, Timed: 2}},
		Calls: 1, Fails: 1, Track: track{Shut: 1},
	}, u)
}

func TestInstantsMayGoBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h History
		var u Usage
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			o := Outcome{
				At:      rapid.OneOf(rapid.Int64(), rapid.Int64Range(noon-day, noon+day)).Draw(t, "at"),
				Latency: time.Duration(rapid.Int64().Draw(t, "latency")),
				Quota:   rapid.Bool().Draw(t, "quota"),
			}
			exercise(t, &h, &u, o, rapid.OneOf(rapid.Int64(), rapid.Int64Range(noon-day, noon+day)).Draw(t, "now"))
		}
	})
}

func TestHistoryRoundTrip(t *testing.T) {
	var want, got History
	worlds[5].live(1, 5, func(at int64, h *History, _ Usage, refused bool) {
		if refused {
			h.Started(at, at+hour)
		}
		want = h.Clone()
	})
	data, err := json.Marshal(want)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, want, got)
}
