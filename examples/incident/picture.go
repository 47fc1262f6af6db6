package main

import (
	"fmt"
	"strings"
	"time"
)

var colours = map[string]string{"manual": "#0b6fb8", "retry": "#b8560b", "restart": "#6b3fa0"}

const (
	width, left, right = 960, 150, 24
	rowHeight          = 26
	dotted             = `stroke="#888" stroke-dasharray="4 3"`
)

// picture draws the afternoon: the calls as ticks by cause, the acquisitions without and with the guard, and the hour
// window of each against the limit.
func picture(calls []call, before, after *run, limit int) string {
	from := calls[0].At.Truncate(5 * time.Minute)
	to := calls[len(calls)-1].At.Truncate(5 * time.Minute).Add(5 * time.Minute)
	x := func(t time.Time) float64 {
		return left + float64(t.Sub(from))/float64(to.Sub(from))*(width-left-right)
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	const chart, height = 230, 420
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13" role="img">`, width, height)
	p(`<title>%d calls for a token: %d acquisitions without a guard, %d with it</title>`, len(calls), len(before.up.issued), len(after.up.issued))
	p(`<rect width="100%%" height="100%%" fill="#fff"/>`)
	p(`<text x="%d" y="24" font-size="16" font-weight="600">%d calls, %d acquisition with the guard, %d served</text>`, 16, len(calls), len(after.up.issued), after.working())

	y := 56
	for _, cause := range causes {
		n := 0
		for _, c := range calls {
			if c.Cause == cause {
				p(`<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s" stroke-width="1.5"/>`, x(c.At), x(c.At), y-10, y+6, colours[cause])
				n++
			}
		}
		p(`<text x="16" y="%d" fill="%s">%s (%d)</text>`, y+3, colours[cause], cause, n)
		y += rowHeight
	}
	for _, r := range []*run{before, after} {
		for _, at := range r.up.issued {
			p(`<circle cx="%.1f" cy="%d" r="4" fill="#1a7f37" fill-opacity="0.6"/>`, x(at), y-2)
		}
		p(`<text x="16" y="%d">%s: %d</text>`, y+3, r.name, len(r.up.issued))
		y += rowHeight
	}

	// The hour window: how many of the acquisitions lie in the 60 minutes before each instant.
	most := len(before.up.issued)
	scale := func(n int) float64 { return float64(height-40) - float64(n)/float64(most)*float64(height-40-chart) }
	p(`<text x="16" y="%d">starts in 60 min</text>`, chart-8)
	for _, r := range []*run{before, after} {
		colour := "#c0392b"
		if r == after {
			colour = "#1a7f37"
		}
		path, n := fmt.Sprintf("M%d %.1f", left, scale(0)), 0
		for _, at := range r.up.issued {
			n++ // the afternoon is shorter than an hour: none leaves the window
			path += fmt.Sprintf("H%.1fV%.1f", x(at), scale(n))
		}
		p(`<path d="%sH%d" fill="none" stroke="%s" stroke-width="2"/>`, path, width-right, colour)
		p(`<text x="%d" y="%.1f" text-anchor="end" fill="%s">%s: %d</text>`, width-right, scale(n)-6, colour, r.name, n)
	}
	p(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" %s/>`, left, width-right, scale(limit), scale(limit), dotted)
	p(`<text x="%d" y="%.1f" fill="#555">limit %d</text>`, (left+width)/2, scale(limit)-5, limit)
	p(`<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#333"/>`, left, width-right, scale(0), scale(0))
	for t := from; !t.After(to); t = t.Add(5 * time.Minute) {
		p(`<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`, x(t), height-18, t.Format("15:04"))
		p(`<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#333"/>`, x(t), x(t), scale(0), scale(0)+5)
	}
	p(`</svg>`)
	return b.String()
}
