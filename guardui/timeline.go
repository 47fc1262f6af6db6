package guardui

import (
	"math/bits"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard"
)

// timeline is one stretch of time that ends now, as rows of marks. A unit of the pictures is a thousandth of it.
type timeline struct {
	Title  string
	Labels []string // at even distances, from its begin to now
	Grid   []int
	Hour   box   // the window of the hour
	Closed []box // backoff and Retry-After
	Rows   []row
}

// row is what happened of one sort.
type row struct {
	Name, Class string
	Count       int
	Marks       []box
}

// box is a mark in thousandths.
type box struct {
	X, W   float64
	Y, H   int // in 24ths of a row
	Failed bool
}

// strip is the picture of a row.
type strip struct {
	Timeline timeline
	Row      row
}

const (
	bins      = 125 // into which refusals are counted: 8 thousandths each
	rowHeight = 24
)

func newTimeline(title string, length time.Duration, now time.Time, attempts []tokenguard.Attempt, history []tokenguard.Event, limiter tokenguard.LimiterStats) timeline {
	t := timeline{Title: title, Grid: []int{0, 250, 500, 750, 1000}}
	for _, at := range t.Grid {
		t.Labels = append(t.Labels, now.Add(-length*time.Duration(1000-at)/1000).UTC().Format("15:04"))
	}
	from := now.Add(-length)
	at := func(when time.Time) float64 {
		x := 1000 * float64(when.Sub(from)) / float64(length)
		return float64(int(10*min(max(x, 0), 1000))) / 10
	}
	t.Hour = box{X: at(now.Add(-time.Hour)), W: at(now) - at(now.Add(-time.Hour)), H: rowHeight}
	starts := row{Name: "starts", Class: "start"}
	for _, a := range attempts {
		if a.End.Before(from) {
			continue
		}
		starts.Count++
		mark := box{X: at(a.Start), W: max(at(a.End)-at(a.Start), 4), H: rowHeight}
		if a.State == tokenguard.AttemptFailed { // told from the others by more than its colour
			mark.Failed, mark.Y, mark.H = true, rowHeight/2, rowHeight/2
		}
		mark.X = min(mark.X, 1000-mark.W)
		starts.Marks = append(starts.Marks, mark)
	}
	t.Rows = append(t.Rows, starts)
	t.Closed = closed(history, attempts, limiter, from, now, at)
	t.Rows = append(t.Rows, refusals(history, from, at)...)
	return t
}

// closed are the stretches in which failures kept everything shut, one for each that overlaps.
func closed(history []tokenguard.Event, attempts []tokenguard.Attempt, limiter tokenguard.LimiterStats, from, now time.Time, at func(time.Time) float64) (out []box) {
	type stretch struct{ from, to time.Time }
	var all []stretch
	for _, e := range history {
		v := e.Verdict
		if (v.Reason == tokenguard.ReasonBackoff || v.Reason == tokenguard.ReasonRetryAfter) && !v.Evidence.Since.IsZero() {
			all = append(all, stretch{v.Evidence.Since, v.Until})
		}
	}
	for _, a := range slices.Backward(attempts) { // the backoff in force, whichever process failed
		if a.State == tokenguard.AttemptFailed && a.End.Before(limiter.BackoffUntil) {
			all = append(all, stretch{a.End, limiter.BackoffUntil})
			break
		}
	}
	slices.SortFunc(all, func(a, b stretch) int { return a.from.Compare(b.from) })
	for _, s := range all {
		if s.to.Before(from) || s.from.After(now) {
			continue
		}
		x, end := at(s.from), at(s.to)
		if n := len(out); n > 0 && x <= out[n-1].X+out[n-1].W {
			out[n-1].W = max(out[n-1].W, end-out[n-1].X)
			continue
		}
		out = append(out, box{X: x, W: end - x, H: rowHeight})
	}
	return out
}

// refusals are rows by reason, the most frequent first. A mark is the higher the more there were: each doubling adds
// the same.
func refusals(history []tokenguard.Event, from time.Time, at func(time.Time) float64) (out []row) {
	counts := map[string]*[bins]int{}
	for _, e := range history {
		if e.Kind != tokenguard.EventRefused || e.At.Before(from) {
			continue
		}
		reason := string(e.Verdict.Reason)
		if counts[reason] == nil {
			counts[reason] = new([bins]int)
		}
		counts[reason][min(int(at(e.At)*bins/1000), bins-1)] += 1 + e.Repeats
	}
	for reason, binned := range counts {
		r := row{Name: reason, Class: "refused"}
		for i, n := range binned {
			if n == 0 {
				continue
			}
			r.Count += n
			height := min(6+3*bits.Len(uint(n)), rowHeight)
			r.Marks = append(r.Marks, box{X: float64(i) * 1000 / bins, W: 6, Y: rowHeight - height, H: height})
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b row) int {
		return byCount(count{a.Name, int64(a.Count)}, count{b.Name, int64(b.Count)})
	})
	return out
}
