package decide

import (
	"cmp"
	"slices"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Renewal. While the account behind a key's tokens can be renewed, its values come and go and nothing is acquired. A
// renewal has limits of its own and uses up none of the others.

// Identity is the newest record of the key whose identity can be renewed and is not spent for this operation, of those that
// this process can read if there is one; nil: there is none. Until a process that can renew has used the document, identities
// mean nothing.
func (in *Input) Identity(t timeline.Instant) *ledger.Token {
	newest, own := in.newest(t)
	return cmp.Or(own, newest)
}

// newest is the newest record of the key whose identity can be renewed and is not spent for this operation, and the newest of
// those that this process can read; nil: there is none.
func (in *Input) newest(t timeline.Instant) (newest, own *ledger.Token) {
	for r := range in.identities(t) {
		if newest = cmp.Or(newest, r); !in.Unreadable[r.ID] {
			return newest, r
		}
	}
	return newest, nil
}

// identities are the records of the key whose identities can be renewed and are not spent for this operation, the newest
// first.
func (in *Input) identities(t timeline.Instant) func(yield func(*ledger.Token) bool) {
	return func(yield func(*ledger.Token) bool) {
		if in.Request.Kind != ledger.Anonymous || !in.Policy.Renews && !in.Doc.Renewals.Known {
			return
		}
		for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
			if in.living(r, t) && !in.spentFor(r, t) && !yield(r) {
				return
			}
		}
	}
}

// living reports whether somebody can still renew the record's identity. What only a process that is gone could read cannot
// be; what this process merely cannot decrypt may be read elsewhere.
func (in *Input) living(r *ledger.Token, t timeline.Instant) bool {
	return r.Living(t) && r.HasSecret() && !(r.Private && in.Unreadable[r.ID])
}

// spentFor reports whether the account has no quota left for this operation, or for anybody: it is not renewed before its
// reset.
func (in *Input) spentFor(r *ledger.Token, t timeline.Instant) bool {
	e := r.By(in.Request.Operation)
	return r.IsSpent(t) || e.Suspects(t) && e.Spent
}

// DueAt is from when a token is to be replaced or renewed, at most when it counts as expired.
func (in *Input) DueAt(r *ledger.Token, t timeline.Instant) timeline.Instant {
	if !in.renews(r, t) {
		return in.Policy.RefreshAt(r)
	}
	counts, _ := in.Policy.Expiry(r)
	if !in.Policy.Renews || in.spentFor(r, t) {
		return counts
	}
	return min(counts, in.Policy.RenewAt(r))
}

// HitUntil is until when a token is handed out without a decision: past DueAt, until its renewal could be begun.
func (in *Input) HitUntil(r *ledger.Token, t timeline.Instant) timeline.Instant {
	due := in.DueAt(r, t)
	if t < due {
		return due
	}
	counts, _ := in.Policy.Expiry(r)
	if !in.renews(r, t) {
		return min(counts, max(due, in.Gate(t).Until)) // while the next is being acquired
	}
	if d := in.Renewal(t); d.Answer == AnswerWait || d.Answer == AnswerRefuse {
		return min(counts, d.Until)
	}
	return due
}

// renews reports whether the token is a value of an identity that somebody can renew.
func (in *Input) renews(r *ledger.Token, t timeline.Instant) bool {
	return (in.Policy.Renews || in.Doc.Renewals.Known) && in.living(r, t)
}

// Renewal says whether this call renews the key's identity, waits for the call that does, or is refused a new value;
// AnswerPass: the steps decide.
func (in *Input) Renewal(t timeline.Instant) Decision {
	newest, own := in.newest(t)
	r := cmp.Or(own, newest)
	if r == nil {
		return Decision{Step: StepRenewal, Answer: AnswerPass}
	}
	d := in.renewal(r, t)
	if d.Answer != AnswerPass {
		return d
	}
	if starts := in.startsAt(t); newest != r && t < starts { // the steps would judge by the newest, which somebody else can read
		return Decision{Step: StepRenewal, Answer: AnswerRefuse, Reason: ReasonRenewalElsewhere, Until: starts, TokenID: newest.ID, Since: newest.Identity.Renewed}
	}
	return d
}

