package classify

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// evidence is what was found in an answer, and where.
type evidence struct {
	matcher *matcher
	weights string // of the model
	hits    [maxHits]hit
	n       int
	base    int32
	clause  int32
	keep    *[]source // where the texts read are kept for an explanation, nil for none
	text    []byte    // the body in normalised form
	spare   []byte    // room for the next text
	buckets []uint32  // of the model's features
	facts
	rule  *rule  // that decides; nil: none fits, and the bare status does
	class string // by the rule or the status, before the model is asked
}

// evidence is 6 KB; reading an answer needs no new one.
var evidencePool = sync.Pool{New: func() any { return new(evidence) }}

func newEvidence(weights string) *evidence {
	ev := evidencePool.Get().(*evidence)
	ev.matcher, ev.weights = phrases(), weights
	return ev
}

// free gives ev back, without what it held of the answer.
func (ev *evidence) free() {
	clear(ev.text[:cap(ev.text)])
	clear(ev.spare[:cap(ev.spare)])
	ev.n, ev.base, ev.clause, ev.keep, ev.text, ev.facts, ev.rule, ev.class = 0, 0, 0, nil, ev.text[:0], facts{}, nil, ""
	evidencePool.Put(ev)
}

// facts are what the rules decide on.
type facts struct {
	in       Input
	said     concept
	inText   int  // a status that the text names
	used     bool // the headers show a window that is used up
	usedLong bool // that window is a plan's own, not one of seconds to an hour
	retry    bool // a header states a wait
	parted   bool // an "or" parts two causes of which only one permits a new token
	oauth    bool // the text holds an error code of OAuth 2.0

	stated              time.Duration // the wait that the answer asks for
	hasStated, waitRead bool          // it asks for one; it has been looked for
}

// readText finds the words of an answer's text.
func (ev *evidence) readText(where, text string) {
	if text == "" {
		return
	}
	if where == inBody && text[0] == '<' {
		if host := wallPage(text); host != "" {
			ev.readText("page source", "WAF page of "+host)
		}
	}
	norm := normalise(ev.spare[:0], Decode(text, ev.in.Header))
	ev.spare = norm
	if ev.keep != nil {
		*ev.keep = append(*ev.keep, source{where, int(ev.base), string(norm)})
	}
	ev.scan(norm)
	if where == inBody {
		ev.text, ev.spare = norm, ev.text[:0]
	}
}

// readHeader finds the words of the headers that carry an error's text.
func (ev *evidence) readHeader(header map[string][]string) {
	var buf [8]string
	names := buf[:0]
	for name := range header {
		if carriesError(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names) // a map has no order, an answer has one class
	for _, name := range names {
		for _, v := range header[name] {
			if containsFold(name, "mitigated") || containsFold(name, "waf-action") {
				v = name + ": " + v // "challenge" says what it is by the header's name only
			}
			ev.readText(name, v)
		}
	}
}

func carriesError(name string) bool {
	return containsFold(name, "error") || containsFold(name, "authenticate") || containsFold(name, "reason") ||
		containsFold(name, "mitigated") || containsFold(name, "waf-action") || containsFold(name, "grpc-message")
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

// families are the words by which a cause is known in one half of "x or y".
// Only the first two permit a new token.
var families = []concept{
	cred | loggedOut,
	arrears | exceeded | consumed | lacking,
	pace | manyCalls | short,
	noRight | notIncluded | barred | off | refused | noAddress | zeroLimit,
	size | param,
	network | overload | faulty,
}

// part looks for an "or" between two causes of which just one permits a new
// token, or just one is the server's: of the request's fault, and under a
// server's own status of any, nobody can tell it.
func (ev *evidence) part() {
	for i := range ev.n {
		or := &ev.hits[i]
		if or.says&either == 0 {
			continue
		}
		var before, after uint
		for j := range ev.n {
			h := &ev.hits[j]
			if h.clause != or.clause {
				continue
			}
			for k, family := range families {
				switch {
				case h.says&family == 0, family&faulty != 0 && h.says&denied != 0: // "not available" may be said of anything
				case j < i:
					before |= 1 << k
				case j > i:
					after |= 1 << k
				}
			}
		}
		const permits, request, server = 1<<2 - 1, 1 << 4, 1 << 5
		if before&after != 0 || before == 0 || after == 0 {
			continue
		}
		if sides := before | after; sides&permits != 0 || sides&server != 0 && (sides&request != 0 || ev.status() >= 500) {
			ev.parted = true
			return
		}
	}
}

// combine adds what pairs of hits say.
func (ev *evidence) combine() {
	if ev.said&either != 0 {
		ev.part()
	}
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
