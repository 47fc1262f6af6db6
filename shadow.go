package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tokenguard/tokenguard/internal/decide"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Shadow mode: decide and record as ever, and refuse nothing.

// shadow is what the guard knows of the calls that it passed on.
type shadow struct {
	served, failed atomic.Int64
	tokens         *lru.Cache[string, passedOn] // by ID
}

// passedOn is a token that a call got in place of a refusal.
type passedOn struct {
	token   Token
	failing string // the token that the call came with: it would still be the caller's if the refusal had held
}

// passedKept is how many of the tokens that were passed on last are known by their ID.
const passedKept = 256

// ShadowStats counts the calls that shadow mode passed on to RequestFunc, by how that ended.
type ShadowStats struct {
	Served int64 `json:"served"`
	Failed int64 `json:"failed"`
}

func newShadow() *shadow {
	tokens, _ := lru.New[string, passedOn](passedKept)
	return &shadow{tokens: tokens}
}

// takes reports whether a call that is refused for this reason goes to RequestFunc all the same.
func (s *shadow) takes(reason Reason) bool {
	return s != nil && reason != ReasonClosed && reason != ReasonPersonalUnavailable
}

// stands returns the token that a caller would have had in place of one that was passed on.
func (s *shadow) stands(failing string) string {
	if s == nil || failing == "" {
		return failing
	}
	if p, ok := s.tokens.Get(normalID(failing)); ok {
		return p.failing
	}
	return failing
}

// tried is enforce, with a refusal passed on in shadow mode, and judged by a candidate.
func (g *Guard) tried(ctx context.Context, req Request) (Grant, error) {
	if g.candidate != nil {
		g.candidate.begin(ctx)
	}
	plain := req
	plain.Failing = g.shadow.stands(req.Failing)
	grant, err := g.enforce(ctx, plain)
	if refused, ok := err.(*RefusedError); ok && g.shadow.takes(refused.Verdict.Reason) {
		grant, err = g.passOn(ctx, req, refused)
	}
	if g.candidate != nil {
		g.candidate.beside(ctx, req, grant, err)
	}
	return grant, err
}

// passOn calls RequestFunc for a call that would have been refused: on the caller's own context, and for this caller
// alone. Nothing of it is charged, cached or counted as a failure, so that the state is what refusing would have made
// of it.
func (g *Guard) passOn(ctx context.Context, req Request, refused *RefusedError) (Grant, error) {
	if g.once("shadow") {
		g.noticed("shadow mode: calls that would be refused go to RequestFunc, so no limit holds")
	}
	bounded, cancel := context.WithTimeout(ctx, g.opt.timeout)
	defer cancel()
	req.Kind, req.Caller, req.Failing = Anonymous, trim(req.Caller, maxCaller), normalID(req.Failing)
	answers := make(chan answer, 1)
	go call("RequestFunc", func() (Token, error) { return g.request(bounded, req) }, func(ans answer) { answers <- ans })
	var ans answer
	select {
	case ans = <-answers:
	case <-bounded.Done():
		ans.err = fmt.Errorf("tokenguard: RequestFunc did not return within %v: %w", g.opt.timeout, bounded.Err())
	case <-g.ended:
		return g.refuseClosed(&decide.Request{Scope: req.Scope, Caller: req.Caller})
	}
	if ans.err != nil && ctx.Err() != nil {
		return Grant{}, ctx.Err()
	}
	return g.passedOn(req, refused, ans)
}

// passedOn hands out what RequestFunc gave in place of a refusal.
func (g *Guard) passedOn(req Request, refused *RefusedError, ans answer) (Grant, error) {
	r := g.meter.Read()
	t, err := ans.token, ans.err
	if err == nil && t.Value() == "" {
		err = errors.New("tokenguard: the token is empty")
	}
	if err != nil {
		g.shadow.failed.Add(1)
		f := failureOf(err)
		verdict := Verdict{Step: StepRequest, Reason: ReasonRequestFailed, Answer: AnswerFail, Class: Class(g.report(f, r).Class)}
		verdict.Detail = fmt.Sprintf("request failed (%s): %s; in shadow mode, in place of the refusal %s", verdict.Class, g.masked(f.text()), refused.Verdict.Reason)
		return Grant{}, &RequestError{Err: err, Class: verdict.Class, Verdict: verdict}
	}
	g.shadow.served.Add(1)
	t.Kind, t.Scope, t.AcquiredAt, t.Expiry = Anonymous, req.Scope, r.Wall, r.Time(t.expiry(r))
	if _, ok := g.known(t.ID()); !ok {
		g.shadow.tokens.Add(t.ID(), passedOn{t, g.shadow.stands(req.Failing)})
		g.masks.Purge() // texts that were read before may hold its value
		g.templates.Purge()
	}
	return Grant{Token: t, Source: SourceShadow, Verdict: refused.Verdict}, nil
}
