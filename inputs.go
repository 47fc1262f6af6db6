package tokenguard

import (
	"sync/atomic"

	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// inputs makes what decisions look at.
type inputs struct {
	policy   *ledger.Policy
	replica  *replica.Replica
	personal *personal    // nil: there is none
	waiting  atomic.Int64 // callers that wait for an acquisition
}

// on is what a decision about q looks at, on a revision; nil: none is known.
func (i *inputs) on(q *decide.Request, rev *replica.Revision, now timeline.Instant) *decide.Input {
	if rev == nil {
		return &decide.Input{Doc: ledger.New(), Policy: i.policy, Request: q}
	}
	in := &decide.Input{Doc: rev.Doc, Request: q, Unreadable: rev.Unreadable, Waiters: int(i.waiting.Load())}
	limit(in, i.replica.LimitsAt(now))
	if r := rev.Doc.Newest(q.Scope); r != nil && r.By(q.Operation).Suspects(now) {
		in.Pending = i.replica.Pending(r.ID)
	}
	return in
}

// newest is what a decision about q looks at, on the newest revision that this process knows.
func (i *inputs) newest(q *decide.Request, now timeline.Instant) *decide.Input {
	return i.on(q, i.replica.Newest(), now)
}

// onDraft is what a decision about q looks at, on a draft. It is pure.
func onDraft(d *replica.Draft, q *decide.Request) *decide.Input {
	in := &decide.Input{Doc: d.Doc, Request: q, Unreadable: d.Unreadable}
	limit(in, d.Limits)
	return in
}

// limit sets the policy that holds.
func limit(in *decide.Input, l replica.Limits) {
	in.Policy, in.Full, in.FullFrom = l.Policy, l.Full, l.FullFrom
}

// entry is what a plain request of the scope gets without a question; nil: it has to ask. c.mu of the cache is held.
func (i *inputs) entry(t *table, scope string, now timeline.Instant) *entry {
	q := &decide.Request{Kind: ledger.Anonymous, Scope: scope}
	until := timeline.Never
	if i.personal != nil {
		pv, due := i.personal.view(t.rev.Doc, scope, now)
		if due || pv.Usable {
			return nil
		}
		if pv.Again > now {
			until = pv.Again
		}
		q.Personal = pv
	}
	in := i.on(q, t.rev, now)
	rec := in.Pick(now)
	if rec == nil || rec.By("").Due(now) {
		return nil
	}
	use := t.uses[rec.ID]
	token, _ := tokenIn(t.rev, rec.ID, scope)
	if until = min(until, in.HitUntil(rec, now)); until <= now || use.foreign.Load() {
		return nil
	}
	return &entry{scope: scope, until: until, use: use, barred: in.Differs(now), sort: counts.Cached,
		grant: granted(token, SourceCache, verdictOf(in, in.ServedBy(rec), t.rev.At, 0))}
}

// personalEntry is the personal token, for the scopes that it is good for; nil: it is not usable without a question.
func (i *inputs) personalEntry(t *table, now timeline.Instant) *entry {
	if i.personal == nil {
		return nil
	}
	token := i.personal.current()
	pv, due := i.personal.view(t.rev.Doc, ledger.ScopeKey(token.Scope()), now)
	if due || !pv.Usable || pv.Due || pv.ID != token.ID() { // replaced in between: the call that fetched it publishes again
		return nil
	}
	in := i.on(&decide.Request{Kind: ledger.Anonymous, Scope: ledger.ScopeKey(token.Scope()), Personal: pv}, t.rev, now)
	return &entry{scope: token.Scope(), until: pv.Until, use: new(lastUse), sort: counts.Personal,
		grant: granted(token, SourcePersonal, verdictOf(in, in.Decide(now), t.rev.At, 0))}
}
