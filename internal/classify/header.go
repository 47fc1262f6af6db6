package classify

import (
	"net/textproto"
	"strings"
	"time"
)

// ReadsHeader reports whether a header of this name can change what Classify or ReadHints say. The Date alone cannot: it
// is read beside headers that can.
func ReadsHeader(name string) bool {
	if ordinary[name] || ordinary[textproto.CanonicalMIMEHeaderKey(name)] {
		return false
	}
	if _, asksToWait := waitHeader(name); asksToWait {
		return true
	}
	return carriesError(name) || statesWindow(name)
}

// ordinary are headers that nearly every answer has, so that most need no search.
var ordinary = map[string]bool{
	"Access-Control-Allow-Origin": true, "Age": true, "Alt-Svc": true, "Cache-Control": true, "Cf-Cache-Status": true, "Cf-Ray": true,
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true, "Date": true, "Etag": true, "Expires": true,
	"Keep-Alive": true, "Pragma": true, "Server": true, "Set-Cookie": true, "Strict-Transport-Security": true, "Transfer-Encoding": true,
	"Vary": true, "Via": true, "X-Content-Type-Options": true, "X-Request-Id": true,
}

// waitNames are the parts of a header's name that say that its value is a wait.
var waitNames = []string{"retry-after", "retryafter", "retry-in", "retry-delay", "retry-at", "retry-pushback"}

// waitHeader reports a header whose value is a wait, and the unit of a number in it: that of the name, else seconds.
func waitHeader(name string) (unit time.Duration, ok bool) {
	if len(name) < len("retry-in") || !containsFold(name, "retry") {
		return 0, false
	}
	for _, part := range waitNames {
		if i := indexFold(name, part); i >= 0 {
			return nameUnit(name[i+len(part):])
		}
	}
	return 0, false
}

// nameUnit reads what follows "Retry-After" in a name. A further word may name what the wait is about, as long as it
// makes no other quantity of it.
func nameUnit(after string) (unit time.Duration, ok bool) {
	unit = time.Second
	for word := range strings.SplitSeq(after, "-") {
		switch strings.ToLower(word) {
		case "ms", "millis", "milliseconds", "msec":
			unit = time.Millisecond
		case "minutes", "min", "mins":
			unit = time.Minute
		case "reason", "count", "attempt", "attempts", "policy", "limit", "type", "max", "unit", "url", "enabled", "scope", "id":
			return 0, false
		}
	}
	return unit, true
}

// headerWait reads Retry-After and its variants, as a number, a duration or a date. Of several the longest counts. A
// value that cannot be read is none.
func headerWait(header map[string][]string, c clock) (found time.Duration, source string, ok bool) {
	for name, values := range header {
		unit, asksToWait := waitHeader(name)
		if !asksToWait {
			continue
		}
		for _, value := range values {
			if d, valid := valueWait(value, unit, c); valid && (!ok || d > found || d == found && name < source) {
				found, source, ok = d, name, true
			}
		}
	}
	return found, source, ok
}

// valueWait reads one value, which may be a list; the longest of it counts.
func valueWait(value string, unit time.Duration, c clock) (longest time.Duration, ok bool) {
	if len(value) > 256 {
		return 0, false
	}
	if m, valid := parseHeader(value, unit, c.base); valid {
		return m.until(c, LongestWait)
	}
	for value != "" {
		item, rest, _ := strings.Cut(value, ",")
		m, valid := parseHeader(item, unit, c.base)
		if !valid { // the comma of a date
			day, after, _ := strings.Cut(rest, ",")
			if m, valid = parseHeader(item+","+day, unit, c.base); valid {
				rest = after
			}
		}
		if d, meant := m.until(c, LongestWait); valid && meant {
			longest, ok = max(longest, d), true
		}
		value = rest
	}
	return longest, ok
}

func parseHeader(value string, unit time.Duration, base time.Time) (moment, bool) {
	if m, ok := parseMoment(value, unit, base); ok && !m.asctime {
		return m, true
	}
	return cutHTTPDate(strings.TrimSpace(value), base)
}

// statesWait reports a header that asks for a wait, also where the answer has no clock to read it by.
func statesWait(header map[string][]string) bool {
	for name, values := range header {
		unit, asksToWait := waitHeader(name)
		if !asksToWait {
			continue
		}
		for _, value := range values {
			if _, ok := parseHeader(value, unit, time.Time{}); ok {
				return true
			}
			if _, ok := valueWait(value, unit, clock{}); ok {
				return true
			}
		}
	}
	return false
}

// indexFold is where s holds the lower-case ASCII text sub, in any case, or -1.
func indexFold(s, sub string) int {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i]|0x20 == sub[0] && strings.EqualFold(s[i:i+len(sub)], sub) {
			return i
		}
	}
	return -1
}
