package guardhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Transport is an http.RoundTripper that sends each request to an allowed host with a token of the guard.
//
// How the call ended goes back to the guard: latency up to the response header (with a Judge, up to its verdict),
// class, and what the upstream states about its limits. If the answer says that the token is dead (a class of
// quota_exhausted or auth_invalid), the request is sent once more, provided that the guard has another token for it and
// its body can be had again: it is nil, http.NoBody, or the request has GetBody. Otherwise the caller gets the first
// answer, its body complete.
//
// Answers below 400 are passed through as they are, so streams stay streams; with a Judge they are also looked at as
// they pass. Of the body of an error at most 4 KiB are read ahead, and what has not come a second after the header is
// not waited for. So that errors can be read, the upstream is asked for no encodings but gzip and deflate. The caller
// gets the body as it came: decompressed exactly where net/http would have done that.
//
// Guard and AllowedHosts are required; the zero value of every other field is ready for use. NewTransport checks them
// at once, a Transport that was written as a literal at its first request: each request fails with what is wrong. The
// fields must not be changed once the Transport is in use; it is safe for concurrent use and must not be copied. The
// caller's request is never written to.
type Transport struct {
	// Guard gives the tokens.
	Guard *tokenguard.Guard
	// AllowedHosts are the hosts that the token may be sent to: "api.example.com" for the scheme's own port, or with
	// a port, "localhost:8080"; an internationalised one in Unicode or in its ASCII form, whichever the request has.
	// Requests to other hosts go to Base without a token, which is where a redirect to another host ends. A redirect
	// from https to http goes on without a token even to an allowed host. A request to another port of a host that is
	// written without one is an error that says what to write, and so is a request that spells an allowed host in another way
	// (capitals or widths of letters outside ASCII).
	AllowedHosts []string
	// Base sends the requests; nil: http.DefaultTransport.
	Base http.RoundTripper
	// Scope says what the token must be good for; nil: the empty scope.
	Scope func(*http.Request) string
	// Caller names the operation, which is what evidence about a token belongs to: one endpoint that refuses a token
	// takes it from no other. nil, or where it returns "": the request's method, host and path, with the parts of the
	// path that vary masked ("GET api.example.com/v1/users/#").
	Caller func(*http.Request) string
	// Inject puts the token into the request, a copy that it may change; nil: "Authorization: Bearer ...", in place of
	// what the caller may have put there. With an error the request is not sent, and nothing is reported.
	Inject func(*http.Request, tokenguard.Token) error
	// Classify decides whether a failure means that another token could help; nil: tokenguard.Classify. A guard with
	// a classifier of its own wants the same one here.
	Classify func(tokenguard.Failure) tokenguard.Class
	// Judge returns who judges the body of an answer of 200 to 299, as JudgeErrors does; it must not read it. nil, or
	// a nil Judge: the header is the success. The guard is told when the judge has decided: at the latest when the
	// body has ended, never of one that the caller closed before that. An answer that was judged a failure is not
	// sent again, since the caller has it; the next call gets the better token.
	Judge func(*http.Response) Judge
	// Pause says what happens to a call inside a wait that the upstream asked the same operation for (Retry-After of
	// a rate limit or of a 503, honoured up to 31 days). Such a call asks for no token and is not reported. The zero
	// value, PauseOff, sends it. The waits are this Transport's own, at most 1024, the one that ends first goes; and those
	// for a rate limit that are in the guard's state, from other processes and from before a restart (Guard.Paused).
	Pause Pause
	// Wait makes a request wait for a token until one can be had or its context ends, instead of failing at once.
	Wait bool
	// Clock is the guard's, if it has one of its own (tokenguard.WithClock); nil: the system's. It says when a call
	// failed, and how long a pause lasts.
	Clock tokenguard.Clock

	once       sync.Once // sets what follows
	err        error     // what is wrong with the fields
	hosts      []host
	operations *operations
	pauses     pauses
	bearer     bearerCache
}

