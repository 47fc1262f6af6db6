package guardhttp

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// Transport is an http.RoundTripper that sends each request to an allowed host with a token of the guard.
//
// How the call ended goes back to the guard: latency up to the response header, class, and what the upstream states
// about its limits. If the answer says that the token is dead (a class of quota_exhausted or auth_invalid), the
// request is sent once more, provided that the guard has another token for it and its body can be had again: it is
// nil, http.NoBody, or the request has GetBody. Otherwise the caller gets the first answer, its body complete. Answers
// below 400 are passed through as they are, so streams stay streams.
//
// Guard and AllowedHosts are required; the zero value of every other field is ready for use. The fields must not be
// changed once the Transport is in use; it is safe for concurrent use. The caller's request is never written to.
type Transport struct {
	// Guard gives the tokens.
	Guard *tokenguard.Guard
	// AllowedHosts are the hosts that the token may be sent to: "api.example.com" for the scheme's own port, or with
	// a port, "localhost:8080". Requests to other hosts go to Base without a token, which is where a redirect to
	// another host ends. A redirect from https to http goes on without a token even to an allowed host.
	AllowedHosts []string
	// Base sends the requests; nil: http.DefaultTransport.
	Base http.RoundTripper
	// Scope says what the token must be good for; nil: the empty scope.
	Scope func(*http.Request) string
	// Caller names who asks; nil: nobody.
	Caller func(*http.Request) string
	// Inject puts the token into the request, a copy that it may change; nil: "Authorization: Bearer ...", in place of
	// what the caller may have put there.
	Inject func(*http.Request, tokenguard.Token)
	// Classify decides whether a failure means that another token could help; nil: tokenguard.Classify. A guard with
	// a classifier of its own wants the same one here.
	Classify func(tokenguard.Failure) tokenguard.Class
	// Wait makes a request wait for a token until one can be had or its context ends, instead of failing at once.
	Wait bool
	// Clock is the guard's, if it has one of its own (tokenguard.WithClock); nil: the system's. It says when a call
	// failed.
	Clock tokenguard.Clock
}

var (
	errNoGuard = errors.New("tokenguard: guardhttp: Transport.Guard is nil")
	errNoHosts = errors.New("tokenguard: guardhttp: Transport.AllowedHosts is empty: name the hosts that may see the token")
)

// RoundTrip sends the request with a token, as described at Transport.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case t.Guard == nil:
		return nil, abandon(req, errNoGuard)
	case len(t.AllowedHosts) == 0:
		return nil, abandon(req, errNoHosts)
	case !t.allowed(req):
		return t.base().RoundTrip(req)
	}
	ctx := req.Context()
	need := t.need(req)
	acquire := t.Guard.Acquire
	if t.Wait {
		acquire = t.Guard.Wait
	}
	grant, err := acquire(ctx, need)
	if err != nil {
		return nil, abandon(req, err)
	}
	resp, failure, err := t.send(req, req.Body, grant.Token)
	if !t.anotherHelps(failure) || !replayable(req) {
		return resp, err
	}
	// The same failure, of the same instant: the guard counts it once. It speaks of this token alone, so that a late
	// answer about an old token does no harm to the one that has replaced it.
	need.Failure, need.Failing = failure, grant.Token.ID()
	grant, err = t.Guard.Acquire(ctx, need)
	if err != nil || grant.Token.ID() == need.Failing {
		return resp, nil
	}
	body := req.Body
	if req.GetBody != nil {
		if body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	discard(resp)
	resp, _, err = t.send(req, body, grant.Token)
	return resp, err
}

// CloseIdleConnections closes Base's, as http.Client.CloseIdleConnections wants it.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

func (t *Transport) need(req *http.Request) (need tokenguard.Request) {
	if t.Scope != nil {
		need.Scope = t.Scope(req)
	}
	if t.Caller != nil {
		need.Caller = t.Caller(req)
	}
	return need
}

// send makes one attempt and tells the guard how it ended. A store that does not take that is the guard's trouble: it
// keeps what was reported, and this call has its answer.
func (t *Transport) send(req *http.Request, body io.ReadCloser, tok tokenguard.Token) (*http.Response, tokenguard.Failure, error) {
	out := req.Clone(req.Context())
	out.Body = body
	if t.Inject != nil {
		t.Inject(out, tok)
	} else {
		out.Header.Set("Authorization", "Bearer "+tok.Value())
	}
	start := time.Now()
	resp, err := t.base().RoundTrip(out)
	outcome := tokenguard.Outcome{TokenID: tok.ID(), Latency: time.Since(start)}
	if err != nil {
		outcome.Failure = FailureFromError(err)
		if !outcome.Failure.IsZero() { // else the caller left, which says nothing about the upstream
			outcome.Failure.At = t.now()
			_ = t.Guard.Report(req.Context(), outcome)
		}
		return nil, outcome.Failure, err
	}
	// The request that was sent holds the token; a response is easily logged, request and all.
	resp.Request = req
	outcome.Failure = FailureFromResponse(resp)
	if outcome.Failure.IsZero() {
		hints := classify.ReadHints(classify.Input{StatusCode: resp.StatusCode, Header: resp.Header}, t.now())
		outcome.Remaining, outcome.Limit, outcome.ResetAt = hints.Remaining, hints.Limit, hints.ResetAt
	} else {
		outcome.Failure.At = t.now()
	}
	_ = t.Guard.Report(req.Context(), outcome)
	return resp, outcome.Failure, nil
}

func (t *Transport) now() time.Time {
	if t.Clock == nil {
		return time.Now()
	}
	return t.Clock.Now()
}

// anotherHelps decides on an answer; where there was none, nobody knows what the upstream has done.
func (t *Transport) anotherHelps(f tokenguard.Failure) bool {
	if f.StatusCode == 0 {
		return false
	}
	class := t.Classify
	if class == nil {
		class = tokenguard.Classify
	}
	c := class(f)
	return c == tokenguard.ClassQuotaExhausted || c == tokenguard.ClassAuthInvalid
}

func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// abandon closes the body of a request that is not sent, as a RoundTripper must.
func abandon(req *http.Request, err error) error {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return err
}

// discard reads what is left of a short body, so that the connection can be used again, and closes it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 2*maxPeek) // what was peeked at, and as much again
	_ = resp.Body.Close()
}

// allowed reports whether the token may go where the request goes.
func (t *Transport) allowed(req *http.Request) bool {
	if req.URL.Scheme != "https" {
		for from := req.Response; from != nil && from.Request != nil; from = from.Request.Response {
			if from.Request.URL.Scheme == "https" {
				return false
			}
		}
	}
	host, port := strings.TrimSuffix(req.URL.Hostname(), "."), req.URL.Port()
	standard := map[string]string{"http": "80", "https": "443"}[req.URL.Scheme]
	if port == "" {
		port = standard
	}
	for _, allowed := range t.AllowedHosts {
		name, at, err := net.SplitHostPort(allowed)
		if err != nil {
			name, at = strings.Trim(allowed, "[]"), standard
		}
		if strings.EqualFold(name, host) && at == port {
			return true
		}
	}
	return false
}
