package guardui

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard"
)

// timeline is one stretch of time that ends now, as rows of marks.
type timeline struct {
	Title  string
	Axis   axis
	Hour   mark   // the window of the hour
	Closed []mark // backoff and Retry-After
	Rows   []row
}

// row is what happened of one sort.
type row struct {
	Name, Class string
	Count       int
	Marks       []mark
}

// strip is the picture of a row.
type strip struct {
	Timeline timeline
	Row      row
}

const (
	bins      = 125 // into which refusals are counted
	rowHeight = 24
)

func newTimeline(title string, length time.Duration, now time.Time, attempts []tokenguard.Attempt, history []tokenguard.Event, limiter tokenguard.LimiterStats) timeline {
	end := now.Truncate(time.Minute).Add(time.Minute) // so that the picture moves once a minute
	t := timeline{Title: title, Axis: newAxis(end.Add(-length), end)}
	hour := t.Axis.x(now.Add(-time.Hour))
	t.Hour = mark{Class: "hour", Title: "window of the hour", X: hour, W: hundredth(t.Axis.x(now) - hour), H: rowHeight}
	starts := row{Name: "acquisitions", Class: "start"}
	for _, a := range attempts {
		if a.End.Before(t.Axis.From) {
			continue
		}
		starts.Count++
		m := mark{Class: "start", X: t.Axis.x(a.Start), H: rowHeight, Title: fmt.Sprintf("%s, %s", stamp(a.Start), a.State)}
		if a.Operation != "" {
			m.Title += ", for " + foreign(a.Operation)
		}
		if a.Scope != "" {
			m.Title += ", scope " + foreign(a.Scope)
		}
		m.W = max(hundredth(t.Axis.x(a.End)-m.X), .4)
		if a.State == tokenguard.AttemptFailed { // told from the others by more than its colour
			m.Class, m.Y, m.H = "failed", rowHeight/2, rowHeight/2
		}
		m.X = min(m.X, hundredth(100-m.W))
		starts.Marks = append(starts.Marks, m)
	}
	t.Rows = append(t.Rows, starts)
	t.Closed = closed(history, attempts, limiter, now, t.Axis)
	t.Rows = append(t.Rows, refusals(history, t.Axis)...)
	return t
}

// closed are the stretches in which failures kept everything shut, one for each that overlaps.
func closed(history []tokenguard.Event, attempts []tokenguard.Attempt, limiter tokenguard.LimiterStats, now time.Time, on axis) (out []mark) {
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
	var merged []stretch
	for _, s := range all {
		if s.to.Before(on.From) || s.from.After(now) {
			continue
		}
		if n := len(merged); n > 0 && !s.from.After(merged[n-1].to) {
			if s.to.After(merged[n-1].to) {
				merged[n-1].to = s.to
			}
			continue
		}
		merged = append(merged, s)
	}
	for _, s := range merged {
		x := on.x(s.from)
		out = append(out, mark{"closed", fmt.Sprintf("backoff or Retry-After, %s to %s", stamp(s.from), stamp(s.to)), x, hundredth(on.x(s.to) - x), 0, rowHeight})
	}
	return out
}

// refusals are rows by reason, the most frequent first. A mark is the higher the more there were: each doubling adds
// the same.
func refusals(history []tokenguard.Event, on axis) (out []row) {
	counts := map[string]*[bins]int{}
	for _, e := range history {
		if e.Kind != tokenguard.EventRefused || e.At.Before(on.From) {
			continue
		}
		reason := string(e.Verdict.Reason)
		if counts[reason] == nil {
			counts[reason] = new([bins]int)
		}
		counts[reason][min(int(on.x(e.At)*bins/100), bins-1)] += 1 + e.Repeats
	}
	wide := on.To.Sub(on.From) / bins
	for reason, binned := range counts {
		r := row{Name: reason, Class: "refused"}
		for i, n := range binned {
			if n == 0 {
				continue
			}
			r.Count += n
			height, from := min(6+3*bits.Len(uint(n)), rowHeight), on.From.Add(time.Duration(i)*wide)
			r.Marks = append(r.Marks, mark{"refused", fmt.Sprintf("%s to %s: %d refused", stamp(from), stamp(from.Add(wide)), n),
				hundredth(float64(i) * 100 / bins), .6, rowHeight - height, height})
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b row) int {
		return byCount(count{a.Name, int64(a.Count)}, count{b.Name, int64(b.Count)})
	})
	return out
}
