package classify

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Classification is what an answer was read as, and why.
type Classification struct {
	Class      string     // as Classify names it
	Confidence float64    // the share of answers judged like this one that are right, in [0, 1]
	Evidence   []Evidence // what decided, in the order of the answer; never nil for an answer that failed
	Rule       string     // the rule that decided, in words
	Period     string     // of the limit: second, minute, hour, day, week, month, plan, or "" if none is named
	Whose      string     // one of the Whose constants
	// Wait is how long the answer asks to wait, in [0, 10 years]; HasWait tells
	// 0 from none. WaitSource is where it says so: a header's name or "body".
	Wait       time.Duration
	HasWait    bool
	WaitSource string
}

// Evidence is an idea and the words that gave it.
type Evidence struct {
	Idea  string // "limit over a day or longer"
	Words string // as normalised: lower case, marks and markup dropped; of a status its number
	Where string // "status", a header's name, or "body"
}

// Whose limit, ban or fault it is.
const (
	WhoseUnknown    = "unknown"
	WhoseAccount    = "account"
	WhoseCredential = "credential"  // the token
	WhoseApp        = "application" // its own key or client secret, which no token replaces
	WhoseAddress    = "address"
	WhoseDevice     = "device"
	WhoseProject    = "project"
	WhoseServer     = "server"
	WhoseRequest    = "request"
)

const (
	inBody   = "body"
	inStatus = "status"
)

// source is a text that was read, in normalised form.
type source struct {
	where string
	base  int // of its hits' positions
	text  string
}

// Judge is Classify with its reasons. The zero Input gives the zero
// Classification.
func Judge(in Input) Classification {
	if in.isZero() {
		return Classification{}
	}
	return judge(weights, in)
}

func judge(weights string, in Input) Classification {
	var sources []source
	ev := newEvidence(weights)
	defer ev.free()
	ev.keep = &sources
	ev.read(in)
	j := ev.judge()
	r := j.rule
	c := Classification{Class: j.class, Evidence: []Evidence{}}
	if r != nil {
		c.Rule = r.String()
		c.Evidence = ev.because(r.any|r.also, sources)
	} else {
		c.Rule = "no telling word: the status is read by its HTTP meaning"
	}
	switch j.model {
	case answers:
		c.Rule += "; the model answers for unknown"
	case overrules:
		c.Rule += "; the model overrules it"
	case doubts:
		c.Rule += "; the model does not confirm it"
	}
	c.Evidence = append(c.Evidence, ev.otherEvidence(r, in)...)
	c.Confidence = ev.confidence(&j)
	c.Period = ev.period(sources)
	c.Whose = ev.whose(c.Class, sources)
	if r != nil && strings.HasPrefix(r.code, "invalid_client") {
		c.Whose = WhoseApp
	}
	h := ReadHints(in, time.Time{})
	if c.HasWait = h.HasRetryAfter; c.HasWait {
		c.Wait, c.WaitSource = h.RetryAfter, waitSource(in)
	}
	return c
}

// Bans names who is banned by an answer that was read as Forbidden, if that is who asks, whatever they ask for:
// WhoseAddress, WhoseDevice or WhoseAccount. "" is no such ban: what is refused is the thing that was asked for, or
// nobody says. When in doubt it is "".
func Bans(in Input) string {
	if in.isZero() || neverSent(&facts{in: in}) {
		return ""
	}
	var sources []source
	ev := newEvidence(weights)
	defer ev.free()
	ev.keep = &sources
	ev.read(in)
	whose := ev.whose(Forbidden, sources)
	switch {
	case ev.says(resource | notIncluded | noPlace | purchase | param):
	case ev.says(noAddress):
		return WhoseAddress
	case ev.says(noRight):
	case whose == WhoseAddress && ev.says(barred|wall):
		return WhoseAddress
	case (whose == WhoseAccount || whose == WhoseDevice) && ev.says(barred|shutOff):
		return whose
	}
	return ""
}

// String is the rule in words.
func (r *rule) String() string {
	if r.code != "" {
		return r.class + " by the error code " + r.code
	}
	var b strings.Builder
	b.WriteString(r.class)
	add := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	if r.any != 0 {
		add(" where it says any of {%s}", r.any)
	}
	if r.also != 0 {
		add(" and any of {%s}", r.also)
	}
	if r.none != 0 {
		add(", none of {%s}", r.none)
	}
	if len(r.in) > 0 {
		add(", under status %v", r.in)
	}
	if r.when != nil {
		name := runtime.FuncForPC(reflect.ValueOf(r.when).Pointer()).Name()
		add(", if %s", name[strings.LastIndexByte(name, '.')+1:])
	}
	return b.String()
}

