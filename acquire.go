package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/striped"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// acquireCall is a call on its walk through the steps.
type acquireCall struct {
	req *Request
	q   *decide.Request

	rev  *replica.Revision // nil: none is known
	at   timeline.Reading
	away error // why the store could not be read or written; nil: it could
	in   *decide.Input

	rounds   int    // decisions since the call last waited
	looked   bool   // rev and at are of a moment ago
	since    uint64 // the mark of g.waiters just after that
	reported bool   // what the request reports has been applied
	joined   bool   // it has waited for an acquisition of its key
	placed   bool   // it has waited for a place
	patient  bool   // it has waited for the store to come back
}

// maxRounds bounds how often a call is decided without having waited in between: a store whose document changes each
// time it is read would keep it for ever.
const maxRounds = 64

var errUnsettled = fmt.Errorf("no answer held in any of %d rounds: the document went on changing, or tokens ended", maxRounds)

// asking is what a caller keeps that asks again.
type asking struct {
	q     *decide.Request // what reading the request brought; nil: it was not read
	since uint64          // the mark of the last answer
}

// ask is Acquire in full. a is of a caller that asks again; nil: it does not.
func ask(ctx context.Context, g *Guard, req *Request, a *asking) (Grant, error) {
	if a != nil {
		a.since = g.waiters.mark()
	}
	if g.trial != nil {
		return g.trial.acquire(ctx, *req, a)
	}
	if req.Failure.none() && req.Kind.plain() {
		if e := g.cache.lookup(req.Scope, req.Caller); e != nil {
			return e.grant, nil
		}
	}
	return g.enforce(ctx, req, a)
}

// timed answers a call that was counted as a hit, but for which the clock has to be read.
func timed(ctx context.Context, g *Guard, req *Request, t *table, e *entry, hits *striped.Counter) (Grant, error) {
	if g.cache.holds(t, e, hits) {
		return e.grant, nil
	}
	return g.enforce(ctx, req, nil)
}

// acquire walks the call through the steps until one answers.
func (g *Guard) acquire(ctx context.Context, c *acquireCall) (Grant, error) {
	for ; c.rounds < maxRounds; c.rounds++ {
		if err := g.observe(ctx, c); err != nil {
			return g.leave(c, err)
		}
		d, err := g.decide(ctx, c)
		if err != nil {
			return g.leave(c, err)
		}
		switch d.Answer {
		case decide.AnswerServe:
			if c.outlived(g.meter, g.replica, g.personal, d) {
				continue
			}
			return g.serve(c, d)
		case decide.AnswerRefuse:
			return g.refuse(c, d)
		}
		if runs(ctx, g.flights) {
			return Grant{}, ErrReentrant
		}
		grant, done, err := g.join(ctx, c, d) // step 7
		if done || err != nil {
			return grant, err
		}
	}
	c.away = errUnsettled
	return g.refuse(c, storeAway)
}

// observe looks at the newest revision, applies what the request reports (step 0), and has the personal token fetched
// if it is due.
func (g *Guard) observe(ctx context.Context, c *acquireCall) (err error) {
	if g.isClosed() {
		return ErrClosed
	}
	if !c.looked {
		c.rev, c.at, c.away = g.replica.Look(ctx)
		c.since = g.waiters.mark() // after the look, which may publish what it reads
	}
	c.looked = false
	if c.away == nil && c.rev.Dirty && !g.replica.FlushComes() && g.retry.AllowN(time.Now(), 1) {
		_ = g.replica.Save(ctx) // a store that fails meets the next look, too
		c.rev, c.at, c.away = g.replica.Look(ctx)
	}
	doc := ledger.New()
	if c.rev != nil {
		doc = c.rev.Doc
	}
	if g.personal != nil {
		var fetched bool
		hasOther := func() bool { // an anonymous token that it need not wait for the personal one with
			return c.q.Kind == ledger.Anonymous && c.rev != nil && g.inputs.on(c.q, c.rev, c.at.Now).Pick(c.at.Now) != nil
		}
		if c.q.Personal, fetched, err = g.personal.observe(ctx, doc, c.q.Scope, c.at.Now, hasOther); err != nil {
			return err
		}
		if fetched {
			g.publish()
		}
	}
	if !c.reported {
		c.reported = true
		changed, err := g.report(ctx, c.q, nil, doc, c.at)
		switch {
		case changed && err == nil:
			return g.observe(ctx, c)
		case changed:
			c.rev = g.replica.Newest()
			if c.away == nil {
				c.away = err
			}
		}
	}
	c.in = g.inputs.on(c.q, c.rev, c.at.Now)
	c.in.Outage = decide.Outage{Away: c.away != nil, MayStart: g.replica.MayStart(c.rev)}
	c.in.Placed = c.placed
	return nil
}