// renewal is Renewal by the record's identity.
func (in *Input) renewal(r *ledger.Token, t timeline.Instant) Decision {
	pass := Decision{Step: StepRenewal, Answer: AnswerPass}
	i, op := r.Identity, in.Request.Operation
	e := r.By(op)
	refused := e != nil && e.Refused != 0
	if t < in.DueAt(r, t) && in.Usable(r, t) && !refused {
		return pass
	}
	out := Decision{Step: StepRenewal, TokenID: r.ID, Since: i.Renewed}
	refuse := func(reason Reason, until timeline.Instant) Decision {
		d := out
		d.Answer, d.Reason, d.Until = AnswerRefuse, reason, until
		return d
	}
	replace := in.startsAt(t)
	if refused && in.Usable(r, t) && slices.Contains(i.Refused, op) { // with the value before, too: another changes nothing
		d := refuse(ReasonForbidden, timeline.Never)
		d.operation, d.fineUntil, _ = in.othersFine(t)
		d.Since = r.Acquired
		return d
	}
	if l := &i.Lease; l.Holds(t) {
		d := out
		d.Answer, d.Reason, d.Since, d.Until, d.Owner = AnswerWait, ReasonJoined, l.Start, l.EndsAt(t), l.Owner
		if most := in.Policy.Dedup.MaxWaiters; in.Waiters >= most {
			d = refuse(ReasonTooManyWaiters, d.Until)
			d.Count, d.Limit = in.Waiters, most
		}
		return d
	}
	if !in.Policy.Renews || in.Unreadable[r.ID] {
		if t >= replace {
			return pass
		}
		return refuse(ReasonRenewalElsewhere, replace)
	}
	if bar := in.Barred(t); bar.Answer == AnswerRefuse { // rows 1 to 3 hold for renewals too
		return bar
	}
	if d := in.renewalLimit(r, t); d.Answer == AnswerRefuse {
		if t >= replace {
			return pass
		}
		d.Until = min(d.Until, replace)
		return d
	}
	if n, first := in.renewing(t); n >= in.Policy.Dedup.MaxConcurrent {
		d := out
		d.Answer, d.Reason, d.Until, d.Place, d.Count, d.Limit = AnswerWait, ReasonJoined, first, true, n, in.Policy.Dedup.MaxConcurrent
		return d
	}
	out.Answer, out.Reason = AnswerRenew, ReasonRenewed
	return out
}

// replaceAt is from when an identity that could not be renewed may be replaced: once, until a renewal succeeds again, and
// not in answer to a ban, whatever keeps its renewals from succeeding after that.
func (in *Input) replaceAt(r *ledger.Token, t timeline.Instant) timeline.Instant {
	if r.Identity.Replaced && !r.Identity.Banned {
		return 0
	}
	if r.Identity.Banned || in.Doc.Replaced(t) {
		return timeline.Never
	}
	ends := r.Identity.Since
	if r.ID != "" && (r.HasValue() || r.Identity.Renewals > 0 || r.Expiry != 0) {
		_, ends = in.Policy.Expiry(r)
	}
	return ends.Plus(in.Policy.Renewal.ReplaceAfter)
}

// startsAt is from when the key may start although identities of it live: each of them has to allow it, also one that is
// older than another which was replaced in its other scope.
func (in *Input) startsAt(t timeline.Instant) (at timeline.Instant) {
	for r := range in.identities(t) {
		at = max(at, in.replaceAt(r, t))
	}
	return at
}

// Replaces reports whether a start at t is one in place of an identity that cannot be renewed.
func (in *Input) Replaces(t timeline.Instant) bool {
	for r := range in.identities(t) {
		if !r.Identity.Replaced {
			return true
		}
	}
	return false
}

// renewing counts the renewals in progress, and says when the first of their leases ends.
func (in *Input) renewing(t timeline.Instant) (n int, first timeline.Instant) {
	first = timeline.Never
	for _, r := range in.Doc.Tokens {
		if i := r.Identity; i != nil && i.Lease.Holds(t) {
			n, first = n+1, min(first, i.Lease.EndsAt(t))
		}
	}
	return n, first
}

