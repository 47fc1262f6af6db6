package tokenguard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
)

// What the doors in tokenguard.go share: views on the newest state, and answers.

func newOwner() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (g *Guard) attemptID() string {
	return g.owner + "-" + strconv.FormatUint(g.starts.Add(1), 36)
}

func (g *Guard) isClosed() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// enter counts an acquisition in, unless the guard is closed.
func (g *Guard) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.flights.Add(1)
	}
	return !g.closed
}

// viewFor is the view of this process on st, with the personal token fetched if it is due.
func (g *Guard) viewFor(ctx context.Context, q *query, st *state, r reading) (*view, error) {
	if st == nil {
		st = &state{doc: newDocument()}
	}
	if g.personal != nil {
		pv, due := g.personal.view(g.opt, st.doc, q.scope, r.now)
		if due {
			switch err := g.personal.refresh(ctx, pv.fetches, g.opt.timeout, g.meter.read, g.ended); {
			case err != nil && ctx.Err() != nil:
				return nil, ctx.Err()
			case g.isClosed():
				return nil, ErrClosed
			}
			pv, _ = g.personal.view(g.opt, st.doc, q.scope, g.meter.read().now)
			g.rebuild()
		}
		q.personal = pv
	}
	return g.viewOn(q, st), nil
}

// viewOn is a view on a state; what it can read was decided when the state was opened.
func (g *Guard) viewOn(q *query, st *state) *view {
	v := &view{doc: st.doc, q: q, unreadable: st.unreadable, waiters: int(g.waiting.Load())}
	g.policyNow(v, g.meter.read().now)
	if r := st.doc.newest(q.scope); r != nil && (r.Suspect != 0 || r.Spent != 0) {
		v.pending = g.waits(r.ID)
	}
	return v
}

// viewOf is a view on the newest state that this process knows; the state is nil if it knows none.
func (g *Guard) viewOf(q *query) (*view, *state) {
	st := g.newest()
	if st == nil {
		return &view{doc: newDocument(), policy: g.opt.policy, q: q}, nil
	}
	return g.viewOn(q, st), st
}

func (g *Guard) serve(v *view, rl ruling, r reading, st *state, joined bool) (grant Grant, event Event) {
	if rl.reason == dReasonPersonal {
		g.tally.answered(ReasonPersonal)
		g.hot.extend(g.shelf, st)
		return Grant{Token: g.personal.current(), Source: SourcePersonal, Verdict: verdictOf(v, rl, r, 0)}, event
	}
	grant = Grant{Token: st.tokens[rl.token.ID], Source: SourceCache}
	first := g.hot.use(rl.token.ID, r.now)
	if joined {
		rl.step, rl.reason = dStepGate, dReasonJoined
	}
	if first || joined {
		grant.Source = SourceShared
	}
	if first {
		g.rebuild() // from now on it is one of ours
	}
	grant.Verdict = verdictOf(v, rl, r, 0)
	g.tally.answered(Reason(rl.reason))
	g.hot.extend(g.shelf, st)
	if grant.Source == SourceShared || v.q.class != "" {
		event = Event{At: r.wall, Kind: EventServed, Scope: v.q.scope, Caller: v.q.caller, TokenID: rl.token.ID, Source: grant.Source, Verdict: grant.Verdict, Failing: v.q.failing, Text: v.q.text}
		g.tell(event)
	}
	return grant, event
}

// arrived hands out what a flight brought to the caller that started it, or to one that joined.
func (g *Guard) arrived(ctx context.Context, q *query, f flown, leader bool) (Grant, error, bool) {
	r := g.meter.read()
	if leader {
		g.tally.own.Add(1)
	}
	failed, _ := errors.AsType[*RequestError](f.err)
	switch {
	case f.err != nil && failed == nil && !leader && ctx.Err() != nil:
		return Grant{}, nil, false
	case f.err != nil:
		// A token that is in its last stretch is better than none.
		if v, st := g.viewOf(q); st != nil {
			if t := v.cached(r.now); t != nil {
				grant, _ := g.serve(v, v.servedBy(t), r, st, false)
				if failed != nil {
					grant.Verdict.Detail += "; " + failed.Verdict.Detail
				}
				return grant, nil, true
			}
		}
		if failed == nil {
			grant, err := g.refuseStore(q, r, f.err)
			return grant, err, true
		}
		g.tally.answered(ReasonRequestFailed)
		return Grant{}, f.err, true
	case leader && f.token.secret != nil:
		v, _ := g.viewOf(q)
		if rec := v.doc.Tokens[f.token.ID()]; rec == nil || !v.serves(rec, r.now) {
			return Grant{}, nil, false // this process was stopped until the token had ended
		}
		g.tally.answered(ReasonAcquired)
		return Grant{Token: f.token, Source: SourceRequest, Verdict: acquired(v, f.token.ID(), r)}, nil, true
	}
	return Grant{}, nil, false
}

func (g *Guard) refuse(v *view, rl ruling, r reading) (*RefusedError, Event) {
	err := &RefusedError{Verdict: verdictOf(v, rl, r, v.retryAt(r.now)), Cause: g.cause(v, rl, r)}
	return err, g.refused(v.q, r, err)
}

func (g *Guard) refused(q *query, r reading, err *RefusedError) Event {
	g.tally.answered(err.Verdict.Reason)
	e := Event{At: r.wall, Kind: EventRefused, Scope: q.scope, Caller: q.caller, TokenID: err.Verdict.Evidence.TokenID, Verdict: err.Verdict, Failing: q.failing, Text: q.text}
	g.tell(e)
	return e
}

func (g *Guard) storeVerdict(q *query, err error) Verdict {
	detail := "the state store does not answer"
	if err != nil {
		detail = mask(strings.TrimPrefix(err.Error(), "tokenguard: "))
	}
	return Verdict{Step: StepStore, Reason: ReasonStoreUnavailable, Answer: AnswerRefuse, Detail: detail, Class: Class(q.class)}
}

func (g *Guard) refuseStore(q *query, r reading, cause error) (Grant, error) {
	err := &RefusedError{Verdict: g.storeVerdict(q, cause), Cause: cause}
	g.refused(q, r, err)
	return Grant{}, err
}

func closedVerdict(q *query) Verdict {
	return Verdict{Step: StepStore, Reason: ReasonClosed, Answer: AnswerRefuse, Detail: "Close was called", Class: Class(q.class)}
}

func (g *Guard) refuseClosed(q *query) (Grant, error) {
	err := &RefusedError{Verdict: closedVerdict(q)}
	g.refused(q, g.meter.read(), err)
	return Grant{}, err
}

// left ends the call of a caller that does not wait any longer.
func (g *Guard) left(q *query, err error) (Grant, error) {
	if errors.Is(err, ErrClosed) {
		return g.refuseClosed(q)
	}
	g.tally.left.Add(1)
	return Grant{}, err
}
