package tokenguard

import (
	"context"
	"time"
)

// Step 7 of a candidate: an acquisition that is only supposed.

// supposition is how a candidate's acquisition ends: as the last real one did.
type supposition struct {
	value    string        // stands for a token; empty: it fails
	lifetime time.Duration // 0: not stated
	failed   failures
	pause    time.Duration // what is left of a Retry-After
}

func (c *candidate) supposition(scope string) (s supposition) {
	real := c.real.newest() // begin saw one
	d, now := real.doc, c.real.meter.read().now
	if k := d.key(scope); k.Closed.Until > now {
		return supposition{failed: k.Last}
	}
	if d.Failures.Count > 0 {
		return supposition{failed: d.Failures, pause: max(d.Pause.Until.sub(now), 0)}
	}
	like := d.newest(scope)
	for _, rec := range d.Tokens { // else like the last one of another scope
		if like == nil || like.Scope != scope && rec.Kind == anonymousKind && rec.Seq > like.Seq {
			like = rec
		}
	}
	if like == nil {
		return supposition{value: nameFor("")}
	}
	s.value = nameFor(like.ID)
	if like.Expiry != 0 {
		s.lifetime = like.Expiry.sub(like.Acquired)
	}
	return s
}

// suppose is step 7 of a candidate: an acquisition that takes no time, charged and ended in one commit.
func (g *Guard) suppose(ctx context.Context, q *query) (grant Grant, err error, done bool) {
	s := g.supposed(q.scope)
	var id string
	a, r, err := g.charge(ctx, q, func(d *document, a attempt, r reading) {
		l := &landing{attempt: a, end: r.now, failed: s.failed}
		l.failed.ID, l.failed.At = a.ID, r.now
		if s.pause > 0 {
			l.pause = pause{From: r.now, Until: r.now.plus(s.pause)}
		}
		if s.value != "" {
			name := s.value
			if d.Tokens[TokenID(name)] != nil { // the real one serves on
				name += " " + a.ID
			}
			t := NewToken(name, time.Time{})
			id = t.ID()
			l.token = &record{ID: id, Kind: anonymousKind, Scope: q.scope, Acquired: r.now, Seq: a.Seq, Used: r.now}
			if s.lifetime > 0 {
				l.token.Expiry = r.now.plus(s.lifetime)
			}
			g.vault.store(g.opt.name, l.token, t)
		}
		d.land(g.opt.policy, l)
	})
	switch {
	case err != nil:
		grant, err = g.refuseStore(q, r, err)
		return grant, err, true
	case a.ID == "":
		return Grant{}, nil, false
	}
	g.tally.own.Add(1)
	v, _ := g.viewOf(q)
	if s.value == "" {
		g.tally.answered(ReasonRequestFailed)
		verdict := verdictOf(v, ruling{step: dStepRequest, answer: dAnswerFail, reason: dReasonRequestFailed, failure: &s.failed}, r, v.retryAt(r.now))
		return Grant{}, &RequestError{Err: Failed(Failure{StatusCode: s.failed.Status, Message: s.failed.said()}), Class: Class(s.failed.Class), RetryAt: verdict.RetryAt, Verdict: verdict}, true
	}
	g.tally.answered(ReasonAcquired)
	t, _ := g.known(id)
	return Grant{Token: t, Source: SourceRequest, Verdict: verdictOf(v, ruling{step: dStepRequest, answer: dAnswerServe, reason: dReasonAcquired, tokenID: id}, r, 0)}, nil, true
}
