package classify

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxWait caps every duration that is read, so that no number overflows.
const maxWait = 10 * 365 * 24 * time.Hour

// From these sizes on a number is an instant, not a duration: 10^9 s after
// 1970 is 2001, and no upstream asks for a wait of 31 years.
const (
	unixSeconds = 1e9
	unixMillis  = 1e12
)

// moment is an instant or a duration, as stated.
type moment struct {
	wait    time.Duration
	at      time.Time
	instant bool
}

// until is the duration from now on, 0 for an instant that is past.
func (m moment) until(now time.Time) time.Duration {
	if !m.instant {
		return m.wait
	}
	return min(max(m.at.Sub(now), 0), maxWait)
}

// instantAt is the instant itself.
func (m moment) instantAt(now time.Time) time.Time {
	if m.instant {
		return m.at
	}
	return now.Add(m.wait)
}

// parseMoment reads the value of a field about time: a number (of unit, or an
// instant if it is large), a Go duration, an RFC 3339 or an HTTP date.
func parseMoment(s string, unit time.Duration) (moment, bool) {
	s = strings.TrimSpace(s)
	if f, ok := parseNumber(s); ok {
		return numberMoment(f, unit), true
	}
	if d, rest, ok := cutDuration(s); ok && strings.TrimSpace(rest) == "" {
		return moment{wait: d}, true
	}
	if len(s) < 16 || len(s) > 40 {
		return moment{}, false // no date is shorter or longer
	}
	if t, err := http.ParseTime(s); err == nil {
		return moment{at: t, instant: true}, true
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return moment{at: t, instant: true}, true
	}
	return moment{}, false
}

func numberMoment(f float64, unit time.Duration) moment {
	switch {
	case f >= unixMillis:
		return moment{at: time.UnixMilli(int64(min(f, 1e15))), instant: true}
	case f >= unixSeconds:
		whole, frac := math.Modf(f)
		return moment{at: time.Unix(int64(whole), int64(frac*1e9)), instant: true}
	}
	return moment{wait: scale(f, unit)}
}

// scale is f units, rounded to the nanosecond and capped at maxWait.
func scale(f float64, unit time.Duration) time.Duration {
	d := math.Round(f * float64(unit))
	if d >= float64(maxWait) {
		return maxWait
	}
	return time.Duration(d)
}

// parseNumber reads a plain decimal number: no sign, exponent, or spelled
// infinity.
func parseNumber(s string) (float64, bool) {
	f, rest, ok := cutNumber(s)
	return f, ok && rest == ""
}

// cutNumber reads the number that s starts with. Full-width digits and single
// Chinese numerals count.
func cutNumber(s string) (float64, string, bool) {
	var digits [32]byte
	n, i, dots := 0, 0, 0
	for i < len(s) && n < len(digits) {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r >= '０' && r <= '９' {
			r = r - '０' + '0'
		}
		if r == '.' && n > 0 && dots == 0 && i+1 < len(s) && isDigit(s[i+1]) {
			dots++
		} else if r < '0' || r > '9' {
			break
		}
		digits[n] = byte(r)
		n, i = n+1, i+size
	}
	if n == 0 {
		return cutNumeral(s)
	}
	f, err := strconv.ParseFloat(string(digits[:n]), 64)
	return f, s[i:], err == nil
}

var numerals = []struct {
	text  string
	value float64
}{{"半", 0.5}, {"一", 1}, {"二", 2}, {"两", 2}, {"三", 3}, {"四", 4}, {"五", 5}, {"六", 6}, {"七", 7}, {"八", 8}, {"九", 9}, {"十", 10}}

func cutNumeral(s string) (float64, string, bool) {
	for _, n := range numerals {
		if rest, ok := strings.CutPrefix(s, n.text); ok {
			return n.value, rest, true
		}
	}
	return 0, s, false
}

// units of durations in text, the longer before those they start with.
var units = []struct {
	text string
	unit time.Duration
}{
	{"milliseconds", time.Millisecond}, {"millisecond", time.Millisecond}, {"msec", time.Millisecond}, {"ms", time.Millisecond},
	{"minutes", time.Minute}, {"minute", time.Minute}, {"mins", time.Minute}, {"min", time.Minute}, {"m", time.Minute},
	{"seconds", time.Second}, {"second", time.Second}, {"secs", time.Second}, {"sec", time.Second}, {"s", time.Second},
	{"hours", time.Hour}, {"hour", time.Hour}, {"hrs", time.Hour}, {"hr", time.Hour}, {"h", time.Hour},
	{"days", 24 * time.Hour}, {"day", 24 * time.Hour}, {"d", 24 * time.Hour},
	{"weeks", 7 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
	{"us", time.Microsecond}, {"µs", time.Microsecond}, {"μs", time.Microsecond}, {"ns", time.Nanosecond},
	{"毫秒", time.Millisecond}, {"秒钟", time.Second}, {"秒", time.Second}, {"分钟", time.Minute}, {"分", time.Minute},
	{"个小时", time.Hour}, {"小时", time.Hour}, {"天", 24 * time.Hour}, {"日", 24 * time.Hour},
}

// cutUnit reads the unit that s starts with, after blanks.
func cutUnit(s string) (time.Duration, string, bool) {
	s = strings.TrimLeft(s, " ")
	for _, u := range units {
		if len(s) < len(u.text) || !strings.EqualFold(s[:len(u.text)], u.text) {
			continue
		}
		rest := s[len(u.text):]
		if rest != "" && (isLower(rest[0]) || isUpper(rest[0])) {
			continue // "minimum" is no minute
		}
		return u.unit, rest, true
	}
	return 0, s, false
}

// cutDuration reads the duration that s starts with, such as "6m12s",
// "1 hour, 5 minutes" or "3分钟".
func cutDuration(s string) (total time.Duration, rest string, ok bool) {
	rest = s
	for range 6 {
		f, afterNumber, isNumber := cutNumber(strings.TrimLeft(rest, " "))
		if !isNumber {
			break
		}
		unit, afterUnit, isUnit := cutUnit(afterNumber)
		if !isUnit {
			break
		}
		total, rest, ok = min(total+scale(f, unit), maxWait), afterUnit, true
		joined := strings.TrimLeft(strings.TrimPrefix(rest, ","), " ")
		joined = strings.TrimPrefix(joined, "and ")
		if _, after, more := cutNumber(joined); more {
			if _, _, more = cutUnit(after); more {
				rest = joined
			}
		}
	}
	return total, rest, ok
}
