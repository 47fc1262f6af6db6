package guardhttp

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// WatchOptions are for Watch. The zero value is ready for use.
type WatchOptions struct {
	// Base sends the requests; nil: http.DefaultTransport.
	Base http.RoundTripper
	// Caller names the operation; nil: it has no name. It must be the name under which the token is acquired
	// (tokenguard.Request.Caller): what one operation reports of a token takes it from no other.
	Caller func(*http.Request) string
	// Clock is the guard's, if it has one of its own (tokenguard.WithClock); nil: the system's.
	Clock tokenguard.Clock
}

// Watch returns a transport for clients that put the token into their requests by themselves, such as those of registries:
// it changes nothing, and reports to the guard how each request ended whose Authorization is "Bearer" and a token of this
// guard. Requests with any other are only passed on. A nil guard is an error.
func Watch(guard *tokenguard.Guard, o WatchOptions) (http.RoundTripper, error) {
	if guard == nil {
		return nil, errors.New("tokenguard: guardhttp.Watch: guard is nil: want a *tokenguard.Guard")
	}
	return &watcher{Transport{Guard: guard, Base: o.Base, Caller: o.Caller, Clock: o.Clock}}, nil
}

type watcher struct{ t Transport }

func (w *watcher) CloseIdleConnections() { w.t.CloseIdleConnections() }

func (w *watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	scheme, value, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if value == "" || !strings.EqualFold(scheme, "Bearer") {
		return w.t.base().RoundTrip(req)
	}
	start := time.Now()
	resp, err := w.t.base().RoundTrip(req)
	outcome := tokenguard.Outcome{TokenID: tokenguard.TokenID(value), Latency: time.Since(start)}
	if w.t.Caller != nil {
		outcome.Caller = w.t.Caller(req)
	}
	if err != nil {
		outcome.Failure = FailureFromError(err)
		if outcome.Failure.IsZero() { // the caller left, which says nothing about the upstream
			return resp, err
		}
	} else if outcome.Failure = FailureFromResponse(resp); outcome.Failure.IsZero() {
		hints := classify.ReadHints(classify.Input{StatusCode: resp.StatusCode, Header: resp.Header}, w.t.now())
		outcome.Remaining, outcome.Limit, outcome.ResetAt = hints.Remaining, hints.Limit, hints.ResetAt
	}
	// A guard that cannot store this keeps it in memory; a token that is not the guard's is ignored.
	_ = w.t.Guard.Report(req.Context(), outcome)
	return resp, err
}
