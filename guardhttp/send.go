package guardhttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// call is one attempt: the context that its response shows, and the request that is sent. The two are one allocation.
type call struct {
	context.Context
	token         string // its ID
	sent          http.Request
	authorization [1]string
}

type tokenKey struct{}

func (c *call) Value(key any) any {
	if key == (tokenKey{}) {
		return c.token
	}
	return c.Context.Value(key)
}

// TokenID returns the ID of the token with which a Transport sent the request of this context: that of a response,
// resp.Request.Context(), and that of the request as Base sees it. "" if it was sent without one.
func TokenID(ctx context.Context) string {
	id, _ := ctx.Value(tokenKey{}).(string)
	return id
}

// bearerCache keeps the header of the token that was sent last.
type bearerCache struct{ last atomic.Pointer[bearer] }

type bearer struct{ value, header string }

func (c *bearerCache) of(value string) string {
	if b := c.last.Load(); b != nil && b.value == value {
		return b.header
	}
	b := &bearer{value, "Bearer " + value}
	c.last.Store(b)
	return b.header
}

// attempt is how one attempt ended.
type attempt struct {
	resp    *http.Response
	failure tokenguard.Failure
	dead    bool            // the answer says that another token could help
	late    <-chan struct{} // closed when the answer's body is waited for no longer
	stop    func() bool
}

// release stops the attempt's timer.
func (a *attempt) release() {
	if a.stop != nil {
		a.stop()
	}
}

// prepare returns the request with the token in it, and as its response shows it: without.
func (t *Transport) prepare(req *http.Request, body io.ReadCloser, tok *tokenguard.Token) (sent, shown *http.Request, err error) {
	c := &call{Context: req.Context(), token: tok.ID()}
	shown = req.WithContext(c)
	if t.Inject != nil {
		sent = shown.Clone(c)
	} else {
		sent = &c.sent
		*sent = *shown
		sent.Header = req.Header.Clone()
	}
	sent.Body = body
	if sent.Header == nil {
		sent.Header = http.Header{}
	}
	acceptReadable(sent.Header)
	if t.Inject == nil {
		c.authorization[0] = t.bearer.of(tok.Value())
		sent.Header["Authorization"] = c.authorization[:]
	} else if err := t.Inject(sent, *tok); err != nil {
		return nil, nil, fmt.Errorf("tokenguard: guardhttp: Transport.Inject: %w", err)
	}
	return sent, shown, nil
}

// send makes one attempt and tells the guard how it ended. A store that does not take that is the guard's trouble: it
// keeps what was reported, and this call has its answer.
func (t *Transport) send(req *http.Request, body io.ReadCloser, tok *tokenguard.Token, need *tokenguard.Request) (a attempt, err error) {
	sent, shown, err := t.prepare(req, body, tok)
	if err != nil {
		if body != nil {
			_ = body.Close()
		}
		return a, err
	}
	start := time.Now()
	resp, err := t.base().RoundTrip(sent)
	outcome := tokenguard.Outcome{TokenID: tok.ID(), Caller: need.Caller, Latency: time.Since(start)}
	if err != nil {
		outcome.Failure = FailureFromError(err)
		if !outcome.Failure.IsZero() { // else the caller left, which says nothing about the upstream
			outcome.Failure.At = t.now()
			_ = t.Guard.Report(req.Context(), outcome)
		}
		return a, err
	}
	// The request that was sent holds the token; a response is easily logged, request and all.
	resp.Request = shown
	a.resp = resp
	if resp.StatusCode >= 400 {
		t.failed(&a, need)
		outcome.Failure = a.failure
	} else {
		hints := classify.ReadHints(classify.Input{StatusCode: resp.StatusCode, Header: resp.Header}, t.now())
		outcome.Remaining, outcome.Limit, outcome.ResetAt = hints.Remaining, hints.Limit, hints.ResetAt
		if judge, openers := t.judgeOf(resp); judge != nil {
			t.reportJudged(resp, judge, openers, outcome, start)
			return a, nil
		}
	}
	_ = t.Guard.Report(req.Context(), outcome)
	return a, nil
}

// failed reads the answer of an attempt that failed.
func (t *Transport) failed(a *attempt, need *tokenguard.Request) {
	a.late, a.stop = lateAfter(peekTime)
	a.failure = failureOf(a.resp, a.late)
	a.failure.At = t.now()
	class := t.classify(a.failure)
	a.dead = class == tokenguard.ClassQuotaExhausted || class == tokenguard.ClassAuthInvalid
	if t.Pause != PauseOff {
		t.pauses.note(paused{need.Scope, need.Caller}, a.failure, class)
	}
}

// judgeOf returns who judges the body of an answer, and how it is read; nil for an answer whose header is its success.
func (t *Transport) judgeOf(resp *http.Response) (Judge, []opener) {
	if t.Judge == nil || resp.StatusCode < 200 || resp.StatusCode > 299 || resp.Body == nil || resp.Body == http.NoBody {
		return nil, nil
	}
	openers, err := openersOf(resp.Header)
	if err != nil {
		return nil, nil // an encoding that was not asked for
	}
	return t.Judge(resp), openers
}

// reportJudged tells the guard how a call ended when its judge has decided. It is apart from send, whose outcome
// would otherwise be on the heap for every call. The latency is up to the verdict: the guard reads from it when the call
// began, and a success that began before a refusal does not lift it.
func (t *Transport) reportJudged(resp *http.Response, judge Judge, openers []opener, outcome tokenguard.Outcome, start time.Time) {
	ctx := context.WithoutCancel(resp.Request.Context()) // by then it may have ended
	status, header := resp.StatusCode, resp.Header.Clone()
	watch(resp, judge, openers, func(f tokenguard.Failure) {
		outcome.Failure, outcome.Latency = f, time.Since(start)
		if !f.IsZero() {
			if f.Err == nil && f.StatusCode == 0 {
				outcome.Failure.StatusCode = status
			}
			if f.Err == nil && f.Header == nil {
				outcome.Failure.Header = header
			}
			outcome.Failure.At = t.now()
		}
		_ = t.Guard.Report(ctx, outcome)
	})
}
