package tokenguard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
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
func (g *Guard) viewFor(ctx context.Context, q *decide.Request, st *replica.Revision, r timeline.Reading) (*decide.Input, error) {
	if st == nil {
		st = &replica.Revision{Doc: ledger.New()}
	}
	if g.personal != nil {
		pv, due := g.personal.view(g.opt, st.Doc, q.Scope, r.Now)
		if due {
			switch err := g.personal.refresh(ctx, pv.Fetches, g.opt.timeout, g.meter.Read, g.ended); {
			case err != nil && ctx.Err() != nil:
				return nil, ctx.Err()
			case g.isClosed():
				return nil, ErrClosed
			}
			pv, _ = g.personal.view(g.opt, st.Doc, q.Scope, g.meter.Read().Now)
			g.rebuild()
		}
		q.Personal = pv
	}
	return g.viewOn(q, st, r.Now), nil
}

// viewOn is what a decision about q on a revision looks at.
func (g *Guard) viewOn(q *decide.Request, st *replica.Revision, now timeline.Instant) *decide.Input {
	v := &decide.Input{Doc: st.Doc, Request: q, Unreadable: st.Unreadable, Waiters: int(g.waiting.Load())}
	limit(v, g.replica.LimitsAt(now))
	if r := st.Doc.Newest(q.Scope); r != nil && (r.Suspect != 0 || r.Spent != 0) {
		v.Pending = g.replica.Pending(r.ID)
	}
	return v
}

// limit sets the policy that holds.
func limit(v *decide.Input, l replica.Limits) {
	v.Policy, v.Full, v.FullFrom = l.Policy, l.Full, l.FullFrom
}

// onDraft is what a decision about q on a draft looks at. It is pure.
func onDraft(d *replica.Draft, q *decide.Request) *decide.Input {
	v := &decide.Input{Doc: d.Doc, Request: q, Unreadable: d.Unreadable}
	limit(v, d.Limits)
	return v
}

// viewOf is a view on the newest revision that this process knows; the revision is nil if it knows none.
func (g *Guard) viewOf(q *decide.Request, now timeline.Instant) (*decide.Input, *replica.Revision) {
	st := g.replica.Newest()
	if st == nil {
		return &decide.Input{Doc: ledger.New(), Policy: g.opt.policy, Request: q}, nil
	}
	return g.viewOn(q, st, now), st
}

func (g *Guard) serve(v *decide.Input, rl decide.Decision, r timeline.Reading, st *replica.Revision, joined bool) (grant Grant, event Event) {
	if rl.Reason == decide.ReasonPersonal {
		g.tally.answered(ReasonPersonal)
		g.hot.extend(st, g.trustedUntil())
		return Grant{Token: g.personal.current(), Source: SourcePersonal, Verdict: verdictOf(v, rl, r, 0)}, event
	}
	grant = Grant{Source: SourceCache}
	grant.Token, _ = tokenIn(st, rl.Token.ID)
	first := g.hot.use(rl.Token.ID, r.Now)
	if joined {
		rl.Step, rl.Reason = decide.StepGate, decide.ReasonJoined
	}
	if first || joined {
		grant.Source = SourceShared
	}
	if first {
		g.rebuild() // from now on it is one of ours
	}
	grant.Verdict = verdictOf(v, rl, r, 0)
	g.tally.answered(Reason(rl.Reason))
	g.hot.extend(st, g.trustedUntil())
	if grant.Source == SourceShared || v.Request.Class != "" {
		event = Event{At: r.Wall, Kind: EventServed, Scope: v.Request.Scope, Caller: v.Request.Caller, TokenID: rl.Token.ID, Source: grant.Source, Verdict: grant.Verdict, Failing: v.Request.Failing, Text: v.Request.Text}
		g.tell(event)
	}
	return grant, event
}

// arrived hands out what a flight brought to the caller that started it, or to one that joined.
func (g *Guard) arrived(ctx context.Context, q *decide.Request, f flown, leader bool) (Grant, error, bool) {
	r := g.meter.Read()
	if leader {
		g.tally.own.Add(1)
	}
	failed, _ := errors.AsType[*RequestError](f.err)
	switch {
	case f.err != nil && failed == nil && !leader && ctx.Err() != nil:
		return Grant{}, nil, false
	case f.err != nil:
		// A token that is in its last stretch is better than none.
		if v, st := g.viewOf(q, r.Now); st != nil {
			if t := v.Pick(r.Now); t != nil {
				grant, _ := g.serve(v, v.ServedBy(t), r, st, false)
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
		v, _ := g.viewOf(q, r.Now)
		if rec := v.Doc.Tokens[f.token.ID()]; rec == nil || !v.Usable(rec, r.Now) {
			return Grant{}, nil, false // this process was stopped until the token had ended
		}
		g.tally.answered(ReasonAcquired)
		return Grant{Token: f.token, Source: SourceRequest, Verdict: acquired(v, f.token.ID(), r)}, nil, true
	}
	return Grant{}, nil, false
}

func (g *Guard) refuse(v *decide.Input, rl decide.Decision, r timeline.Reading) (*RefusedError, Event) {
	err := &RefusedError{Verdict: verdictOf(v, rl, r, v.RetryAt(r.Now)), Cause: g.cause(v, rl, r)}
	return err, g.refused(v.Request, r, err)
}

func (g *Guard) refused(q *decide.Request, r timeline.Reading, err *RefusedError) Event {
	g.tally.answered(err.Verdict.Reason)
	e := Event{At: r.Wall, Kind: EventRefused, Scope: q.Scope, Caller: q.Caller, TokenID: err.Verdict.Evidence.TokenID, Verdict: err.Verdict, Failing: q.Failing, Text: q.Text}
	g.tell(e)
	return e
}

func (g *Guard) storeVerdict(q *decide.Request, err error) Verdict {
	detail := "the state store does not answer"
	if err != nil {
		detail = mask(strings.TrimPrefix(err.Error(), "tokenguard: "))
	}
	return Verdict{Step: StepStore, Reason: ReasonStoreUnavailable, Answer: AnswerRefuse, Detail: detail, Class: Class(q.Class)}
}

func (g *Guard) refuseStore(q *decide.Request, r timeline.Reading, cause error) (Grant, error) {
	err := &RefusedError{Verdict: g.storeVerdict(q, cause), Cause: cause}
	g.refused(q, r, err)
	return Grant{}, err
}

func closedVerdict(q *decide.Request) Verdict {
	return Verdict{Step: StepStore, Reason: ReasonClosed, Answer: AnswerRefuse, Detail: "Close was called", Class: Class(q.Class)}
}

func (g *Guard) refuseClosed(q *decide.Request) (Grant, error) {
	err := &RefusedError{Verdict: closedVerdict(q)}
	g.refused(q, g.meter.Read(), err)
	return Grant{}, err
}

// left ends the call of a caller that does not wait any longer.
func (g *Guard) left(q *decide.Request, err error) (Grant, error) {
	if errors.Is(err, ErrClosed) {
		return g.refuseClosed(q)
	}
	g.tally.left.Add(1)
	return Grant{}, err
}
