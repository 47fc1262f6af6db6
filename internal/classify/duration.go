package classify

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const day = 24 * time.Hour

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
	n, rest, ok := cutDigits(s)
	return n.value, ok && rest == "" && n.point != ','
}

// number is a count, in digits or in words.
type number struct {
	value float64
	point byte // '.' or ',' if one of these stands in it, 0 if not
	after int  // digits after the point
	vague bool // "a few"
	word  bool // in words
}

// cutDigits reads the number in digits that s starts with; full-width ones
// count.
func cutDigits(s string) (n number, rest string, ok bool) {
	var digits [32]byte
	size, i := 0, 0
	for i < len(s) && size < len(digits) {
		r, width := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, width = utf8.DecodeRuneInString(s[i:])
			if r >= '０' && r <= '９' {
				r = r - '０' + '0'
			}
		}
		if (r == '.' || r == ',') && size > 0 && n.point == 0 && i+1 < len(s) && isDigit(s[i+1]) {
			n.point = byte(r)
			r = '.'
		} else if r < '0' || r > '9' {
			break
		} else if n.point != 0 {
			n.after++
		}
		digits[size] = byte(r)
		size, i = size+1, i+width
	}
	if size == 0 {
		return number{}, s, false
	}
	if size <= 9 && n.point == 0 { // the usual case, without ParseFloat
		for _, d := range digits[:size] {
			n.value = n.value*10 + float64(d-'0')
		}
		return n, s[i:], true
	}
	f, err := strconv.ParseFloat(string(digits[:size]), 64)
	n.value = f
	return n, s[i:], err == nil
}

// cutNumber reads the number that s starts with, in digits or in words.
func cutNumber(s string) (number, string, bool) {
	if s == "" {
		return number{}, s, false
	}
	if isDigit(s[0]) || strings.HasPrefix(s, "\xef\xbc") { // full-width
		return cutDigits(s)
	}
	return cutNumeral(s)
}

// in reads the number as a count of u. In "1.500" and "1,500" the point parts
// thousands for some and decimals for others; where the unit's language leaves
// that open, nobody can tell.
func (n number) in(u unit) (time.Duration, bool) {
	f := n.value
	switch {
	case n.point == ',' && n.after == 3 && u.english:
		f *= 1000
	case n.point == ',' && n.after >= 3, n.point == '.' && n.after == 3 && u.worded && !u.english:
		return 0, false
	}
	return scale(f, u.length), true
}

// cutDuration reads the duration that s starts with, such as "6m12s",
// "1 hour, 5 minutes", "an hour and a half" or "3分钟".
func cutDuration(s string) (total time.Duration, rest string, ok bool) {
	total, rest, _, ok = cutVagueDuration(s)
	return total, rest, ok
}

// cutVagueDuration also reads "a few minutes", and says that it is vague.
func cutVagueDuration(s string) (total time.Duration, rest string, vague, ok bool) {
	rest = s
	last := time.Duration(math.MaxInt64)
	for range 6 {
		n, after, isNumber := cutNumber(rest)
		if !isNumber {
			break
		}
		u, after, isUnit := cutUnit(after)
		if !isUnit || u.length >= last {
			break // "3 hours 5 hours" are two durations
		}
		d, known := n.in(u)
		if !known {
			return 0, s, false, false
		}
		total, rest, vague, ok, last = min(total+d, maxWait), after, vague || n.vague, true, u.length
		if half, after, more := cutHalf(rest); more {
			total, rest = total+scale(half, u.length), after
		}
		joined := cutJoiner(rest)
		if !startsDuration(joined) {
			break
		}
		rest = joined
	}
	return total, rest, vague, ok
}

// startsDuration reports that a smaller part of the same duration follows.
func startsDuration(s string) bool {
	n, after, ok := cutNumber(s)
	if !ok || n.vague {
		return false
	}
	_, _, ok = cutUnit(after)
	return ok
}

// cutJoiner skips what may stand between two parts of a duration.
func cutJoiner(s string) string {
	s = strings.TrimLeft(s, " \u00a0")
	s = strings.TrimLeft(strings.TrimPrefix(s, ","), " ")
	for _, word := range joiners {
		if rest, ok := strings.CutPrefix(s, word); ok {
			return rest
		}
	}
	return s
}

var joiners = []string{"and ", "und ", "et ", "y ", "e ", "и ", "ve ", "i ", "dan ", "và ", "又", "零"}

// cutHalf reads "and a half" and its like after a unit.
func cutHalf(s string) (float64, string, bool) {
	for _, word := range []string{" and a half", "半"} {
		if rest, ok := strings.CutPrefix(s, word); ok {
			return 0.5, rest, true
		}
	}
	return 0, s, false
}

// cutUnit reads the unit that s starts with, after blanks.
func cutUnit(s string) (unit, string, bool) {
	s = strings.TrimLeft(strings.TrimPrefix(s, "' "), " \u00a0") // after '18' seconds
	if s == "" {
		return unit{}, s, false
	}
	switch s[0] {
	case 'm', 'a', 'f', 'w':
		for _, more := range moreWords {
			if rest, ok := strings.CutPrefix(s, more); ok && rest != "" {
				s = rest
				break
			}
		}
	}
	for _, u := range unitsBy[lowerByte(s[0])] {
		size, ok := prefixFold(s, u.text)
		if !ok {
			continue
		}
		rest := s[size:]
		if u.alphabetic && startsWithLetter(rest) {
			continue // "minimum" is no minute
		}
		if len(u.text) == 1 && isUpper(s[0]) {
			continue // 5M are months, millions or megabytes, 3W thirty thousand
		}
		if len(u.text) > 1 && u.alphabetic {
			rest = strings.TrimPrefix(rest, "(s)")
		}
		return u, rest, true
	}
	return unit{}, s, false
}

// moreWords may stand between a number and its unit.
var moreWords = []string{"more ", "additional ", "further ", "full ", "weitere ", "más ", "mais "}

// prefixFold reports that s starts with the lower-case text, in any case, and
// how many bytes of s that is.
func prefixFold(s, text string) (int, bool) {
	i := 0
	for _, want := range text {
		if i >= len(s) {
			return 0, false
		}
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if r != want {
				r = unicode.ToLower(r)
			}
		} else if isUpper(s[i]) {
			r |= 0x20
		}
		if r != want {
			return 0, false
		}
		i += size
	}
	return i, true
}

// startsWithLetter reports a letter of an alphabet; those of scripts that put no
// blanks between words do not count.
func startsWithLetter(s string) bool {
	if s == "" {
		return false
	}
	if s[0] < utf8.RuneSelf {
		return isLower(s[0]) || isUpper(s[0])
	}
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLetter(r) && !unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}

func lowerByte(c byte) byte {
	if isUpper(c) {
		return c | 0x20
	}
	return c
}

// lowers is lowerByte of each byte.
var lowers = func() (of [256]byte) {
	for c := range of {
		of[c] = lowerByte(byte(c))
	}
	return of
}()