// renewalLimit names the closed limit on renewals that opens last.
func (in *Input) renewalLimit(r *ledger.Token, t timeline.Instant) Decision {
	i, limits := r.Identity, in.Policy.Renewal
	worst := Decision{Step: StepRenewal, Answer: AnswerPass}
	closed := func(d Decision) {
		if d.Until > t && d.Until > worst.Until {
			d.Step, d.Answer, d.TokenID = StepRenewal, AnswerRefuse, r.ID
			worst = d
		}
	}
	if i.Renewed != 0 {
		closed(Decision{Reason: ReasonRenewalLimit, Until: i.Renewed.Plus(limits.MinInterval), Since: i.Renewed, Window: limits.MinInterval})
	}
	starts := in.Doc.Renewals.Starts
	first := len(starts)
	for first > 0 && starts[first-1] > t-timeline.Instant(ledger.Hour) {
		first--
	}
	if n := len(starts) - first; n >= limits.MaxPerHour {
		closed(Decision{Reason: ReasonRenewalLimit, Until: starts[len(starts)-limits.MaxPerHour].Plus(ledger.Hour), Count: n, Limit: limits.MaxPerHour, Window: ledger.Hour})
	}
	if n, at := i.Failures(t); n > 0 {
		wait := ledger.Doubled(limits.BackoffBase, n, limits.MaxBackoff)
		closed(Decision{Reason: ReasonRenewalBackoff, Until: at.Plus(wait), Count: n, Since: at, Window: wait, Failure: &i.Last})
	}
	for _, p := range [...]ledger.Pause{i.Closed, in.Doc.Renewals.Pause} {
		closed(Decision{Reason: ReasonRenewalBackoff, Until: p.Until, Since: p.From, Window: p.Until.Sub(p.From), Failure: &i.Last})
	}
	return worst
}

// renewalTurns calls f with each instant at which what Renewal says may change.
func (in *Input) renewalTurns(f func(timeline.Instant), t timeline.Instant) {
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		i := r.Identity
		if i == nil {
			continue
		}
		f(i.Expiry)
		f(i.Lease.EndsAt(t))
		f(in.replaceAt(r, t))
		f(in.DueAt(r, t))
		if d := in.renewalLimit(r, t); d.Answer == AnswerRefuse {
			f(d.Until)
		}
	}
	if _, first := in.renewing(t); first != timeline.Never {
		f(first)
	}
	if until := in.Doc.ReplacingUntil(t); until != 0 { // of another scope, too
		f(until)
	}
}

// Account is what can be done with the identity of a record.
type Account struct {
	State    string           // living, renewing, failing, backing_off, closed, spent, expired or ended
	Since    timeline.Instant // of the state, where an event began it
	Next     timeline.Instant // from when the next call renews it; 0: no call does, as far as is known
	Failures int              // renewals that failed in a row
}

// Account says what can be done with the record's identity at t; the request is of its scope.
func (in *Input) Account(r *ledger.Token, t timeline.Instant) Account {
	i := r.Identity
	n, failed := i.Failures(t)
	out := Account{State: "living", Failures: n}
	limit := in.renewalLimit(r, t)
	counts, _ := in.Policy.Expiry(r)
	out.Next = max(t, min(counts, in.Policy.RenewAt(r)), limit.Until)
	switch {
	case i.Ended != 0:
		return Account{State: "ended", Since: i.Ended, Failures: n}
	case !r.Living(t):
		return Account{State: "expired", Since: i.Expiry, Failures: n}
	case i.Lease.Holds(t):
		out.State, out.Since, out.Next = "renewing", i.Lease.Start, 0
	case t < i.Closed.Until:
		out.State, out.Since = "closed", i.Closed.From
	case n > 0 && t < limit.Until:
		out.State, out.Since = "backing_off", failed
	case n > 0:
		out.State, out.Since = "failing", failed
	case in.TokenState(r, t) == "spent":
		since, reset := spentSince(r, t)
		out.State, out.Since, out.Next = "spent", since, 0
		if reset != 0 {
			out.Next = max(reset, limit.Until)
		}
	}
	if bar := in.Barred(t); bar.Answer == AnswerRefuse && out.Next != 0 {
		out.Next = max(out.Next, bar.Until)
	}
	if out.Next == timeline.Never || i.Expiry != 0 && out.Next >= i.Expiry {
		out.Next = 0
	}
	return out
}

// spentSince is when the quota of a spent token was first refused, and the reset that comes last of those that are known.
func spentSince(r *ledger.Token, t timeline.Instant) (since, reset timeline.Instant) {
	since, reset = r.Spent, r.Reset
	for i := range r.Evidence {
		e := &r.Evidence[i]
		if !e.Suspects(t) || !e.Spent {
			continue
		}
		if since == 0 || e.Quota < since {
			since = e.Quota
		}
		reset = max(reset, e.Reset)
	}
	return since, reset
}
