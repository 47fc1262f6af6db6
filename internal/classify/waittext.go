package classify

import (
	"strings"
	"time"
	"unicode/utf8"
)

// timeFields are the fields of a body that state a time, without separators
// and in lower case.
var timeFields = map[string]struct {
	unit  time.Duration
	reset bool // the end of a window, not advice when to come back
}{
	"retryafter": {time.Second, false}, "retryafterseconds": {time.Second, false}, "retryaftersec": {time.Second, false},
	"retryaftersecs": {time.Second, false}, "retryafters": {time.Second, false}, "retryin": {time.Second, false}, "retryinseconds": {time.Second, false},
	"retrydelay": {time.Second, false}, "retrydelayseconds": {time.Second, false}, "waitseconds": {time.Second, false},
	"waittime": {time.Second, false}, "estimatedtime": {time.Second, false}, "secondsuntilreset": {time.Second, false},
	"resetsinseconds": {time.Second, false}, "resetinseconds": {time.Second, false}, "resetsin": {time.Second, false},
	"resetin": {time.Second, false}, "resetafter": {time.Second, false}, "resetafterseconds": {time.Second, false},
	"retryafterms": {time.Millisecond, false}, "retryaftermillis": {time.Millisecond, false}, "retryaftermilliseconds": {time.Millisecond, false},
	"retrydelayms": {time.Millisecond, false}, "resetinms": {time.Millisecond, false}, "resetsinms": {time.Millisecond, false},
	"resetafterms": {time.Millisecond, false},
	"resetsat":     {time.Second, true}, "resetat": {time.Second, true}, "resettime": {time.Second, true}, "resetdate": {time.Second, true},
	"resettimestamp": {time.Second, true}, "ratelimitreset": {time.Second, true}, "xratelimitreset": {time.Second, true}, "quotaresetat": {time.Second, true},
}

const longestField = 24

// readFields looks for the first wait and the first reset among the named
// fields of text, which need not be valid JSON.
func readFields(text string) (wait, reset moment, hasWait, hasReset bool) {
	for i := 0; i < len(text) && !(hasWait && hasReset); {
		if !isFieldByte(text[i]) {
			i++
			continue
		}
		start := i
		var name [longestField]byte
		n := 0
		for ; i < len(text) && isFieldByte(text[i]); i++ {
			if c := text[i]; c != '_' && c != '-' {
				if n < len(name) {
					name[n] = c | 0x20 // digits keep their value under this
				}
				n++
			}
		}
		if i-start < len("retryin") || n > len(name) {
			continue
		}
		field, known := timeFields[string(name[:n])]
		if !known {
			continue
		}
		value, ok := fieldValue(text[i:])
		if !ok {
			continue
		}
		m, ok := parseMoment(value, field.unit)
		switch {
		case !ok:
		case field.reset && m.instant && !hasReset:
			reset, hasReset = m, true
		case !field.reset && !hasWait:
			wait, hasWait = m, true
		}
	}
	return
}

func isFieldByte(c byte) bool { return isAlnum(c) || c == '_' || c == '-' }

// fieldValue returns what follows a field's name: a number or a quoted text.
func fieldValue(s string) (string, bool) {
	s = strings.TrimLeft(s, "\\\"'")
	s = strings.TrimLeft(s, " ")
	if s == "" || s[0] != ':' && s[0] != '=' {
		return "", false
	}
	s = strings.TrimLeft(s[1:], " ")
	if s == "" {
		return "", false
	}
	s = strings.TrimPrefix(s, "\\")
	if s[0] == '"' || s[0] == '\'' {
		end := strings.IndexAny(s[1:min(len(s), 64)], "\"'\\")
		if end < 0 {
			return "", false
		}
		return s[1 : 1+end], true
	}
	end := 0
	for end < len(s) && (isDigit(s[end]) || s[end] == '.') {
		end++
	}
	if end < len(s) && (isAlnum(s[end]) || s[end] == '-') {
		return "", false // more than a number; prose is read by readWait
	}
	return strings.TrimRight(s[:end], "."), end > 0
}

// triggers are the words that a wait follows; bare says that a number without
// a unit after it is one of seconds.
var triggers = []struct {
	word string
	bare bool
}{
	{"retry", true}, {"again", true}, {"wait", false}, {"resets", false}, {"reset", false}, {"available", false},
	{"retrying", false}, {"last", false}, {"back", false},
}

var fillers = []string{
	"in", "after", "for", "about", "approximately", "another", "at least", "least", "the next", "next", "your request", "request", "again", "around", "a further", "up to",
	"please", "until", "more than", "~",
}

// readWait finds the wait that prose asks for: "try again in 6m12s",
// "请在 30 秒后重试".
func readWait(text string) (time.Duration, bool) {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case isLower(c | 0x20):
			end := i + 1
			for end < len(text) && isLower(text[end]|0x20) {
				end++
			}
			if d, ok := waitAfter(text[i:end], text[end:]); ok {
				return d, true
			}
			i = end
		case isDigit(c) || c >= utf8.RuneSelf:
			d, rest, ok := cutDuration(text[i:])
			if !ok {
				i = skipNumber(text, i)
				continue
			}
			if followedByAfter(rest) || i > 0 && asksToWait(text[max(0, i-24):i]) {
				return d, true
			}
			i = len(text) - len(rest)
		default:
			i++
		}
	}
	return 0, false
}

// skipNumber moves past the digits or the one wide character at i.
func skipNumber(text string, i int) int {
	if !isDigit(text[i]) {
		_, size := utf8.DecodeRuneInString(text[i:])
		return i + size
	}
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// waitAfter reads the wait in rest if word announces one.
func waitAfter(word, rest string) (time.Duration, bool) {
	for _, t := range triggers {
		if !strings.EqualFold(word, t.word) {
			continue
		}
		rest = skipFillers(rest)
		if d, _, ok := cutDuration(rest); ok {
			return d, true
		}
		f, after, ok := cutNumber(rest)
		if ok && t.bare && f < unixSeconds && endsNumber(after) {
			return scale(f, time.Second), true
		}
		return 0, false
	}
	return 0, false
}

func skipFillers(s string) string {
	for range 6 {
		s = strings.TrimLeft(s, " :-~_(=")
		skipped := false
		for _, f := range fillers {
			if len(s) > len(f) && strings.EqualFold(s[:len(f)], f) && !isAlnum(s[len(f)]) {
				s, skipped = s[len(f):], true
				break
			}
		}
		if !skipped {
			break
		}
	}
	return s
}

// endsNumber reports that nothing follows that could be a unit of something
// else, as in "retry after 3 attempts" or "again 2025-01-01".
func endsNumber(after string) bool {
	if after == "" {
		return true
	}
	switch after[0] {
	case '"', '\'', ')', '}', ']', ',', ';', '!', '\n', '<', '\\':
		return true
	case '.':
		return len(after) == 1 || !isAlnum(after[1])
	}
	return false
}

func followedByAfter(rest string) bool {
	rest = strings.TrimLeft(rest, " ")
	for _, w := range []string{"后", "之后", "以后", "再", "後"} {
		if strings.HasPrefix(rest, w) {
			return true
		}
	}
	return false
}

func asksToWait(before string) bool {
	for _, w := range []string{"等待", "请等", "稍等", "剩余时间"} {
		if strings.Contains(before, w) {
			return true
		}
	}
	return false
}
