package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestInstant(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-01-01T00:00:00Z":          start,
		"2026-01-01T08:00:00+08:00":     start,
		"2026-01-01 00:00:00":           start,
		"2026-01-01T00:00:00":           start,
		"1767225600":                    start,
		"1767225600.5":                  start.Add(time.Second / 2),
		"1767225600000":                 start,
		"1767225600000000":              start,
		"1767225600000000000":           start,
		"01/Jan/2026:01:00:00 +0100":    start,
		"2026/01/01 00:00:00":           start,
		"2026-01-01 00:00:00,000":       start,
		"Thu, 01 Jan 2026 00:00:00 GMT": start,
		"Thu Jan  1 00:00:00 2026":      start,
		"20260101T000000Z":              start,
	} {
		got, err := instant(text)
		require.NoError(t, err, text)
		assert.True(t, got.Equal(want), "%s: %v", text, got)
	}
	for _, text := range []string{"", "soon", "-5", "0", "NaN", "1e300", "01/02/2026 00:00:00"} {
		_, err := instant(text)
		assert.Error(t, err, text)
	}
}

func TestSmallDisorderIsTheSameInstant(t *testing.T) {
	log, err := Open([]File{{"x.jsonl", strings.NewReader(`{"at":"2026-01-01T00:00:05Z"}` + "\n" + `{"at":"2026-01-01T00:00:01Z"}`)}}, Options{}, nil)
	require.NoError(t, err)
	for c, err := range log.Calls() {
		require.NoError(t, err)
		assert.True(t, c.At.Equal(start.Add(5*time.Second)))
	}
	assert.Equal(t, 2, log.Lines())
}

func TestCondition(t *testing.T) {
	r := &Result{Calls: 4, Cached: 2, Fetched: 1, Refused: 1, Starts: make([]Start, 3)}
	for text, want := range map[string]bool{
		"served<0.95": true, "served<75%": false, "served<=75%": true, "served >= 0.75": true, "served>0.75": false,
		"refused==0.25": true, "refused != 0.25": false, "acquisitions>2": true, "calls<4": false, "failed>0": false, "used_up==0": true,
	} {
		c, err := ParseCondition(text)
		require.NoError(t, err, text)
		got, _ := c.Holds(&Report{Results: []*Result{r}})
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "served", "served<", "served<x", "served<1.2.3", "<1", "no<1", "served<1<2", "served<95", "refused>101%", "calls<50%"} {
		_, err := ParseCondition(text)
		assert.Error(t, err, text)
	}
}

// A histogram keeps every call when its bins double.
func TestHistogram(t *testing.T) {
	h := &Histogram{From: start, Width: time.Second}
	want := map[int]int{}
	for i := range 5000 {
		h.Add(start.Add(time.Duration(i) * time.Second))
		want[i/4]++
	}
	assert.Equal(t, 4*time.Second, h.Width)
	assert.LessOrEqual(t, len(h.Bins), maxBins)
	for i, n := range h.Bins {
		assert.Equal(t, want[i], n, "bin %d", i)
	}
}

func TestMostStarts(t *testing.T) {
	r := &Result{}
	for _, m := range []int{0, 59, 60, 118, 121, 400} {
		r.acquired(start.Add(time.Duration(m)*time.Minute), true)
	}
	// 59, 60 and 118 lie within 60 minutes; 0 and 60 do not.
	assert.Equal(t, 3, r.MostStarts(time.Hour))
	assert.Equal(t, 6, r.MostStarts(24*time.Hour))
}

func TestBusiestHour(t *testing.T) {
	r := &Result{}
	for _, m := range []int{0, 59, 60, 61, 100, 300} {
		r.busy(start.Add(time.Duration(m) * time.Minute))
	}
	assert.Equal(t, Hour{From: start.Add(59 * time.Minute), Calls: 4}, Hour{r.BusiestHour.From.UTC(), r.BusiestHour.Calls})
}

// The same log gives the same result, whatever else runs.
func TestDeterministic(t *testing.T) {
	run := func(n int) (out []Result) {
		var replays []*Replay
		for range n {
			r, err := New("x", Setup{Upstream: Upstream{Lifetime: time.Hour, Uses: 300}, Config: tokenguard.Moderate()}, true)
			require.NoError(t, err)
			replays = append(replays, r)
		}
		log, err := Open([]File{{"x.jsonl", stream(5000)}}, Options{}, nil)
		require.NoError(t, err)
		require.NoError(t, Run(log.Calls(), replays, nil))
		for _, r := range replays {
			out = append(out, r.Result)
		}
		return out
	}
	want := run(1)[0]
	assert.Equal(t, 5000, want.Calls)
	refused := 0
	for _, reasons := range want.Refusals {
		for _, n := range reasons {
			refused += n
		}
	}
	assert.Equal(t, want.Refused, refused)
	assert.Equal(t, want.Calls, want.Cached+want.Fetched+want.Refused+want.Failed+want.UsedUp)
	for _, got := range run(3) {
		assert.Equal(t, want, got)
	}
}

// Recorded outcomes of acquisitions come back until the next one is recorded.
func TestRecordedOutage(t *testing.T) {
	log, err := Open([]File{{"x.jsonl", strings.NewReader(`
{"at":"2026-01-01T00:00:00Z","kind":"failed","verdict":{"class":"transient"},"text":"bad gateway"}
{"at":"2026-01-01T00:30:00Z","kind":"refused"}
{"at":"2026-01-01T02:00:00Z","kind":"acquired"}`)}}, Options{}, nil)
	require.NoError(t, err)
	r, err := New("x", Setup{Upstream: Upstream{Lifetime: time.Hour}}, false)
	require.NoError(t, err)
	require.NoError(t, Run(log.Calls(), []*Replay{r}, nil))
	assert.Equal(t, []bool{false, false, true}, []bool{r.Starts[0].OK, r.Starts[1].OK, r.Starts[2].OK})
	assert.Equal(t, 2, r.Failed)
}
