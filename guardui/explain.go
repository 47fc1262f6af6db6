package guardui

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/tokenguard/tokenguard"
)

// explained is the answer to the form: what a call would be told now and, for an event of the log, what it was told.
type explained struct {
	Asked                           bool
	Scope, Caller, Message, Failing string // Failing is an ID
	Status                          int
	Err                             string
	tokenguard.Explanation

	Event string // the key of the event that is explained, if any
	Then  *tokenguard.Event
}

func (h *handler) explain(r *http.Request, history []tokenguard.Event) explained {
	e := explained{Asked: r.FormValue("explain") != "", Scope: r.FormValue("scope"), Caller: r.FormValue("caller"),
		Message: r.FormValue("failure"), Failing: tokenID(r.FormValue("failing")), Event: r.FormValue("event")}
	e.Status, _ = strconv.Atoi(r.FormValue("status")) // not a number: none
	if !e.Asked {
		return e
	}
	for _, then := range history {
		if e.Event != "" && eventKey(then) == e.Event {
			e.Then = &then
		}
	}
	var err error
	e.Explanation, err = h.guard.Explain(r.Context(), tokenguard.Request{
		Scope: e.Scope, Caller: e.Caller, Failing: e.Failing,
		Failure: tokenguard.Failure{StatusCode: e.Status, Message: e.Message},
	})
	if err != nil {
		e.Err = err.Error()
	}
	return e
}

var idForm = regexp.MustCompile(`^tk_[0-9a-f]{16}$`)

// tokenID is the ID of a token, given its ID or its value.
func tokenID(s string) string {
	if idForm.MatchString(s) {
		return s
	}
	return tokenguard.TokenID(s)
}

// hideToken takes a token's value out of the browser's address and history: it leads to the address with the ID.
func hideToken(w http.ResponseWriter, r *http.Request) bool {
	failing := r.FormValue("failing")
	if tokenID(failing) == failing {
		return false
	}
	query := r.URL.Query()
	query.Set("failing", tokenID(failing))
	w.Header().Set("Location", "./?"+query.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return true
}

// entry is an event in the decision log.
type entry struct{ tokenguard.Event }

// Query asks what the event's call was told and would be told now.
func (e entry) Query() template.URL {
	q := url.Values{"explain": {"1"}, "event": {eventKey(e.Event)}}
	for name, value := range map[string]string{"scope": e.Scope, "caller": e.Caller, "failure": e.Text, "failing": e.failing(), "status": e.status()} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return template.URL(q.Encode()) // nothing is left to escape
}

// Call reports whether the event is about a call that can be asked again.
func (e entry) Call() bool {
	switch e.Kind {
	case tokenguard.EventWarning, tokenguard.EventState, tokenguard.EventCleared, tokenguard.EventAdopted:
		return false
	}
	return true
}

func (e entry) failing() string {
	if e.Kind == tokenguard.EventReported {
		return e.TokenID
	}
	return e.Failing
}

// status is one with which the event's text is of the event's class: events keep the class and not the status.
func (e entry) status() string {
	class := e.Verdict.Class
	for _, status := range [...]int{0, 429, 401, 403, 503, 400} {
		if class != tokenguard.ClassNone && tokenguard.Classify(tokenguard.Failure{StatusCode: status, Message: e.Text}) == class {
			if status == 0 {
				return ""
			}
			return strconv.Itoa(status)
		}
	}
	return ""
}

// eventKey tells an event from all others that differ from it.
func eventKey(e tokenguard.Event) string {
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode(e)
	return strconv.FormatUint(h.Sum64(), 36)
}

// fact is one number behind a verdict.
type fact struct{ Name, Value string }

// facts spells out what a rule looked at.
func facts(v tokenguard.Verdict) (out []fact) {
	e := v.Evidence
	add := func(there bool, name, format string, args ...any) {
		if there {
			out = append(out, fact{name, fmt.Sprintf(format, args...)})
		}
	}
	add(v.Class != tokenguard.ClassNone, "failure's class", "%s", v.Class)
	add(e.Limit != 0, "count", "%d of %d", e.Count, e.Limit)
	add(e.Limit == 0 && e.Count != 0, "count", "%d", e.Count)
	add(e.Window != 0, "window", "%s", span(e.Window))
	add(!e.Since.IsZero(), "since", "%s", stamp(e.Since))
	add(e.TokenID != "", "token", "%s", e.TokenID)
	add(e.Similarity != 0, "similarity", "%.2f", e.Similarity)
	add(e.Level != "", "level", "%s, confidence %.2f", e.Level, e.Confidence)
	add(!v.Until.IsZero(), "this rule opens", "%s", stamp(v.Until))
	return out
}