// decide returns the decision on what was observed. A suspicion that the predictor does not share is lifted first.
func (g *Guard) decide(ctx context.Context, c *acquireCall) (decide.Decision, error) {
	d := c.in.Decide(c.at.Now)
	switch {
	case c.away != nil && d.Reason == decide.ReasonStoreUnavailable && ctx.Err() != nil:
		return d, ctx.Err()
	case c.away != nil && d.Reason == decide.ReasonStoreUnavailable && !c.patient && g.replica.IsBack(ctx):
		c.patient = true
		if err := g.observe(ctx, c); err != nil {
			return d, err
		}
		d = c.in.Decide(c.at.Now)
	}
	// What waits for a commit counts, as it would in that commit: also where a token is served in place of a start. A copy of
	// the document costs more than a decision, and in a storm of refusals nothing waits but counts, which c.in has.
	if c.rev != nil && (d.Answer != decide.AnswerServe || d.Late()) && (g.replica.SuccessesWait() || g.cache.tells(g.opt.policy, c.rev.Doc, c.at.Now)) {
		c.in.Doc, c.in.Pending = g.cache.uncommitted(c.rev.Doc, c.at.Now), predict.Usage{}
		d = c.in.Decide(c.at.Now)
	}
	for n := 0; d.Tries && n < maxRounds; n++ {
		if takeTurn(ctx, g.replica, d.TokenID, c.q.Operation) {
			c.rev = g.replica.Newest()
			return d, nil
		}
		c.rev = g.replica.Newest()
		if g.personal != nil && c.rev != nil {
			c.q.Personal, _ = g.personal.view(c.rev.Doc, c.q.Scope, c.at.Now)
		}
		c.in = g.inputs.on(c.q, c.rev, c.at.Now)
		d = c.in.Decide(c.at.Now)
	}
	if !d.LiftsSuspicion || c.away != nil {
		return d, nil
	}
	if err := g.liftSuspicion(ctx, c.q); err != nil {
		c.away = err
		return storeAway, nil
	}
	c.rev = g.replica.Newest()
	c.in = g.inputs.on(c.q, c.rev, c.at.Now)
	if d.Answer == decide.AnswerServe {
		d = c.in.Decide(c.at.Now) // from the cache now
	}
	return d, nil
}

// outlived reports whether the token of a decision has ended since. The call may have waited in between, for the store, the
// source of the personal token or a classifier, and the machine or the process may have been stopped.
func (c *acquireCall) outlived(m *meter.Meter, r *replica.Replica, p *personal, d decide.Decision) bool {
	at := m.Read()
	if d.Reason == decide.ReasonPersonal {
		own, _ := p.view(c.in.Doc, c.q.Scope, at.Now)
		return !own.Usable
	}
	return r.TokenEnded(d.Token, at)
}

// takeTurn has a call of the operation try a spent token whose quota should be full again. It reports whether the call has
// the turn: not if another took it in between. While the store is away the turn is this process's alone.
func takeTurn(ctx context.Context, r *replica.Replica, id, operation string) bool {
	var has atomic.Bool // a commit that was given up may still run
	take := func(draft *replica.Draft) bool {
		has.Store(draft.Doc.Try(id, operation, draft.At.Now))
		return has.Load()
	}
	if _, err := r.Commit(ctx, take); err != nil {
		r.ApplyLocally(take, replica.ForReport)
	}
	return has.Load()
}

// uncommitted is a copy of a document as the next commit of this process would have it before it changes it.
func (c *tokenCache) uncommitted(doc *ledger.Document, now timeline.Instant) *ledger.Document {
	doc = doc.Clone()
	doc.CountUses(c.replica.AllPending())
	c.stamp(doc, now)
	return doc
}

