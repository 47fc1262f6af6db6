package guardui

import (
	"net/http"
	"strconv"

	"github.com/tokenguard/tokenguard"
)

// explained is the answer to the form: what a caller would be told now.
type explained struct {
	Asked                           bool
	Scope, Caller, Message, Failing string
	Status                          int
	Class                           tokenguard.Class
	Err                             string
	tokenguard.Explanation
}

func (h *handler) explain(r *http.Request) explained {
	e := explained{Asked: r.FormValue("explain") != "", Scope: r.FormValue("scope"), Caller: r.FormValue("caller"),
		Message: r.FormValue("failure"), Failing: r.FormValue("failing")}
	e.Status, _ = strconv.Atoi(r.FormValue("status")) // not a number: none
	if !e.Asked {
		return e
	}
	var err error
	e.Explanation, err = h.guard.Explain(r.Context(), tokenguard.Request{
		Scope: e.Scope, Caller: e.Caller, Failing: e.Failing,
		Failure: tokenguard.Failure{StatusCode: e.Status, Message: e.Message},
	})
	if err != nil {
		e.Err = err.Error()
	}
	e.Class = e.Verdict.Class
	return e
}
