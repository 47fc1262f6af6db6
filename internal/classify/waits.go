package classify

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fieldWait finds a field of a body that states a wait, whatever wraps it:
// "retry_after": 134, retryDelay="21s", resets_in_seconds, resets_at.
func fieldWait(text string, now time.Time) (wait time.Duration, at time.Time, ok bool) {
	for _, f := range fields {
		for from := 0; ; {
			i := indexFold(text[from:], f.name)
			if i < 0 {
				break
			}
			from += i + len(f.name)
			value, found := fieldValue(text[from:])
			if !found {
				continue
			}
			var d time.Duration
			var valid bool
			switch {
			case f.instant:
				d, valid = span(value, now)
			case f.unit != 0:
				d, valid = number(value, f.unit, now)
			default:
				d, valid = span(value, now)
			}
			if valid {
				return d, now.Add(d), true
			}
		}
	}
	return 0, time.Time{}, false
}

// fields that state a wait, the more exact ones first.
var fields = []struct {
	name    string
	unit    time.Duration // 0: seconds, or a duration with its unit
	instant bool
}{
	{"retry_after_ms", time.Millisecond, false},
	{"retryafterms", time.Millisecond, false},
	{"retry_after_seconds", time.Second, false},
	{"retryafterseconds", time.Second, false},
	{"retry_after", 0, false},
	{"retryafter", 0, false},
	{"retrydelay", 0, false},
	{"retry_delay", 0, false},
	{"resets_in_seconds", time.Second, false},
	{"reset_in_seconds", time.Second, false},
	{"reset_after_seconds", time.Second, false},
	{"reset_after", 0, false},
	{"estimated_time", time.Second, false},
	{"wait_seconds", time.Second, false},
	{"cooldown_seconds", time.Second, false},
	{"resets_at", 0, true},
	{"reset_at", 0, true},
	{"resetat", 0, true},
	{"reset_time", 0, true},
}

// fieldValue reads what stands behind a field's name: quotes, a colon or an
// equals sign, then a number or a quoted text.
func fieldValue(s string) (string, bool) {
	s = strings.TrimLeft(s, `"'\ `)
	if s == "" || s[0] != ':' && s[0] != '=' {
		return "", false
	}
	s = strings.TrimLeft(s[1:], `"'\ `)
	end := strings.IndexAny(s, "\"'\\,}]\n &")
	if end < 0 {
		end = len(s)
	}
	if end == 0 || end > 40 {
		return "", false
	}
	return s[:end], true
}

// indexFold is strings.Index for a lower-case ASCII text in any case.
func indexFold(s, sub string) int {
	for i := 0; i+len(sub) <= len(s); i++ {
		if lower(s[i]) == sub[0] && strings.EqualFold(s[i:i+len(sub)], sub) {
			return i
		}
	}
	return -1
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// textWait reads a wait from prose: "try again in 6m12s", "retry after 134",
// "请在 30 秒后重试". A number counts only beside words that speak of waiting.
func textWait(text string) (time.Duration, bool) {
	for _, lead := range leads {
		for from := 0; ; {
			i := indexFold(text[from:], lead.words)
			if i < 0 {
				break
			}
			from += i + len(lead.words)
			if d, ok := amounts(text[from:], lead.bare); ok {
				return d, true
			}
		}
	}
	// Chinese puts the number first: 30 秒后, 3分钟后, 2 小时后, 5天后.
	for _, tail := range [...]string{"后", "之后", "以后", "後"} {
		for from := 0; ; {
			i := strings.Index(text[from:], tail)
			if i < 0 {
				break
			}
			if d, ok := amountBefore(text[:from+i]); ok {
				return d, true
			}
			from += i + len(tail)
		}
	}
	return 0, false
}

// leads are the words before a stated wait. Where bare, a number without a
// unit is a number of seconds.
var leads = []struct {
	words string
	bare  bool
}{
	{"retry after", true}, {"retry-after", true}, {"retry in", true}, {"again in", false}, {"again after", false},
	{"wait for", false}, {"wait at least", false}, {"please wait", false}, {"wait ", false}, {"available in", false},
	{"resets in", false}, {"reset in", false}, {"reset after", false}, {"resets after", false}, {"come back in", false},
	{"expires in", false}, {"unblocked in", false}, {"retrying in", false}, {"next request in", false},
	{"请等待", true}, {"请在", false}, {"等待", false}, {"需等待", false},
}

// amounts reads one or several numbers with units: 5 days 22 hours, 6m12s,
// 9.816s, 1 hour and 5 minutes.
func amounts(s string, bare bool) (total time.Duration, ok bool) {
	for range 6 {
		s = strings.TrimLeft(s, " \t:,=~\"'(")
		s = strings.TrimPrefix(s, "and ")
		s = strings.TrimPrefix(s, "about ")
		s = strings.TrimPrefix(s, "another ")
		v, rest, found := amount(s)
		if !found {
			break
		}
		unit, after, hasUnit := unitOf(rest)
		if !hasUnit {
			if ok || !bare {
				break
			}
			if after := strings.TrimLeft(rest, " "); after != "" && isLetter(after[0]) && !strings.HasPrefix(after, "at") {
				break // "retry after 3 attempts"
			}
			return bound(time.Duration(min(v*float64(time.Second), float64(MaxWait)))), true
		}
		total = bound(total + bound(time.Duration(min(v*float64(unit), float64(MaxWait)))))
		ok = true
		s = after
	}
	return total, ok
}

// amount reads a number, full-width digits too.
func amount(s string) (v float64, rest string, ok bool) {
	var digits []byte
	i := 0
	for i < len(s) && len(digits) < 16 {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case '0' <= r && r <= '9':
			digits = append(digits, byte(r))
		case '０' <= r && r <= '９':
			digits = append(digits, byte(r-'０')+'0')
		case (r == '.' || r == '．') && len(digits) > 0 && i+size < len(s) && s[i+size] >= '0' && s[i+size] <= '9':
			digits = append(digits, '.')
		default:
			size = 0
		}
		if size == 0 {
			break
		}
		i += size
	}
	v, err := strconv.ParseFloat(string(digits), 64)
	return v, s[i:], err == nil && len(digits) > 0
}