// join waits for an acquisition of the call's key, and starts it if none is in progress. done: that answers the call.
func (g *Guard) join(ctx context.Context, c *acquireCall, d decide.Decision) (grant Grant, done bool, err error) {
	if d.Answer == decide.AnswerWait {
		c.joined, c.placed = c.joined || !d.Place, c.placed || d.Place
		if d.Owner != g.flights.owner || d.Place {
			return g.await(ctx, c, d)
		}
	}
	if err := ctx.Err(); err != nil { // a caller that has left starts nothing
		grant, err := g.leave(c, err)
		return grant, true, err
	}
	g.inputs.waiting.Add(1)
	res, leader, err := g.flights.join(ctx, g.ended, c.q, c.req, d.Step == decide.StepRenewal)
	g.inputs.waiting.Add(-1)
	switch {
	case err != nil:
		grant, err = g.leave(c, err)
		return grant, true, err
	case !res.ran && d.Answer == decide.AnswerWait: // the lease is this process's, but its flight is over: wait for its end
		return g.await(ctx, c, d)
	case !res.ran:
		return Grant{}, false, nil
	}
	if grant, err, done := g.deliver(ctx, c, res, leader); done {
		return grant, true, err
	}
	c.joined = c.joined || !res.renewal
	return Grant{}, false, nil
}

// await sleeps until a change may help, at most until the decision says.
func (g *Guard) await(ctx context.Context, c *acquireCall, d decide.Decision) (grant Grant, done bool, err error) {
	g.inputs.waiting.Add(1)
	defer g.inputs.waiting.Add(-1)
	waited, err := false, ctx.Err()
	if s := g.waiters.enterGate(c, &d); s != nil {
		defer g.waiters.leave(s)
		waited, err = true, g.replica.Await(ctx, d.Until, s.woken)
	}
	if err != nil {
		grant, err := g.leave(c, err)
		return grant, true, err
	}
	if waited {
		c.rounds = 0
	}
	return Grant{}, false, nil
}

// deliver hands the result of a flight to the caller that started it, or to one that joined.
func (g *Guard) deliver(ctx context.Context, c *acquireCall, res result, leader bool) (Grant, error, bool) {
	c.at = g.meter.Read()
	if leader && !res.renewal {
		g.counters.own.Add(1)
	}
	failed, _ := errors.AsType[*RequestError](res.err)
	switch {
	case res.err != nil && failed == nil && !leader && ctx.Err() != nil:
		return Grant{}, nil, false
	case res.err != nil:
		// A token that is in its last stretch is better than none.
		c.rev = g.replica.Newest()
		if c.in = g.inputs.on(c.q, c.rev, c.at.Now); c.rev != nil {
			if t := c.in.Pick(c.at.Now); t != nil && !t.By(c.q.Operation).Due(c.at.Now) && !g.replica.TokenEnded(t, c.at) {
				c.joined = false
				grant, err := g.serve(c, c.in.ServedBy(t))
				if failed != nil {
					v := grant.Verdict()
					v.Detail += "; " + failed.Verdict.Detail
					grant.verdict = &v
				}
				return grant, err, true
			}
		}
		if failed == nil {
			c.away = res.err
			grant, err := g.refuse(c, storeAway)
			return grant, err, true
		}
		g.counters.answered(ReasonRequestFailed)
		return Grant{}, res.err, true
	case leader && !res.token.isZero():
		in := g.inputs.newest(c.q, c.at.Now)
		if rec := in.Doc.Tokens[res.token.ID()]; rec == nil || !in.Usable(rec, c.at.Now) || g.replica.TokenEnded(rec, c.at) || rec.By(c.q.Operation).Due(c.at.Now) {
			return Grant{}, nil, false // this process was stopped until the token had ended; or it needs the turn to try its account
		}
		if res.renewal {
			g.counters.answered(ReasonRenewed)
			return granted(res.token, SourceRenewal, renewed(in, res.token.ID(), c.at)), nil, true
		}
		g.counters.answered(ReasonAcquired)
		return granted(res.token, SourceRequest, acquired(in, res.token.ID(), c.at)), nil, true
	}
	return Grant{}, nil, false
}

// storeAway is the decision of a call that the store keeps from being decided.
var storeAway = decide.Decision{Step: decide.StepStore, Answer: decide.AnswerRefuse, Reason: decide.ReasonStoreUnavailable, Until: timeline.Never}

func (g *Guard) isClosed() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}