// because lists the words that gave the ideas in want, those of pairs
// included.
func (ev *evidence) because(want concept, sources []source) []Evidence {
	list := []Evidence{}
	for i := range ev.n {
		h := &ev.hits[i]
		if idea := h.says & want; idea != 0 {
			list = append(list, Evidence{idea.String(), wordsAt(h.start, h.end, sources), whereAt(h.start, sources)})
		}
		for _, p := range pairs {
			if p.says&want == 0 || h.says&(p.a|p.b) == 0 {
				continue
			}
			for j := i; j < ev.n; j++ {
				o := &ev.hits[j]
				if o.clause != h.clause || o.start-h.end > p.gap {
					break
				}
				if h.says&p.a != 0 && o.says&p.b != 0 || h.says&p.b != 0 && o.says&p.a != 0 {
					list = append(list, Evidence{p.says.String(), wordsAt(h.start, o.end, sources), whereAt(h.start, sources)})
					break
				}
			}
		}
		if len(list) >= maxEvidence {
			break
		}
	}
	seen := map[Evidence]bool{}
	return slices.DeleteFunc(list, func(e Evidence) bool {
		again := seen[e]
		seen[e] = true
		return again
	})
}

// maxEvidence bounds what is listed: what matters comes early.
const maxEvidence = 12

// otherEvidence is what decided beside words: a status, or headers that count.
func (ev *evidence) otherEvidence(r *rule, in Input) []Evidence {
	var list []Evidence
	if s := ev.status(); s != 0 && (r == nil || len(r.in) > 0 || ev.says(manyCalls|refused|unauth)) {
		where := inStatus
		if s != in.StatusCode {
			where = inBody
		}
		list = append(list, Evidence{"status", fmt.Sprint(s), where})
	}
	if ev.used || ev.usedLong {
		for name, values := range in.Header {
			if containsFold(name, "limit") && len(values) > 0 {
				list = append(list, Evidence{"a window that is used up", truncate(values[0], 64), name})
			}
		}
		slices.SortFunc(list, func(a, b Evidence) int { return strings.Compare(a.Where, b.Where) })
	}
	return list
}

func whereAt(at int32, sources []source) string {
	for i := len(sources) - 1; i >= 0; i-- {
		if int(at) >= sources[i].base {
			return sources[i].where
		}
	}
	return inBody
}

func wordsAt(start, end int32, sources []source) string {
	for i := len(sources) - 1; i >= 0; i-- {
		s := &sources[i]
		if low, high := int(start)-s.base, int(end)-s.base; low >= 0 {
			return s.text[low:min(high, len(s.text))]
		}
	}
	return ""
}

// waitSource names the header that states a wait, else the body.
func waitSource(in Input) string {
	var names []string
	for name := range in.Header {
		if containsFold(name, "retry-after") || containsFold(name, "reset") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return inBody
	}
	slices.Sort(names)
	for _, name := range names {
		if containsFold(name, "retry-after") {
			return name
		}
	}
	if h := ReadHints(Input{Text: in.Text}, time.Time{}); h.HasRetryAfter {
		return inBody
	}
	return names[0]
}

// confidence is the share of the held-out answers of the same kind that were
// right (TestCalibration prints it).
func (ev *evidence) confidence(j *judgement) float64 {
	switch {
	case j.model == answers:
		return confidenceAnswered
	case j.model == overrules:
		return confidenceOverruled
	case j.class == Unknown:
		return confidenceUnknown
	case j.model == agrees:
		return confidenceAgreed
	case j.model == differs:
		return confidenceAlone
	case j.rule == nil:
		return confidenceStatus
	}
	return confidenceStatusAgrees
}

const (
	confidenceStatusAgrees = 0.95 // rules and status say the same
	confidenceAgreed       = 0.9  // rules and model say the same, against the status or without one
	confidenceStatus       = 0.85 // no rule fits
	confidenceOverruled    = 0.9
	confidenceAnswered     = 0.7
	confidenceAlone        = 0.7 // the rules alone say so
	confidenceUnknown      = 0.4
)
