package guardhttp

import (
	"strings"

	"github.com/tokenguard/tokenguard"
)

const maxName = 32 // of a field or an event: longer than any that is looked for

// eventJudge follows a stream of server-sent events without keeping it (WHATWG HTML, section 9.2.6).
type eventJudge struct {
	field   []byte // the name of the line's field, cut at maxName
	inValue bool   // the colon was seen
	begun   bool   // the value has begun: a space would count
	afterCR bool

	name []byte    // of the event, cut at maxName
	data []byte    // of the event, cut at maxPeek
	some bool      // the event has data
	json jsonJudge // follows the data

	failed bool
	why    tokenguard.Failure
	good   bool // a mark of a good end was seen
}

// Feed reports true at an error, and at the marks of a good end.
func (e *eventJudge) Feed(p []byte) (decided bool) {
	for _, c := range p {
		if e.failed || e.good {
			break
		}
		e.next(c)
	}
	return e.failed || e.good
}

func (e *eventJudge) next(c byte) {
	secondOfTwo := c == '\n' && e.afterCR
	e.afterCR = c == '\r'
	switch {
	case secondOfTwo:
	case c == '\n' || c == '\r':
		e.endLine()
	case !e.inValue && c == ':':
		e.inValue = true
		e.beginValue()
	case !e.inValue:
		if !isMark(c) {
			e.field = appendMax(e.field, maxName, c)
		}
	case c == ' ' && !e.begun:
		e.begun = true
	default:
		e.begun = true
		e.value(c)
	}
}

// isMark reports whether c is of a byte order mark, which may stand before the first field.
func isMark(c byte) bool { return c == 0xef || c == 0xbb || c == 0xbf }

func (e *eventJudge) beginValue() {
	switch string(e.field) {
	case "event":
		e.name = e.name[:0]
	case "data":
		if e.some {
			e.value('\n') // joins the lines of one event's data
		}
		e.some = true
	}
}

func (e *eventJudge) value(c byte) {
	switch string(e.field) {
	case "event":
		e.name = appendMax(e.name, maxName, c)
	case "data":
		e.data = appendMax(e.data, maxPeek, c)
		e.json.next(c)
	}
}

func (e *eventJudge) endLine() {
	if !e.inValue && len(e.field) == 0 {
		e.dispatch()
	}
	e.field, e.inValue, e.begun = e.field[:0], false, false
}

// dispatch ends an event. One without data is none.
func (e *eventJudge) dispatch() {
	name, data := string(e.name), string(e.data)
	switch {
	case !e.some:
	case e.json.failed():
		e.failed, e.why.Message = true, e.json.message()
	case name == "error":
		e.failed, e.why.Message = true, data
	case data == "[DONE]", name == "message_stop", name == "response.completed":
		e.good = true
	}
	e.name, e.data, e.some = e.name[:0], e.data[:0], false
	e.json.reset()
}

// Verdict at the end of a stream reads its last event, also without the empty line that should follow it.
func (e *eventJudge) Verdict(whole bool) (f tokenguard.Failure, ok bool) {
	if whole && !e.failed && !e.good {
		e.dispatch()
	}
	return e.why, whole || e.failed
}

func appendMax(b []byte, n int, c byte) []byte {
	if len(b) < n {
		b = append(b, c)
	}
	return b
}

// dataOf returns the data of the events in a text; the text itself if it has none.
func dataOf(text string) string {
	var data strings.Builder
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "data:"); ok {
			data.WriteString(strings.TrimSpace(value) + "\n")
		}
	}
	if data.Len() == 0 {
		return text
	}
	return data.String()
}
