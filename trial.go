package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tokenguard/tokenguard/internal/ledger"
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

// nameFor is the value of the token that stands for a real one.
func nameFor(id string) string { return "candidate's " + id }

// simulatedFailure is the last real failure, as the candidate's own.
type simulatedFailure struct {
	text  string
	class Class
}

func (e *simulatedFailure) Error() string { return e.text }

// simulate is the candidate's RequestFunc: it ends as the last real acquisition of the scope did, else like the last one
// of another scope.
func (c *candidate) simulate(_ context.Context, req Request) (Token, error) {
	doc, now := c.real.replica.Newest().Doc, c.real.meter.Read().Now // seed saw one
	fail := func(s ledger.Streak) error {
		// Stated also where nothing is left of it: a wait that the text asks for would begin anew.
		pause := max(doc.Pause.Until.Sub(now), 0)
		return Failed(Failure{StatusCode: s.Status, Message: s.Message(), Err: &simulatedFailure{s.Message(), Class(s.Class)},
			Header: map[string][]string{"Retry-After": {strconv.FormatFloat(pause.Seconds(), 'f', 9, 64)}}})
	}
	scope := ledger.ScopeKey(req.Scope)
	if k := doc.Scope(scope); k.Closed.Until > now {
		return Token{}, fail(k.Last)
	}
	if doc.Failures.Count > 0 {
		return Token{}, fail(doc.Failures)
	}
	like := doc.Newest(scope)
	if like == nil {
		like = doc.Latest()
	}
	if like == nil {
		return NewToken(nameFor(""), time.Time{}), nil
	}
	name := nameFor(like.ID)
	// The real one serves on after the candidate's has ended: its name would bring that back.
	if own := c.replica.Newest(); own != nil && (own.Doc.Tokens[TokenID(name)] != nil || req.Failing == TokenID(name)) {
		name += " " + strconv.FormatUint(own.Doc.Seq, 10)
	}
	token := likeThat(name, like)
	if like.Identity != nil {
		token = token.WithRefreshToken("the account of "+name, time.Time{})
	}
	return token, nil
}

// likeThat is a token that lasts as long as another.
func likeThat(name string, like *ledger.Token) Token {
	if like.Expiry == 0 {
		return NewToken(name, time.Time{})
	}
	return NewTokenIn(name, like.Expiry.Sub(like.Acquired))
}

// simulateRenewal is the candidate's RenewalFunc: it ends as the last real renewal of the scope did.
func (c *candidate) simulateRenewal(_ context.Context, old Token) (Token, error) {
	like := c.real.replica.Newest().Doc.Newest(old.Scope())
	if like == nil || like.Identity == nil {
		like = &ledger.Token{Identity: &ledger.Identity{}}
	}
	if last := like.Identity.Last; last.Count > 0 || like.Identity.Ended != 0 {
		return Token{}, Failed(Failure{StatusCode: last.Status, Message: last.Message(), Err: &simulatedFailure{last.Message(), Class(last.Class)}})
	}
	return likeThat(nameFor(like.ID)+" renewed "+strconv.FormatUint(c.renewed.Add(1), 10), like), nil
}

// simulatedClass is a classifier that knows simulated failures, before the user-supplied one; nil: Classify.
func simulatedClass(classifier func(Failure) Class) func(Failure) Class {
	return func(f Failure) Class {
		var s *simulatedFailure
		switch {
		case errors.As(f.Err, &s):
			return s.class
		case classifier != nil:
			return classifier(f)
		}
		return Classify(f)
	}
}
