package replay

import (
	"fmt"
	"html"
	"html/template"
	"strings"
	"time"
)

var colours = []string{"#0b6fb8", "#b8560b", "#6b3fa0", "#1a7f8f", "#9a7d0a", "#a83260", "#4a6b1f", "#707780"}

const (
	width, left, right = 960, 170, 30
	rowHeight          = 28
	chartHeight        = 130
)

// picture draws the log: the calls as ticks by cause, the acquisitions, and how many of them lie in the 60 minutes
// before each instant, against the limit.
func picture(r *Result) template.HTML {
	span := max(r.To.Sub(r.From), time.Second)
	x := func(t time.Time) float64 { return left + float64(t.Sub(r.From))/float64(span)*(width-left-right) }
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	rows := len(r.Causes) + 2
	chart := 16 + rows*rowHeight + 24
	height := chart + chartHeight + 30
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%d calls and %d acquisitions over time">`, width, height, r.Calls, r.Acquisitions())
	y := 24
	for i, h := range r.Causes {
		ticks(p, h, colours[i%len(colours)], x, y)
		y += rowHeight
	}
	ticks(p, &r.Without, "var(--bad)", x, y)
	y += rowHeight
	p(`<text x="0" y="%d">acquisitions (%d)</text>`, y+4, r.Acquisitions())
	for _, s := range r.Starts {
		colour, what := "var(--ok)", "acquired"
		if !s.OK {
			colour, what = "var(--bad)", "failed"
		}
		p(`<circle cx="%.1f" cy="%d" r="5" fill="%s" fill-opacity="0.8"><title>%s %s</title></circle>`, x(s.At), y, colour, what, stamp(s.At))
	}
	window(p, r, x, chart, span)
	p(`</svg>`)
	return template.HTML(b.String()) // its only foreign text, the causes, is escaped
}

// ticks draws a line for each bin that holds calls, the stronger the more.
func ticks(p func(string, ...any), h *Histogram, colour string, x func(time.Time) float64, y int) {
	p(`<text x="0" y="%d">%s (%d)</text>`, y+4, html.EscapeString(short(h.Name)), h.Calls)
	most := 1
	for _, n := range h.Bins {
		most = max(most, n)
	}
	p(`<g stroke="%s" stroke-width="1.5">`, colour)
	for i, n := range h.Bins {
		if n > 0 {
			at := x(h.From.Add(time.Duration(i) * h.Width))
			p(`<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke-opacity="%.2f"/>`, at, at, y-8, y+8, 0.35+0.65*float64(n)/float64(most))
		}
	}
	p(`</g>`)
}

// window draws the sliding window of an hour and its limit.
func window(p func(string, ...any), r *Result, x func(time.Time) float64, top int, span time.Duration) {
	limit := r.Limits.MaxRequestsPerHour
	bottom := top + chartHeight
	scale := func(n int) float64 {
		return float64(bottom) - float64(n)/float64(max(limit, 1))*float64(chartHeight-16)
	}
	p(`<text x="0" y="%d">starts in 60 min</text>`, top+12)
	path := strings.Builder{}
	fmt.Fprintf(&path, "M%d %.1f", left, scale(0))
	n, gone := 0, 0
	step := func(at time.Time) { fmt.Fprintf(&path, "H%.1fV%.1f", x(at), scale(n)) }
	leave := func(until time.Time) {
		for ; gone < len(r.Starts) && !r.Starts[gone].At.Add(time.Hour).After(until); gone++ {
			n--
			step(r.Starts[gone].At.Add(time.Hour))
		}
	}
	for _, s := range r.Starts {
		leave(s.At)
		n++
		step(s.At)
	}
	leave(r.To)
	fmt.Fprintf(&path, "H%d", width-right)
	p(`<path d="%sV%.1fZ" fill="var(--ok)" fill-opacity="0.12"/>`, path.String(), scale(0))
	p(`<path d="%s" fill="none" stroke="var(--ok)" stroke-width="2"/>`, path.String())
	p(`<text x="%d" y="%d" text-anchor="end" class="dim">0</text>`, left-8, bottom+4)
	p(`<text x="%d" y="%.1f" text-anchor="end" class="dim">%d</text>`, left-8, scale(limit)+4, limit)
	p(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="var(--bad)" stroke-dasharray="5 4"/>`, left, width-right, scale(limit), scale(limit))
	p(`<text x="%d" y="%.1f" text-anchor="end" class="dim">limit %d</text>`, width-right, scale(limit)-4, limit)
	p(`<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="var(--dim)"/>`, left, width-right, bottom, bottom)
	const ticks = 6
	layout := "15:04"
	if span < 10*time.Minute {
		layout = "15:04:05"
	} else if span > 36*time.Hour {
		layout = "Jan 2 15:04"
	}
	for i := range ticks + 1 {
		at := r.From.Add(span * time.Duration(i) / ticks)
		p(`<text x="%.1f" y="%d" text-anchor="middle" class="dim">%s</text>`, x(at), bottom+20, at.Format(layout))
	}
}

// short keeps a label within its column.
func short(s string) string {
	const most = 16
	if runes := []rune(oneLine(s)); len(runes) > most {
		return string(runes[:most-1]) + "…"
	} else {
		return string(runes)
	}
}
