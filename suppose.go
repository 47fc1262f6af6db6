package tokenguard

import (
	"context"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
)

// Step 7 of a candidate: an acquisition that is only supposed.

// supposition is how a candidate's acquisition ends: as the last real one did.
type supposition struct {
	value    string        // stands for a token; empty: it fails
	lifetime time.Duration // 0: not stated
	failed   ledger.Streak
	pause    time.Duration // what is left of a Retry-After
}

func (c *candidate) supposition(scope string) (s supposition) {
	real := c.real.replica.Newest() // begin saw one
	d, now := real.Doc, c.real.meter.Read().Now
	if k := d.Scope(scope); k.Closed.Until > now {
		return supposition{failed: k.Last}
	}
	if d.Failures.Count > 0 {
		return supposition{failed: d.Failures, pause: max(d.Pause.Until.Sub(now), 0)}
	}
	like := d.Newest(scope)
	for _, rec := range d.Tokens { // else like the last one of another scope
		if like == nil || like.Scope != scope && rec.Kind == ledger.Anonymous && rec.Seq > like.Seq {
			like = rec
		}
	}
	if like == nil {
		return supposition{value: nameFor("")}
	}
	s.value = nameFor(like.ID)
	if like.Expiry != 0 {
		s.lifetime = like.Expiry.Sub(like.Acquired)
	}
	return s
}

// suppose is step 7 of a candidate: an acquisition that takes no time, charged and ended in one commit.
func (g *Guard) suppose(ctx context.Context, q *decide.Request) (grant Grant, err error, done bool) {
	s := g.supposed(q.Scope)
	var id string
	a, r, err := g.charge(ctx, q, func(draft *replica.Draft, a ledger.Attempt) {
		d, r := draft.Doc, draft.At
		l := &ledger.Completion{Attempt: a, End: r.Now, Failed: s.failed}
		l.Failed.ID, l.Failed.At = a.ID, r.Now
		if s.pause > 0 {
			l.Pause = ledger.Pause{From: r.Now, Until: r.Now.Plus(s.pause)}
		}
		if s.value != "" {
			name := s.value
			if d.Tokens[TokenID(name)] != nil { // the real one serves on
				name += " " + a.ID
			}
			t := NewToken(name, time.Time{})
			id = t.ID()
			l.Token = &ledger.Token{ID: id, Kind: ledger.Anonymous, Scope: q.Scope, Acquired: r.Now, Seq: a.Seq, Used: r.Now}
			if s.lifetime > 0 {
				l.Token.Expiry = r.Now.Plus(s.lifetime)
			}
			g.keeper.Seal(l.Token, t.hidden())
		}
		d.Complete(g.opt.policy, l)
	})
	switch {
	case err != nil:
		grant, err = g.refuseStore(q, r, err)
		return grant, err, true
	case a.ID == "":
		return Grant{}, nil, false
	}
	g.tally.own.Add(1)
	v, _ := g.viewOf(q, r.Now)
	if s.value == "" {
		g.tally.answered(ReasonRequestFailed)
		verdict := verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerFail, Reason: decide.ReasonRequestFailed, Failure: &s.failed}, r, v.RetryAt(r.Now))
		return Grant{}, &RequestError{Err: Failed(Failure{StatusCode: s.failed.Status, Message: s.failed.Message()}), Class: Class(s.failed.Class), RetryAt: verdict.RetryAt, Verdict: verdict}, true
	}
	g.tally.answered(ReasonAcquired)
	t, _ := g.known(id)
	return Grant{Token: t, Source: SourceRequest, Verdict: verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerServe, Reason: decide.ReasonAcquired, TokenID: id}, r, 0)}, nil, true
}
