package classify

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// cutISODuration reads an ISO 8601 duration without years and months, whose
// length is not fixed: PT5M, P1DT12H, P2W, PT1.5S.
func cutISODuration(s string) (total time.Duration, rest string, ok bool) {
	rest, isISO := strings.CutPrefix(s, "P")
	if !isISO {
		return 0, s, false
	}
	inTime := false
	last := time.Duration(math.MaxInt64)
	for rest != "" {
		if rest[0] == 'T' && !inTime {
			inTime, rest = true, rest[1:]
			continue
		}
		n, after, isNumber := cutDigits(rest)
		if !isNumber || after == "" || rest[0] >= utf8.RuneSelf {
			break
		}
		var length time.Duration
		switch c := after[0]; {
		case c == 'W' && !inTime:
			length = 7 * day
		case c == 'D' && !inTime:
			length = day
		case c == 'H' && inTime:
			length = time.Hour
		case c == 'M' && inTime:
			length = time.Minute
		case c == 'S' && inTime:
			length = time.Second
		default:
			return 0, s, false
		}
		if length >= last {
			return 0, s, false
		}
		total, rest, ok, last = min(total+scale(n.value, length), maxWait), after[1:], true, length
	}
	if !ok || rest != "" && isAlnum(rest[0]) {
		return 0, s, false
	}
	return total, rest, true
}

// cutClockDuration reads hh:mm:ss, with hours beyond 24, a fraction, and days
// before a point: 03:14:17, 20.09:58:55.
func cutClockDuration(s string) (time.Duration, string, bool) {
	var part [4]int // days, hours, minutes, seconds
	i, at := 0, 1
	for ; at < 4; at++ {
		start := i
		for i < len(s) && isDigit(s[i]) && i-start < 5 {
			part[at] = part[at]*10 + int(s[i]-'0')
			i++
		}
		if i == start || at > 1 && i-start != 2 {
			return 0, s, false
		}
		switch {
		case at == 1 && i+2 < len(s) && s[i] == '.' && isDigit(s[i+1]) && part[0] == 0 && start == 0:
			part[0], part[1] = part[1], 0
			i++
			at--
		case at < 3:
			if i == len(s) || s[i] != ':' {
				return 0, s, false
			}
			i++
		}
	}
	if part[2] > 59 || part[3] > 59 || part[0] > 0 && part[1] > 23 {
		return 0, s, false
	}
	total := time.Duration(part[0])*day + time.Duration(part[1])*time.Hour + time.Duration(part[2])*time.Minute + time.Duration(part[3])*time.Second
	if i+1 < len(s) && s[i] == '.' && isDigit(s[i+1]) {
		f, rest, ok := cutDigits("0" + s[i:])
		if !ok {
			return 0, s, false
		}
		return min(total+scale(f.value, time.Second), maxWait), rest, true
	}
	if i < len(s) && (isAlnum(s[i]) || s[i] == ':') {
		return 0, s, false
	}
	return min(total, maxWait), s[i:], true
}