// NewTransport returns a Transport for the guard and the hosts, or every mistake in its fields, joined. Each of set may
// change the other fields first.
func NewTransport(guard *tokenguard.Guard, hosts []string, set ...func(*Transport)) (*Transport, error) {
	t := &Transport{Guard: guard, AllowedHosts: hosts}
	for _, f := range set {
		f(t)
	}
	if err := t.ready(); err != nil {
		return nil, err
	}
	return t, nil
}

var errNoGuard = errors.New("tokenguard: guardhttp: Transport.Guard is nil")

// ready checks the fields, once.
func (t *Transport) ready() error {
	t.once.Do(func() {
		var errs []error
		if t.Guard == nil {
			errs = append(errs, errNoGuard)
		}
		hosts, err := parseHosts(t.AllowedHosts)
		errs = append(errs, err)
		if t.Pause < PauseOff || t.Pause > PauseRefuse {
			errs = append(errs, fmt.Errorf("tokenguard: guardhttp: Transport.Pause: %d: want PauseOff, PauseAnswer or PauseRefuse", t.Pause))
		}
		t.hosts, t.operations, t.err = hosts, newOperations(), errors.Join(errs...)
	})
	return t.err
}

// RoundTrip sends the request with a token, as described at Transport.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.ready(); err != nil {
		return nil, abandon(req, err)
	}
	switch allowed, err := allows(t.hosts, req); {
	case err != nil:
		return nil, abandon(req, err)
	case !allowed:
		return t.base().RoundTrip(req)
	}
	ctx := req.Context()
	need := t.need(req)
	if p, now, ok := t.pausedFor(ctx, &need); ok {
		_ = abandon(req, nil)
		if t.Pause == PauseRefuse {
			return nil, p.refusal(now)
		}
		return p.answer(req, now), nil
	}
	acquire := t.Guard.Acquire
	if t.Wait {
		acquire = t.Guard.Wait
	}
	grant, err := acquire(ctx, need)
	if err != nil {
		return nil, abandon(req, err)
	}
	first, err := t.send(req, req.Body, &grant.Token, &need)
	defer first.release()
	if err != nil || !first.dead || !replayable(req) {
		return first.resp, err
	}
	// The same failure, of the same instant: the guard counts it once. It speaks of this token alone, so that a late
	// answer about an old token does no harm to the one that has replaced it.
	need.Failure, need.Failing = first.failure, grant.Token.ID()
	grant, err = t.Guard.Acquire(ctx, need)
	if err != nil || grant.Token.ID() == need.Failing {
		return first.resp, nil
	}
	body := req.Body
	if req.GetBody != nil {
		if body, err = req.GetBody(); err != nil {
			return first.resp, nil
		}
	}
	discard(first.resp.Body, first.late)
	second, err := t.send(req, body, &grant.Token, &need)
	second.release()
	return second.resp, err
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
	if need.Caller == "" {
		need.Caller = t.operations.of(req)
	}
	return need
}

func (t *Transport) pausedFor(ctx context.Context, need *tokenguard.Request) (p pause, now time.Time, ok bool) {
	if t.Pause == PauseOff {
		return p, now, false
	}
	now = t.now()
	of := paused{need.Scope, need.Caller}
	if p, ok = t.pauses.at(of, now); ok {
		return p, now, ok
	}
	end, err := t.Guard.Paused(ctx, *need)
	if err != nil || !now.Before(end) {
		return p, now, false // a mistake in the request is Acquire's to tell
	}
	return pause{end, http.StatusTooManyRequests}, now, true
}

func (t *Transport) now() time.Time {
	if t.Clock == nil {
		return time.Now()
	}
	return t.Clock.Now()
}

func (t *Transport) classify(f tokenguard.Failure) tokenguard.Class {
	if t.Classify != nil {
		return t.Classify(f)
	}
	return tokenguard.Classify(f)
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
