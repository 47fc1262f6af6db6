package classify

import "strings"

// evidence is what was found in an answer, and where.
type evidence struct {
	matcher *matcher
	hits    [maxHits]hit
	n       int
	base    int32
	clause  int32
	facts
}

// facts are what the rules decide on.
type facts struct {
	in       Input
	said     concept
	inText   int  // a status that the text names
	used     bool // the headers show a window that is used up
	usedLong bool // that window is a plan's own, not one of seconds to an hour
	retry    bool // a header states a wait
}

// readText finds the words of an answer's text.
func (ev *evidence) readText(text string) {
	if text == "" {
		return
	}
	var buf [1024]byte
	ev.scan(normalise(buf[:0], Decode(text, ev.in.Header)))
}

// readHeader finds the words of the headers that carry an error's text.
func (ev *evidence) readHeader(header map[string][]string) {
	for name, values := range header {
		if !carriesError(name) {
			continue
		}
		for _, v := range values {
			ev.readText(v)
		}
	}
}

func carriesError(name string) bool {
	return containsFold(name, "error") || containsFold(name, "authenticate") || containsFold(name, "reason") ||
		containsFold(name, "mitigated") || containsFold(name, "grpc-message")
}

// containsFold reports whether s holds the lower-case ASCII text sub, in any
// case.
func containsFold(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i]|0x20 == sub[0] && strings.EqualFold(s[i:i+len(sub)], sub) {
			return true
		}
	}
	return false
}

// combine adds what pairs of hits say.
func (ev *evidence) combine() {
	for _, p := range pairs {
		if ev.said&p.a != 0 && ev.said&p.b != 0 && ev.near(p) {
			ev.said |= p.says
		}
	}
}

// near reports whether both sides of p stand in one clause, near enough, or
// in one phrase.
func (ev *evidence) near(p pair) bool {
	for i := range ev.n {
		x := &ev.hits[i]
		isA, isB := x.says&p.a != 0, x.says&p.b != 0
		if isA && isB {
			return true
		}
		if !isA && !isB {
			continue
		}
		for j := i + 1; j < ev.n; j++ {
			y := &ev.hits[j]
			if y.clause != x.clause || y.start-x.end > p.gap {
				break
			}
			if isA && y.says&p.b != 0 || isB && y.says&p.a != 0 {
				return true
			}
		}
	}
	return false
}
