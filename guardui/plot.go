package guardui

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard"
)

// The pictures are SVG that the server draws. Across they are in per cent, so that their texts keep their size at any
// width without a script, and down in pixels.

// axis is a stretch of time under a picture.
type axis struct {
	From, To time.Time
	Ticks    []tick
}

// tick is a round instant. Date is empty where it is that of the tick before.
type tick struct {
	X           float64
	Clock, Date string
}

// Anchor keeps the label inside of the picture.
func (t tick) Anchor() string {
	switch {
	case t.X < 6:
		return "start"
	case t.X > 94:
		return "end"
	}
	return "middle"
}

const maxTicks = 5 // fit on a telephone

func newAxis(from, to time.Time) axis {
	a := axis{From: from.UTC(), To: to.UTC()}
	steps := []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour}
	step := 24 * time.Hour
	for ; to.Sub(from) > maxTicks*step; step *= 2 {
	}
	for _, s := range steps {
		if to.Sub(from) <= maxTicks*s {
			step = s
			break
		}
	}
	date := ""
	for at := a.From.Add(step - 1).Truncate(step); !at.After(a.To); at = at.Add(step) {
		t := tick{X: a.x(at), Clock: at.Format("15:04")}
		if d := at.Format("2 Jan"); d != date {
			if t.Date = d; date == "" {
				t.Date += " UTC"
			}
			date = d
		}
		a.Ticks = append(a.Ticks, t)
	}
	return a
}

// x is where an instant lies, in per cent of the width and inside of it.
func (a axis) x(at time.Time) float64 {
	return hundredth(100 * float64(at.Sub(a.From)) / float64(a.To.Sub(a.From)))
}

// hundredth cuts a place in per cent to what can be seen.
func hundredth(x float64) float64 { return float64(int(100*min(max(x, 0), 100))) / 100 }

// mark is a rectangle that says what it shows.
type mark struct {
	Class, Title string
	X, W         float64
	Y, H         int
}

// plot is a picture with an axis of numbers.
type plot struct {
	Title, Summary, Note string
	Axis                 axis
	Levels               []level
	Marks                []mark
	Limit                *level
	Now                  float64 // where the present is; 0: at the right edge
	Forecast             *forecast
}

type level struct {
	Y     int
	Label string
}

// forecast is a line from the present to when the limit is reached.
type forecast struct {
	X1, X2 float64
	Y1, Y2 int
	Title  string
}

const (
	plotHeight = 130
	plotTop    = 16 // above the highest value, for its label
)

// height of n on a scale that ends at most.
func height(n, most int64) int {
	h := int(n * (plotHeight - plotTop) / max(most, 1))
	if n > 0 {
		h = max(h, 2)
	}
	return h
}

// Above is where the label of the level is written.
func (l level) Above() int { return l.Y - 4 }

// Grid is the picture's lower edge.
func (plot) Grid() int { return plotHeight }

const maxSteps = 240 // of a line; a tighter one is drawn by its highest value in each

