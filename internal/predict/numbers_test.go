package predict

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is written and read by hand is what encoding/json would make of it, byte for byte and value for value, also of what
// no version has written.
func FuzzNumbers(f *testing.F) {
	f.Add([]byte(`[1,-2,3,0,5,6,7]`), int64(1), int64(-2), int64(3))
	f.Add([]byte(`[ 1 , 2 ]`), int64(math.MaxInt64), int64(math.MinInt64), int64(0))
	for _, text := range []string{``, `[`, `[]`, `[1`, `[1,]`, `[,1,2]`, `[1,2,3]`, `[1,2,3,4]`, `[1,2,3]]`, `[1,2,3] `, `[01,2,3]`, `[-0,0,-]`, `[-,1,2]`, `[+1,2,3]`,
		`[1.0,2,3]`, `[1e3,2,3]`, `null`, `[null,2,3]`, `["1",2,3]`, `[999999999999999999,-999999999999999999,0]`, `[1000000000000000000,2,3]`,
		`[9223372036854775807,-9223372036854775808,0]`, `[9223372036854775808,2,3]`, `[1,2,99999999999999999999]`, `{}`,
		`[[1,2,3,4,5,6,7]]`, `[[1,2,3,4,5,6,7],[8,9,10,11,12,13,14]]`, `[[1,2,3,4,5,6,7],]`, `[[1,2,3,4,5,6,7]x[1,2,3,4,5,6,7]]`, `[[1,2,3,4,5,6,7],[1,2]]`,
		`[[1,2,3,4,5,6,7], [1,2,3,4,5,6,7]]`, `[[1,2,3,4,5,6,7],null]`, `[[1,2,3,4,5,6,7]`, `[[1,2,3,4,5,6,9223372036854775807]]`, `[[1,2,3,4,5,6,7]]]`, `[[[1,2,3,4,5,6,7]]]`} {
		f.Add([]byte(text), int64(7), int64(77), int64(777))
	}
	f.Fuzz(func(t *testing.T, data []byte, a, b, c int64) {
		var want, got [3]int64
		wantErr, gotErr := json.Unmarshal(data, &want), readNumbers(data, &got, got[:])
		require.Equal(t, wantErr == nil, gotErr == nil, "%v, %v", wantErr, gotErr)
		require.Equal(t, want, got)

		var wantCells []Cell
		var gotCells cellList
		wantErr, gotErr = json.Unmarshal(data, &wantCells), gotCells.UnmarshalJSON(data)
		require.Equal(t, wantErr == nil, gotErr == nil, "%v, %v", wantErr, gotErr)
		if wantErr == nil {
			require.Equal(t, wantCells, []Cell(gotCells))
			wantText, err := json.Marshal(wantCells)
			require.NoError(t, err)
			gotText, err := json.Marshal(gotCells)
			require.NoError(t, err)
			require.Equal(t, string(wantText), string(gotText))
		}

		numbers := [3]int64{a, b, c}
		text, err := json.Marshal(numbers)
		require.NoError(t, err)
		require.Equal(t, string(text), string(appendNumbers(nil, numbers[:])))

		u := Usage{Cells: []Cell{{First: a, Last: b, Calls: c, Latency: time.Duration(b)}}, Cost: Cost{Spent: c, Over: a, Most: b}}
		text, err = json.Marshal(u)
		require.NoError(t, err)
		cell, err := json.Marshal([7]int64{a, b - a, c, 0, 0, 0, time.Duration(b).Microseconds()})
		require.NoError(t, err)
		require.Contains(t, string(text), `"c":[`+string(cell)+`]`)
		if u.Cost != (Cost{}) {
			cost, err := json.Marshal([3]int64{c, a, b})
			require.NoError(t, err)
			require.Contains(t, string(text), `"k":`+string(cost))
		}
	})
}

// Most of a document of one busy token are its cells.
func BenchmarkCells(b *testing.B) {
	var u Usage
	for i := range int64(31) {
		u.Add(Outcome{At: noon + i*10*second, Latency: time.Second, Quota: i%2 == 1})
		u.Add(Outcome{At: noon + i*10*second + second, Latency: time.Second})
	}
	data, err := json.Marshal(u)
	require.NoError(b, err)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = json.Marshal(u)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v Usage
			require.NoError(b, json.Unmarshal(data, &v))
		}
	})
}
