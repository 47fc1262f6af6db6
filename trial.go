package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// trial is what runs beside a guard to try settings: shadow mode, which refuses nothing, and a candidate configuration,
// which is compared on the same calls. Its methods do nothing on a nil trial.
type trial struct {
	guard     *Guard
	shadow    *shadow    // nil: refusals reach the caller
	candidate *candidate // nil: there is none
}

func newTrial(g *Guard) (t *trial, err error) {
	t = &trial{guard: g}
	if g.opt.shadow {
		t.shadow = newShadow()
	}
	if g.opt.candidate != nil {
		t.candidate, err = newCandidate(g, t.shadow)
	}
	return t, err
}

// acquire answers a call as the guard does, but for refusals in shadow mode, and compares the candidate on it.
func (t *trial) acquire(ctx context.Context, req Request, again *asking) (Grant, error) {
	if req.Failure.none() && req.Kind.plain() {
		if e := t.guard.cache.lookup(req.Scope, req.Caller); e != nil {
			if t.candidate != nil && e.grant.Source != SourcePersonal {
				t.candidate.evaluate(ctx, req, true)
			}
			return e.grant, nil
		}
	}
	if t.candidate != nil {
		t.candidate.seed(ctx)
	}
	plain := req
	plain.Failing = t.failing(req.Failing)
	grant, err := t.guard.enforce(ctx, &plain, again)
	if refused, ok := err.(*RefusedError); ok && t.bypasses(refused.Verdict.Reason) && !runs(ctx, t.guard.flights) {
		grant, err = t.bypass(ctx, req, refused)
	}
	if t.candidate != nil {
		t.candidate.compare(ctx, req, grant, err)
	}
	return grant, err
}

// failing returns the token that a caller would have had in place of one that shadow mode fetched for it.
func (t *trial) failing(id string) string {
	if t == nil || t.shadow == nil || id == "" {
		return id
	}
	if p, ok := t.shadow.tokens.Get(normalID(id)); ok {
		return p
	}
	return id
}

// bypasses reports whether a refusal for this reason does not reach the caller.
func (t *trial) bypasses(reason Reason) bool {
	return t != nil && t.shadow != nil && reason != ReasonClosed && reason != ReasonPersonalUnavailable
}

func (t *trial) report(ctx context.Context, o Outcome) {
	if t != nil && t.candidate != nil {
		t.candidate.report(ctx, o)
	}
}

func (t *trial) adopt(ctx context.Context, token Token) {
	if t != nil && t.candidate != nil {
		t.candidate.adopt(ctx, token)
	}
}

func (t *trial) clear(ctx context.Context, what Clear) {
	if t != nil && t.candidate != nil {
		t.candidate.clear(ctx, what)
	}
}

func (t *trial) close() {
	if t != nil && t.candidate != nil {
		_ = t.candidate.Close()
	}
}

func (t *trial) stats() (s *ShadowStats, c *CandidateStats) {
	if t != nil && t.shadow != nil {
		s = &ShadowStats{Served: t.shadow.served.Load(), Failed: t.shadow.failed.Load()}
	}
	if t != nil && t.candidate != nil {
		c = t.candidate.stats()
	}
	return s, c
}

// shadow is shadow mode: decide and record as usual, and refuse nothing.
type shadow struct {
	served, failed atomic.Int64
	// tokens that calls got in place of a refusal, by ID, with the token that the call came with: it would still be the
	// caller's if the refusal had held.
	tokens *lru.Cache[string, string]
}

// bypassedKept is how many of the tokens that shadow mode fetched are known by their ID.
const bypassedKept = 256

// ShadowStats counts the calls that shadow mode passed on to RequestFunc, by how that ended.
type ShadowStats struct {
	Served int64 `json:"served"`
	Failed int64 `json:"failed"`
}

func newShadow() *shadow {
	tokens, _ := lru.New[string, string](bypassedKept)
	return &shadow{tokens: tokens}
}

// bypass calls RequestFunc for a call that would have been refused: on the caller's own context, and for this caller
// alone. Nothing of it is charged, cached or counted as a failure, so that the state is what refusing would have made
// of it.
func (t *trial) bypass(ctx context.Context, req Request, refused *RefusedError) (Grant, error) {
	g := t.guard
	if g.once.first("shadow") {
		g.events.notice(g.meter.Read().Wall, "shadow mode: calls that would be refused go to RequestFunc, so no limit holds")
	}
	bounded, cancel := context.WithTimeout(runningIn(ctx, g.flights), g.opt.timeout)
	defer cancel()
	own := req
	own.Kind, own.Caller, own.Failing = Anonymous, trim(req.Caller, maxCaller), normalID(req.Failing)
	answers := make(chan answer, 1)
	began := g.meter.Read().Least()
	go call("RequestFunc", func() (Token, error) { return g.flights.fetch(bounded, own) }, func(ans answer) { answers <- ans })
	var ans answer
	select {
	case ans = <-answers:
	case <-bounded.Done():
		ans.err = fmt.Errorf("tokenguard: RequestFunc did not return within %v: %w", g.opt.timeout, bounded.Err())
	case <-g.ended:
		return g.enforce(ctx, &req, nil) // which says that the guard is closed
	}
	if ans.err != nil && ctx.Err() != nil {
		return Grant{}, ctx.Err()
	}
	return t.bypassed(own, refused, began, ans)
}

// bypassed hands out what RequestFunc gave in place of a refusal.
func (t *trial) bypassed(req Request, refused *RefusedError, began timeline.Instant, ans answer) (Grant, error) {
	g := t.guard
	r := g.meter.Read()
	token, err := ans.token, ans.err
	if err == nil && token.Value() == "" {
		err = errors.New("tokenguard: the token is empty")
	}
	if err != nil {
		t.shadow.failed.Add(1)
		f := failureOf(err)
		verdict := Verdict{Step: StepRequest, Reason: ReasonRequestFailed, Answer: AnswerFail, Class: Class(g.reader.failure(f, r).Class)}
		verdict.Detail = fmt.Sprintf("request failed (%s): %s; in shadow mode, in place of the refusal %s", verdict.Class, g.reader.masked(f.text()), refused.Verdict.Reason)
		return Grant{}, &RequestError{Err: err, Class: verdict.Class, Verdict: verdict}
	}
	t.shadow.served.Add(1)
	token = token.received(Anonymous, req.Scope, r.Wall, r.Time(token.ends(began, r).meter))
	if rev := g.replica.Newest(); rev == nil || rev.Secrets[token.ID()] == nil {
		t.shadow.tokens.Add(token.ID(), t.failing(req.Failing))
	}
	g.flights.keeper.Register(token.read().secret)
	return granted(token, SourceShadow, refused.Verdict), nil
}
