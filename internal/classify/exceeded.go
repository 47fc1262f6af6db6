package classify

import (
	"strings"
	"time"
)

// readWindows reads what the headers say of windows.
func (h *Hints) readWindows(in Input, c clock, speaks bool) {
	if len(in.Header) == 0 {
		return
	}
	ws := readWindowHeaders(in.Header, c.base)
	if len(ws) == 0 {
		return
	}
	for i := range ws {
		ws[i].check(in)
	}
	w := tightest(ws, c)
	h.UsedUp = w.exhausted()
	if left, known := w.left(); known && w.hasLimit {
		h.Remaining, h.Limit = left, w.limit
	}
	if h.ResetAt.IsZero() && w.hasReset {
		if d, ok := w.reset.until(c, longestReset); ok && !c.now.IsZero() {
			h.ResetAt = c.now.Add(d)
		} else if w.reset.instant && c.base.IsZero() {
			h.ResetAt = w.reset.at
		}
	}
	if in.StatusCode != 0 && in.StatusCode < 400 || !speaks {
		return
	}
	if w, ok := exceededWindow(ws, in.StatusCode, c); ok {
		if d, ok := w.reset.until(c, LongestWait); w.hasReset && ok {
			h.state(d, Source{SourceWindow, w.header}, w.reset.spread > 0)
		} else if w.length > 0 {
			h.hint(min(w.length, LongestWait), Source{SourceWindow, w.header})
		}
	}
}

// check drops a reset that may be in another unit. A number without one is of
// seconds, unless it is longer than its own window; without a window, if it is
// a round number of thousands, or beyond a day though nothing in the answer
// speaks of days.
func (w *window) check(in Input) {
	d := w.reset.wait
	if !w.hasReset || !w.reset.bare {
		return
	}
	if w.length > 0 {
		if d <= w.length+sameWait {
			return
		}
	} else if !roundMillis(d) && (d <= 25*time.Hour || w.named(longPeriods) || speaksOfDays(in)) {
		return
	}
	w.hasReset = false
}

var longPeriods = []string{"day", "daily", "week", "month", "plan", "每日", "每天", "每月", "每周", "quota"}

func (w *window) named(periods []string) bool {
	for _, p := range periods {
		if strings.Contains(w.name, p) {
			return true
		}
	}
	return false
}

// speaksOfDays reports an answer that names a period of a day or longer, or a
// plan or quota, which has one.
func speaksOfDays(in Input) bool {
	text := truncate(in.Text, MaxText)
	for _, p := range longPeriods {
		if containsFold(text, p) {
			return true
		}
	}
	return false
}

// exceededWindow picks the window that the caller has to wait for: of those that are
// used up the one that ends last; where none says what is left, the only one
// that there is. One that has room left is never it.
func exceededWindow(ws []window, status int, c clock) (*window, bool) {
	var used, open *window
	several := false
	for i := range ws {
		w := &ws[i]
		if !w.hasReset && w.length == 0 {
			if w.exhausted() {
				used = laterOf(used, w, c)
			}
			continue
		}
		left, known := w.left()
		switch {
		case known && left > 0:
		case known:
			used = laterOf(used, w, c)
		case open != nil:
			several = several || !sameEnd(open, w, c)
			if open.hasReset != w.hasReset && w.hasReset {
				open = w
			}
		default:
			open = w
		}
	}
	if used != nil {
		if !used.hasReset && used.length == 0 && open != nil && !several {
			return open, true // the families of one window go by different names
		}
		return used, used.hasReset || used.length > 0
	}
	if open == nil || several || status != 429 && status != 420 && status != 0 {
		return nil, false
	}
	return open, anyRoom(ws) == 0
}

// anyRoom counts the windows that say that something is left.
func anyRoom(ws []window) (n int) {
	for i := range ws {
		if left, known := ws[i].left(); known && left > 0 {
			n++
		}
	}
	return n
}

func sameEnd(a, b *window, c clock) bool {
	if !a.hasReset || !b.hasReset {
		return a.hasReset != b.hasReset // one states the end, the other its length
	}
	x, okX := a.reset.until(c, LongestWait)
	y, okY := b.reset.until(c, LongestWait)
	return okX && okY && (x-y).Abs() <= sameWait
}

func laterOf(a, b *window, c clock) *window {
	if a == nil || tighter(b, a, c) {
		return b
	}
	return a
}

// tightest picks the window that counts: one that is used up before others,
// among these the one that ends last, else the one with the smallest share
// left.
func tightest(ws []window, c clock) *window {
	best := &ws[0]
	for i := range ws[1:] {
		if tighter(&ws[i+1], best, c) {
			best = &ws[i+1]
		}
	}
	return best
}

func tighter(a, b *window, c clock) bool {
	if a.exhausted() != b.exhausted() {
		return a.exhausted()
	}
	if a.exhausted() {
		if !a.hasReset || !b.hasReset {
			return a.hasReset && !b.hasReset
		}
		x, _ := a.reset.until(c, longestReset)
		y, _ := b.reset.until(c, longestReset)
		return x > y
	}
	leftA, knownA := a.left()
	leftB, knownB := b.left()
	if knownA != knownB {
		return knownA
	}
	return float64(leftA)*float64(b.limit) < float64(leftB)*float64(a.limit)
}