// units, longest first: the first that fits and ends a word is meant.
var units = []struct {
	name string
	d    time.Duration
}{
	{"milliseconds", time.Millisecond}, {"millisecond", time.Millisecond}, {"msec", time.Millisecond}, {"ms", time.Millisecond},
	{"seconds", time.Second}, {"second", time.Second}, {"secs", time.Second}, {"sec", time.Second},
	{"minutes", time.Minute}, {"minute", time.Minute}, {"mins", time.Minute}, {"min", time.Minute},
	{"hours", time.Hour}, {"hour", time.Hour}, {"hrs", time.Hour}, {"hr", time.Hour},
	{"days", 24 * time.Hour}, {"day", 24 * time.Hour}, {"weeks", 7 * 24 * time.Hour}, {"week", 7 * 24 * time.Hour},
	{"毫秒", time.Millisecond}, {"秒钟", time.Second}, {"秒鐘", time.Second}, {"秒", time.Second}, {"分钟", time.Minute}, {"分鐘", time.Minute},
	{"个小时", time.Hour}, {"小时", time.Hour}, {"小時", time.Hour}, {"天", 24 * time.Hour}, {"日", 24 * time.Hour}, {"周", 7 * 24 * time.Hour},
	{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour},
}

func unitOf(s string) (d time.Duration, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t-")
	for _, u := range units {
		if len(s) < len(u.name) || !strings.EqualFold(s[:len(u.name)], u.name) {
			continue
		}
		rest = s[len(u.name):]
		if rest == "" || !isLetter(rest[0]) || u.name[0] >= utf8.RuneSelf {
			return u.d, rest, true
		}
	}
	return 0, s, false
}

func isLetter(c byte) bool { return 'a' <= lower(c) && lower(c) <= 'z' }

// amountBefore reads the numbers with Chinese units that s ends in.
func amountBefore(s string) (time.Duration, bool) {
	const most = 60 // bytes
	if len(s) > most {
		s = s[len(s)-most:]
		for s != "" && !utf8.RuneStart(s[0]) {
			s = s[1:]
		}
	}
	for i, r := range s {
		if '0' <= r && r <= '9' || '０' <= r && r <= '９' {
			v := strings.TrimSpace(s[i:])
			if d, rest, ok := counted(v); ok && strings.TrimSpace(rest) == "" {
				return d, true
			}
		}
	}
	return 0, false
}

func counted(s string) (total time.Duration, rest string, ok bool) {
	for range 6 {
		v, after, found := amount(strings.TrimLeft(s, " "))
		if !found {
			break
		}
		unit, next, hasUnit := unitOf(after)
		if !hasUnit {
			return 0, s, false
		}
		total = bound(total + bound(time.Duration(min(v*float64(unit), float64(MaxWait)))))
		s, ok = next, true
	}
	return total, s, ok
}
