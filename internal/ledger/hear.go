package ledger

// What a report about an anonymous token changes in the evidence of its operation.

import (
	"slices"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// hear applies a report about an anonymous token.
func (d *Document) hear(policy *Policy, r *Token, p *Report) (changed bool) {
	switch p.Class {
	case "":
		opens := policy.opensPeriod(r, p.Began)
		if opens {
			r.First = p.Began
		}
		return d.heardSuccess(r, p.Operation, p.Began, 0) || opens // its use is counted with those that wait
	case classify.AuthInvalid:
		return d.heardRefusal(policy, r, p)
	case classify.QuotaExhausted:
		return d.heardQuota(policy, r, p)
	}
	return false
}

// heardSuccess counts successes of an operation, the last of which began at this instant. It reports whether that changes
// more than counts.
func (d *Document) heardSuccess(r *Token, operation string, began timeline.Instant, uses int) (changed bool) {
	changed = d.successTells(r, operation, began)
	e := r.byFor(operation, began)
	e.Uses += uses
	r.Uses += uses
	e.Success = max(e.Success, began)
	e.clearRefusal(began)
	r.tried(began)
	r.Succeeded = true
	r.worked(operation)
	for scope := range r.scopes {
		d.scopeWorked(scope)
	}
	for i := range d.Attempts {
		if a := &d.Attempts[i]; a.contestedBy(r, operation, began) {
			a.Contested = true
		}
	}
	return changed
}

// successTells reports whether a success would change more than counts.
func (d *Document) successTells(r *Token, operation string, began timeline.Instant) bool {
	e := r.By(operation)
	if e == nil || e.Success == 0 || !r.Succeeded || r.Identity != nil && slices.Contains(r.Identity.Refused, operation) {
		return true
	}
	if after := *e; after.clearRefusal(began) {
		return true
	}
	for scope := range r.scopes {
		if !d.Scope(scope).Worked {
			return true
		}
	}
	return slices.ContainsFunc(d.Attempts, func(a Attempt) bool { return a.contestedBy(r, operation, began) })
}

// contestedBy reports whether a success with a token older than the start shows that not everybody needed it: another
// operation led to it on its own word.
func (a *Attempt) contestedBy(r *Token, operation string, began timeline.Instant) bool {
	return a.Solo && !a.Contested && a.Operation != operation && r.Serves(a.Scope) && r.Born() < a.Start && a.Start < began
}

// heardRefusal notes a refusal for auth.
func (d *Document) heardRefusal(policy *Policy, r *Token, p *Report) bool {
	early := p.At < r.Acquired.Plus(Spreading)
	if e := r.By(p.Operation); e != nil {
		switch {
		case early && e.Early, !early && e.Refused != 0 && p.At < e.RefusedLast.Plus(observation),
			p.At < e.Success, e.Refused == 0 && !e.Early && p.At <= e.Known:
			return false
		}
	}
	e := r.byFor(p.Operation, p.At)
	e.Known = max(e.Known, p.At)
	if early {
		e.Early = true
		return true
	}
	if e.Refused == 0 {
		e.Refused = p.At
		if p.At < policy.FreshUntil(r) && (r.Identity == nil || r.Identity.Renewals == 0) && r.FreshRefusals < 2 && !slices.Contains(r.FreshBy, p.Operation) {
			r.FreshRefusals++
			r.FreshBy = append(slices.Clip(r.FreshBy), p.Operation)
			r.FreshRefused = p.At
		}
	}
	e.RefusedLast = p.At
	e.Refusals++
	if d.refusedRenewed(policy, r, e, p.At); !r.Living(p.At) {
		d.recordLifetime(r)
	}
	return true
}

// heardQuota notes a refusal for quota. It is confirmed if the upstream states that nothing remains; if it comes at least
// Confirmation after the first refusal by any operation since which nobody had a success; if another operation was
// refused at least 30 s before and nobody had a success since; or if the token had as many uses as one of the last ones.
func (d *Document) heardQuota(policy *Policy, r *Token, p *Report) (changed bool) {
	e := r.By(p.Operation)
	if e != nil && (p.At < e.Success || e.Quota == 0 && p.At <= e.Known) {
		return false
	}
	e = r.byFor(p.Operation, p.At)
	e.Known = max(e.Known, p.At)
	if e.Reset != 0 && p.At >= e.Reset && !e.Assumed { // what was known was about the time before the reset
		e.clearQuota()
		e.Refusals, changed = 0, true
	}
	if e.Quota == 0 {
		e.Quota, changed = p.At, true
	}
	if p.At >= e.QuotaLast.Plus(observation) || e.QuotaLast == 0 {
		e.QuotaLast, changed = p.At, true
		e.Refusals++
	}
	if reset := min(p.Until, p.At.Plus(MaxRetryAfter)); reset > p.At && (reset > e.Reset || e.Assumed) {
		e.Reset, e.Assumed, e.Trying, e.Missed, changed = reset, false, 0, 0, true
	}
	switch {
	case e.Spent && e.Assumed:
		return e.refusedAgain(policy, r, p) || changed
	case e.Spent && e.Reset == 0:
		return e.assumeReset(policy, r, p) || changed
	case e.Spent:
		return changed
	}
	first, shared := e.Quota, false
	for i := range r.Evidence {
		x := &r.Evidence[i]
		if x.Quota == 0 || r.succeededSince(x.Quota, nil) {
			continue
		}
		first = min(first, x.Quota)
		shared = shared || x != e && x.Quota.Plus(corroboration) <= p.At
	}
	scope := d.ScopeFor(r.Scope)
	if p.None || shared || p.At >= first.Plus(policy.Manager.Confirmation) || r.Uses > 0 && slices.Contains(scope.Lives, r.Uses) {
		e.Spent, changed = true, true
		if e.Reset == 0 {
			e.assumeReset(policy, r, p)
		}
		if n := len(scope.Lives); r.Uses > 0 && (n == 0 || scope.Lives[n-1] != r.Uses) {
			scope.Lives = append(scope.Lives[max(0, n-maxLives+1):], r.Uses)
		}
		d.recordLifetime(r)
	}
	return changed
}
