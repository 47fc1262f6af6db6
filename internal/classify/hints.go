package classify

import (
	"strings"
	"time"
)

// Hints are what an answer says in numbers about time and about what is left.
type Hints struct {
	// RetryAfter is the wait that the answer asks for, in [0, 10 years].
	// HasRetryAfter tells a wait of 0 from none.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// ResetAt is when the window that counts starts anew, zero if not stated.
	ResetAt time.Time
	// Remaining and Limit are those of that window; Remaining counts only if
	// Limit > 0.
	Remaining, Limit int64
	// UsedUp: nothing remains in that window, whether or not its limit is stated.
	UsedUp bool
}

// ReadHints reads the hints of in; what is malformed is ignored. A wait is
// taken from the Retry-After header, else from a field of the body, else from
// its prose, else from a window of the headers that is used up. Of several
// windows the one that is used up counts, and of these the one that ends last.
// A window's end stated as a clock time gives ResetAt only.
func ReadHints(in Input, now time.Time) Hints {
	var h Hints
	text := truncate(in.Text, MaxText)
	h.RetryAfter, h.HasRetryAfter = headerWait(in.Header, now)
	wait, reset, hasWait, hasReset := readFields(text)
	if hasWait && !h.HasRetryAfter {
		h.RetryAfter, h.HasRetryAfter = wait.until(now), true
	}
	if !h.HasRetryAfter {
		h.RetryAfter, h.HasRetryAfter = readWait(text)
	}
	if hasReset {
		h.ResetAt = reset.at
	}
	w, ok := tightest(readWindowHeaders(in.Header), now)
	if !ok {
		return h
	}
	h.UsedUp = w.exhausted()
	if left, known := w.left(); known && w.hasLimit {
		h.Remaining, h.Limit = left, w.limit
	}
	if !w.hasReset {
		return h
	}
	if h.ResetAt.IsZero() {
		h.ResetAt = w.reset.instantAt(now)
	}
	if !h.HasRetryAfter && w.exhausted() && !w.reset.instant {
		h.RetryAfter, h.HasRetryAfter = w.reset.wait, true
	}
	return h
}

// headerWait reads Retry-After, in seconds or as a date, and its variants in
// milliseconds.
func headerWait(header map[string][]string, now time.Time) (time.Duration, bool) {
	var found time.Duration
	ok, precise := false, false
	for name, values := range header {
		unit := time.Second
		switch {
		case strings.EqualFold(name, "Retry-After"):
		case len(name) >= len("retry-after-ms") && strings.EqualFold(name[len(name)-len("retry-after-ms"):], "retry-after-ms"):
			unit = time.Millisecond
		default:
			continue
		}
		if precise && unit != time.Second {
			continue
		}
		for _, v := range values {
			if m, valid := parseMoment(v, unit); valid {
				found, ok, precise = m.until(now), true, unit == time.Second
				break
			}
		}
	}
	return found, ok
}

// tightest picks the window that counts: one that is used up before others,
// among these the one that ends last, else the one with the smallest share
// left.
func tightest(ws []window, now time.Time) (window, bool) {
	best := -1
	for i := range ws {
		if best < 0 || tighter(&ws[i], &ws[best], now) {
			best = i
		}
	}
	if best < 0 {
		return window{}, false
	}
	return ws[best], true
}

func tighter(a, b *window, now time.Time) bool {
	if a.exhausted() != b.exhausted() {
		return a.exhausted()
	}
	if a.exhausted() {
		return a.hasReset && (!b.hasReset || a.reset.until(now) > b.reset.until(now))
	}
	leftA, knownA := a.left()
	leftB, knownB := b.left()
	if knownA != knownB {
		return knownA
	}
	return float64(leftA)*float64(b.limit) < float64(leftB)*float64(a.limit)
}