// newWindow draws how many acquisitions a window held, and will hold if nothing else starts, against its limit.
func newWindow(b budget, now time.Time, past, future time.Duration, attempts []tokenguard.Attempt) plot {
	end := now.Truncate(time.Minute).Add(time.Minute)
	p := plot{Axis: newAxis(end.Add(-past), end.Add(future))}
	p.Now = p.Axis.x(now)
	most := int64(max(b.Limit, b.Used, 1))
	type turn struct {
		at time.Time
		by int
	}
	var turns []turn
	known := 0 // now
	for _, a := range attempts {
		leaves := a.End.Add(b.Length)
		turns = append(turns, turn{a.Start, 1}, turn{leaves, -1})
		if !a.Start.After(now) && leaves.After(now) {
			known++
		}
	}
	turns = append(turns, turn{now, 0}) // what is to come is drawn otherwise
	slices.SortStableFunc(turns, func(a, b turn) int { return a.at.Compare(b.at) })
	draw := func(from, to time.Time, n int) {
		x, end := p.Axis.x(from), p.Axis.x(to)
		if n == 0 || end <= x {
			return
		}
		class, said := "used", "%s to %s: %d of %d used"
		if !from.Before(now) {
			class, said = "later", "%s to %s: %d of %d still count, if nothing else starts"
		}
		h := height(int64(n), most)
		p.Marks = append(p.Marks, mark{class, fmt.Sprintf(said, stamp(from), stamp(to), n, b.Limit), x, hundredth(end - x), plotHeight - h, h})
	}
	n, from, since := 0, p.Axis.From, p.Axis.From
	least := p.Axis.To.Sub(p.Axis.From) / maxSteps
	crowded, highest := len(turns) > maxSteps, 0
	for _, t := range append(turns, turn{p.Axis.To, 0}) {
		at := t.at
		if at.After(p.Axis.To) {
			at = p.Axis.To
		}
		if at.After(since) { // else n is over before the picture begins, or at once
			highest, since = max(highest, n), at
		}
		if at.After(from) && (!crowded || at.Sub(from) >= least || at.Equal(now) || at.Equal(p.Axis.To)) {
			draw(from, at, highest)
			from, highest = at, 0
		}
		n += t.by
	}
	limit := level{plotHeight - height(int64(b.Limit), most), fmt.Sprintf("limit %d", b.Limit)}
	p.Limit = &limit
	if half := b.Limit / 2; half > 0 {
		p.Levels = append(p.Levels, level{plotHeight - height(int64(half), most), fmt.Sprint(half)})
	}
	used := plotHeight - height(int64(b.Used), most)
	p.Title = fmt.Sprintf("The %s: %d of %d used", b.Name, b.Used, b.Limit)
	p.Summary = p.Title
	switch {
	case b.Remaining == 0:
		p.Note = "used up now"
	case b.ExhaustedAt.IsZero():
		p.Note = "forecast: not used up soon"
	default:
		p.Note = "forecast: used up at about " + stamp(b.ExhaustedAt)
		to, y := b.ExhaustedAt, limit.Y
		if to.After(p.Axis.To) { // cut where the picture ends
			y = used + int(float64(limit.Y-used)*float64(p.Axis.To.Sub(now))/float64(to.Sub(now)))
			to = p.Axis.To
		}
		p.Forecast = &forecast{p.Now, p.Axis.x(to), used, y, p.Note}
	}
	if missing := b.Used - known; missing > 0 {
		p.Note += fmt.Sprintf("; %d more than are drawn count as used, since the state was lost", missing)
	}
	p.Summary += ", " + p.Note
	return p
}

const minutesDrawn = 120

// newMinutes draws what the calls of this process were told, minute by minute.
func newMinutes(now time.Time, minutes []tokenguard.MinuteStats) *plot {
	if len(minutes) == 0 {
		return nil
	}
	end := now.Truncate(time.Minute).Add(time.Minute)
	p := &plot{Title: "Calls of this process, by the minute", Axis: newAxis(end.Add(-minutesDrawn*time.Minute), end)}
	var most int64
	var sum tokenguard.MinuteStats
	var busiest time.Time
	for _, m := range minutes {
		if n := m.Served + m.Refused + m.Failed; n > most {
			most, busiest = n, m.Start
		}
		sum.Served, sum.Refused, sum.Failed = sum.Served+m.Served, sum.Refused+m.Refused, sum.Failed+m.Failed
	}
	top := round(most)
	for _, n := range []int64{top / 2, top} {
		if n > 0 {
			p.Levels = append(p.Levels, level{plotHeight - height(n, top), fmt.Sprint(n)})
		}
	}
	for _, m := range minutes {
		if m.Start.Before(p.Axis.From) {
			continue
		}
		title := fmt.Sprintf("%s: %d served, %d refused, %d failed", stamp(m.Start), m.Served, m.Refused, m.Failed)
		y := plotHeight
		for _, part := range []struct {
			class string
			n     int64
		}{{"served", m.Served}, {"refused", m.Refused}, {"failed", m.Failed}} {
			if part.n == 0 {
				continue
			}
			h := height(part.n, top)
			y -= h
			p.Marks = append(p.Marks, mark{part.class, title, p.Axis.x(m.Start), hundredth(100.0/minutesDrawn - .1), max(y, 0), h})
		}
	}
	p.Note = fmt.Sprintf("in the last two hours %d served, %d refused, %d failed; the most in a minute: %d, at %s", sum.Served, sum.Refused, sum.Failed, most, stamp(busiest))
	p.Summary = p.Title + ": " + p.Note
	return p
}

// round is the next of 2, 4, 10, 20, 40, 100 and so on.
func round(n int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, m := range []int64{2, 4, 10} {
			if n <= m*unit {
				return m * unit
			}
		}
	}
}
