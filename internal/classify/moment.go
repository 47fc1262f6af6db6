package classify

import (
	"strings"
	"time"
)

const (
	// maxWait caps every duration that is read, so that no number overflows.
	maxWait = 10 * 365 * 24 * time.Hour

	// LongestWait is the longest wait that an instant may stand for. What is
	// further away is another instant than the one that was looked for, such as
	// the end of a contract, or one in other units.
	LongestWait = 31 * 24 * time.Hour

	// longestReset likewise bounds the end of a window.
	longestReset = 366 * 24 * time.Hour

	// longestPast is how long ago an instant may lie that means "now": answers
	// come from clocks that are off, and may have been kept for a while.
	longestPast = 24 * time.Hour
)

// From these sizes on a number is an instant, not a duration: 10^9 s after
// 1970 is 2001, and no upstream asks for a wait of 31 years. The sizes between
// the units tell them apart until the year 5138.
const (
	unixSeconds = 1e9
	unixMillis  = 1e11
	unixMicros  = 1e14
	unixNanos   = 1e17
	unixEnd     = 1e20
)

// moment is an instant or a duration, as stated.
type moment struct {
	wait    time.Duration
	at      time.Time // the latest instant that can be meant
	spread  time.Duration
	instant bool
	bare    bool // a number without a unit
	asctime bool // in the order of asctime, without a zone
}

// until is how long after c's base the moment is, 0 for an instant that has
// just passed. It is not ok for an instant that nobody can mean, or that
// cannot be told apart from one: further away than limit, long past, or
// without a zone and already past in some.
func (m moment) until(c clock, limit time.Duration) (time.Duration, bool) {
	if !m.instant {
		return m.wait, true
	}
	if c.base.IsZero() {
		return 0, false
	}
	d := m.at.Sub(c.base)
	if d > limit || d < -longestPast || m.spread > 0 && d <= m.spread {
		return 0, false
	}
	return max(d, 0), true
}

// parseMoment reads the value of a field about time: a number (of unit, or an
// instant if it is large), a duration in one of its notations, or a date.
func parseMoment(s string, unit time.Duration, base time.Time) (moment, bool) {
	s = strings.Trim(s, " \t\"'")
	if len(s) > 64 {
		return moment{}, false
	}
	m, rest, ok := cutMoment(s, unit, base)
	return m, ok && rest == ""
}

// cutMoment reads the moment that s starts with.
func cutMoment(s string, unit time.Duration, base time.Time) (moment, string, bool) {
	if s == "" {
		return moment{}, s, false
	}
	if d, rest, ok := cutISODuration(s); ok {
		return moment{wait: d}, rest, true
	}
	if m, rest, ok := cutInstant(s, base); ok {
		return m, rest, true
	}
	if d, rest, ok := cutClockDuration(s); ok {
		return moment{wait: d}, rest, true
	}
	if d, rest, ok := cutDuration(s); ok {
		return moment{wait: d}, rest, true
	}
	n, rest, ok := cutDigits(s)
	if !ok || n.point == ',' {
		return moment{}, s, false
	}
	m, ok := numberMoment(n.value, unit)
	return m, rest, ok
}

func numberMoment(f float64, unit time.Duration) (moment, bool) {
	switch {
	case f >= unixEnd:
		return moment{}, false
	case f >= unixNanos:
		return moment{at: time.Unix(0, int64(min(f, 9e18))).UTC(), instant: true}, true
	case f >= unixMicros:
		return moment{at: time.UnixMicro(int64(f)).UTC(), instant: true}, true
	case f >= unixMillis:
		return moment{at: time.UnixMilli(int64(f)).UTC(), instant: true}, true
	case f >= unixSeconds:
		return moment{at: time.UnixMicro(int64(f * 1e6)).UTC(), instant: true}, true
	}
	return moment{wait: scale(f, unit), bare: true}, true
}
