package classify

import (
	"strings"
	"time"
)

// found is a wait or a reset that a text states, and in which words.
type found struct {
	moment
	source Source
	advice bool // when to come back, not only when a window ends
	vague  bool // "in a few minutes": a hint only
	used   int8 // 1: the same object says that its window is used up, -1: that it is not
	object int  // where the object begins
}

// maxFields bounds the fields of one body that are looked at.
const maxFields = 32

// readFields calls yield with every field of text that states a time. The text
// need not be valid JSON: YAML, query strings, printed maps and XML elements
// have names and values, too.
func readFields(text string, base time.Time, yield func(found)) {
	ends := placesOf(text, ":=>")
	for i, n := ends.next(), 0; i < len(text) && n < maxFields; i = ends.next() {
		name, start := nameBefore(text, i)
		if name == "" {
			continue
		}
		f, ok := knownField(name)
		if !ok {
			continue
		}
		n++
		m, ok := f.value(text[i+1:], base)
		if !ok {
			continue
		}
		hit := found{moment: m, advice: f.advice, source: Source{SourceField, name}}
		hit.used, hit.object = siblings(text, start)
		yield(hit)
	}
}

// nameBefore returns the field name that ends before text[i], a separator.
func nameBefore(text string, i int) (name string, start int) {
	end := i
	for end > 0 && (text[end-1] == ' ' || text[end-1] == '"' || text[end-1] == '\'' || text[end-1] == '\\') {
		end--
	}
	start = end
	for start > 0 && isFieldByte(text[start-1]) && end-start <= longestField {
		start--
	}
	if text[i] == '>' && (start == 0 || text[start-1] != '<') || end-start < shortestField {
		return "", 0
	}
	return text[start:end], start
}

func isFieldByte(c byte) bool { return isAlnum(c) || c == '_' || c == '-' }

// value reads what follows a field's separator: a number, a quoted text, the
// first of a list, or the seconds of an object.
func (f *field) value(s string, base time.Time) (moment, bool) {
	s = strings.TrimLeft(s, " \n\t[\\")
	if s == "" {
		return moment{}, false
	}
	quoted := s[0] == '"' || s[0] == '\''
	switch {
	case quoted:
		end := strings.IndexAny(s[1:min(len(s), 72)], "\"'\\<")
		if end < 0 {
			return moment{}, false
		}
		s = strings.TrimSpace(s[1 : 1+end])
	case s[0] == '{': // the parts of a protocol buffer's Duration
		inner, _, _ := strings.Cut(s[1:], "}")
		name, value, ok := strings.Cut(inner, ":")
		if !ok || strings.Trim(name, " \"'\\") != "seconds" {
			return moment{}, false
		}
		s = strings.TrimLeft(value, " \"'\\")
	}
	m, rest, ok := cutMoment(strings.TrimPrefix(s, "in "), f.unit, base)
	switch {
	case !ok, quoted && rest != "" && rest != ".", !quoted && m.bare && !endsNumber(rest):
		return moment{}, false
	case m.bare && (f.kind != kindDelay || !f.stated && f.ambiguous(m.wait)):
		return moment{}, false
	case !m.instant && f.kind == kindInstant && strings.Contains(s[:len(s)-len(rest)], ":"):
		return moment{}, false // a time of day, not a duration
	}
	return m, true
}

// endsNumber reports that nothing follows that could be a unit of something
// else, as in "retry after 3 attempts" or "again 2025-01-01".
func endsNumber(after string) bool {
	if after == "" {
		return true
	}
	switch after[0] {
	case '"', '\'', ')', '}', ']', ',', ';', '!', '\n', '\r', '<', '\\', '&', '|':
		return true
	case '.':
		return len(after) == 1 || !isAlnum(after[1])
	case ' ':
		after = strings.TrimLeft(after, " ")
		return after == "" || strings.IndexByte("})]\"'", after[0]) >= 0
	}
	return false
}

// ambiguous reports a number without a unit that may be one of milliseconds:
// round thousands, which seconds hit by chance once in a thousand, and in the
// style of a language whose clocks count milliseconds any large one.
func (f *field) ambiguous(d time.Duration) bool {
	return roundMillis(d) || f.camel && d >= 10_000*time.Second
}

func roundMillis(d time.Duration) bool { return d >= 1000*time.Second && d%(1000*time.Second) == 0 }

// siblings looks at the other members of the object around text[i]: whether
// they say that this window is used up (1) or not (-1), and where it begins.
func siblings(text string, i int) (used int8, object int) {
	const reach = 400
	start, depth := i, 0
	for start > 0 && i-start < reach {
		start--
		if text[start] == '}' {
			depth++
		} else if text[start] == '{' {
			if depth == 0 {
				break
			}
			depth--
		}
	}
	if text[start] != '{' {
		return 0, 0
	}
	depth = 0
	for j := start + 1; j < len(text) && j-i < reach; j++ {
		switch c := text[j]; {
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth == 0 {
				return used, start
			}
			depth--
		case c == ':' && depth == 0:
			if says := windowState(text, j); says != 0 {
				used = says
			}
		}
	}
	return used, start
}

// windowState reads a member that says how full a window is.
func windowState(text string, colon int) int8 {
	name, _ := nameBefore(text, colon)
	value := strings.TrimLeft(text[colon+1:min(len(text), colon+12)], " \"\\")
	switch {
	case name == "" || value == "":
		return 0
	case containsFold(name, "remaining") || strings.EqualFold(name, "left") || strings.EqualFold(name, "available"):
		n, _, ok := cutDigits(value)
		if !ok {
			return 0
		}
		if n.value > 0 {
			return -1
		}
		return 1
	case containsFold(name, "exceeded") || containsFold(name, "exhausted") || containsFold(name, "limited") || strings.EqualFold(name, "limit_reached") ||
		strings.EqualFold(name, "limitReached") || strings.EqualFold(name, "blocked") || strings.EqualFold(name, "reached"):
		if strings.HasPrefix(value, "true") {
			return 1
		}
		if strings.HasPrefix(value, "false") {
			return -1
		}
	}
	return 0
}
