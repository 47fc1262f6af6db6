package classify

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Hints are what an answer says in numbers about time and about what is left.
type Hints struct {
	// RetryAfter is the wait that the answer states, at least 0 and at most
	// MaxWait, if HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// ResetAt is the instant that the answer states as the end of its window;
	// zero: none.
	ResetAt time.Time
	// Remaining of Limit are left. Remaining counts only if Limit > 0.
	Remaining, Limit int64

	window time.Duration // length of the window that Remaining is of; 0: not stated
}

// MaxWait bounds what is read as a wait: anything longer is a misread number.
const MaxWait = 10 * 365 * 24 * time.Hour

// ReadHints reads the waits and windows that an answer states. Retry-After
// wins over the fields of rate limits, those over the body's fields, and those
// over its words; what is malformed or negative is ignored. Dates are read
// relative to now, a past one is a wait of 0.
func ReadHints(in Input, now time.Time) Hints {
	h := readWindows(in.Header, now)
	if wait, ok := retryAfter(in.Header, now); ok {
		h.RetryAfter, h.HasRetryAfter = wait, true
		return h
	}
	if h.HasRetryAfter {
		return h
	}
	text := truncate(in.Text, MaxText)
	if wait, at, ok := fieldWait(text, now); ok {
		h.RetryAfter, h.HasRetryAfter = wait, true
		if h.ResetAt.IsZero() {
			h.ResetAt = at
		}
		return h
	}
	if wait, ok := textWait(text); ok {
		h.RetryAfter, h.HasRetryAfter = wait, true
	}
	return h
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3: seconds or a date)
// and its variants in milliseconds and with a vendor's prefix.
func retryAfter(header map[string][]string, now time.Time) (wait time.Duration, ok bool) {
	for name, values := range header {
		if len(values) == 0 || !containsFold(name, "retry-after") {
			continue
		}
		value := strings.TrimSpace(values[0])
		unit := time.Second
		if containsFold(name, "-ms") {
			unit = time.Millisecond
		}
		w, valid := number(value, unit, now)
		if !valid {
			if at, err := http.ParseTime(value); err == nil {
				w, valid = max(at.Sub(now), 0), true
			}
		}
		if !valid {
			continue
		}
		// The standard field before the variants.
		if standard := len(name) == len("retry-after"); standard {
			return bound(w), true
		}
		wait, ok = bound(w), true
	}
	return wait, ok
}

// Beyond these, a number of seconds is an instant: Unix seconds from 2001 on,
// then milliseconds of the same.
const (
	unixSeconds = 1e9
	unixMillis  = 1e12
)

// number reads a count of units as a wait. A number too large for a duration
// is an instant.
func number(s string, unit time.Duration, now time.Time) (time.Duration, bool) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0, false
	}
	switch {
	case v >= unixMillis:
		return until(time.UnixMilli(int64(min(v, math.MaxInt64/2))), now), true
	case v >= unixSeconds && unit == time.Second:
		sec, frac := math.Modf(v)
		return until(time.Unix(int64(sec), int64(frac*1e9)), now), true
	}
	return bound(time.Duration(min(v*float64(unit), float64(MaxWait)))), true
}

func until(at, now time.Time) time.Duration { return bound(max(at.Sub(now), 0)) }

func bound(d time.Duration) time.Duration { return min(max(d, 0), MaxWait) }

// span reads a value that is a number of seconds, an instant, a duration in
// Go's notation (6m0s, 120ms) or a date.
func span(s string, now time.Time) (time.Duration, bool) {
	s = strings.TrimSpace(strings.Trim(strings.TrimSpace(s), `"`))
	if d, ok := number(s, time.Second, now); ok {
		return d, true
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return bound(d), true
	}
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00"} {
		if at, err := time.Parse(layout, s); err == nil {
			return until(at, now), true
		}
	}
	if at, err := http.ParseTime(s); err == nil {
		return until(at, now), true
	}
	return 0, false
}
