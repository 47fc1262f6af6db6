package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 0. What a request or an outcome reports about a token.

// Report is a Failure or an Outcome, prepared: the class is decided, the instants are on the meter.
type Report struct {
	Class     string // "": a success, or nothing was reported
	At        timeline.Instant
	Failing   string           // ID of the token
	Operation string           // masked caller
	Began     timeline.Instant // of a success: when the call began
	Status    int
	Text      string           // masked
	Until     timeline.Instant // Retry-After, or when the upstream says that the quota is full again; 0: not stated
	None      bool             // the upstream states that nothing remains
	// PeriodEnds is when the quota is full again by the calendar of the settings; 0: it is not by one.
	PeriodEnds timeline.Instant
	Hints      classify.Hints
}

// RatePause is the stretch in which a rate_limited wants nothing to be fetched.
func (p *Report) RatePause() Pause {
	if p.Class != classify.RateLimited {
		return Pause{}
	}
	until := p.Until
	if until == 0 {
		until = p.At.Plus(cmp.Or(min(p.Hints.Default, maxAssumedPause), defaultPause))
	}
	return Pause{From: p.At, Until: min(until, p.At.Plus(MaxRetryAfter))}
}

// Spreading is how long after its acquisition a token may be unknown to parts of the upstream.
const Spreading = 10 * time.Second

// apply takes a report about a token in. It reports whether anything changed that a decision looks at; how often the
// token was used is counted elsewhere.
func (d *Document) apply(policy *Policy, p *Report, scope string, now timeline.Instant) (changed bool) {
	changed = d.heardPause(p, scope, now)
	r := d.Tokens[p.Failing]
	if r == nil {
		return changed
	}
	if r.Kind == Anonymous {
		if p.Class == classify.QuotaExhausted { // a quota is the account's, whichever of its values met it
			r = d.Current(r)
		}
		return d.hear(policy, d.Edit(r), p) || changed
	}
	r = d.Edit(r)
	switch p.Class {
	case "":
		opens := policy.opensPeriod(r, p.Began)
		if opens {
			r.First = p.Began
		}
		return d.succeeded(r, p) || opens || changed
	case classify.AuthInvalid:
		return d.reject(r, p) || changed
	case classify.QuotaExhausted:
		return d.suspect(policy, r, p) || changed
	}
	return changed
}

// succeeded clears a suspicion that is older than the success.
func (d *Document) succeeded(r *Token, p *Report) (changed bool) {
	at := p.At
	changed = r.personalTried(p.Began) || !r.Succeeded
	r.Succeeded = true
	if r.Suspect != 0 && r.Spent == 0 && at >= r.Suspect {
		r.Suspect, r.Reset = 0, 0
		changed = true
	}
	return changed
}

// reject marks the personal token as refused.
func (d *Document) reject(r *Token, p *Report) bool {
	again := r.Kind == Personal && p.At >= r.Rejected.Plus(PersonalAgain)
	if r.Rejected != 0 && !again || p.At < r.Acquired.Plus(Spreading) {
		return false
	}
	r.Rejected = p.At
	return true
}

// suspect marks what a refusal of the personal token for quota says: a first one raises a suspicion; a later one, or the
// upstream's own word that nothing remains, confirms it.
func (d *Document) suspect(policy *Policy, r *Token, p *Report) (changed bool) {
	if r.IsClean(p.At) && !r.Assumed { // what was known was about the time before the reset
		r.Suspect, r.Spent, r.Reset = 0, 0, 0
		changed = true
	}
	if r.Rejected != 0 || r.Suspect == 0 && p.At <= r.Heard { // heard before, and cleared since
		return changed
	}
	if r.Suspect == 0 {
		r.Suspect, changed = p.At, true
	}
	r.Heard = max(r.Heard, p.At)
	if p.Until > p.At && (p.Until != r.Reset || r.Assumed) {
		r.setQuota(Evidence{Reset: p.Until})
		changed = true
	}
	if e := r.quota(); e.Spent && e.Assumed {
		changed = e.refusedAgain(policy, r, p) || changed
		r.setQuota(e)
		return changed
	}
	if r.Spent == 0 && (p.None || p.At >= r.Suspect.Plus(policy.Manager.Confirmation)) {
		r.Spent, changed = p.At, true
		if e := r.quota(); e.Reset == 0 && e.assumeReset(policy, r, p) {
			r.setQuota(e)
		}
		if r.Kind == Personal && r.Reset == 0 {
			r.Reset = p.At.Plus(PersonalAgain)
		}
		d.recordLifetime(r)
	}
	return changed
}

// ClearSuspicion drops what was reported of the token's quota.
func (r *Token) ClearSuspicion() {
	r.Suspect, r.Spent = 0, 0
	r.setQuota(Evidence{})
	for i := range r.Evidence {
		r.Evidence[i].clearQuota()
	}
}

// doubted reports whether something was reported of the token's quota.
func (r *Token) doubted() bool {
	return r.Suspect != 0 || r.Spent != 0 || slices.ContainsFunc(r.Evidence, func(e Evidence) bool { return e.Quota != 0 })
}

// recordLifetime teaches the history how many uses the token lasted, once.
func (d *Document) recordLifetime(r *Token) {
	if r.Kind == Anonymous && !r.Ended {
		d.History.TokenEnded(r.Usage)
		r.Ended = true
	}
}

// Report applies what a request or outcome reports; p is the personal token's record if it speaks of that one.
func (d *Document) Report(policy *Policy, p *Report, scope string, own *Token, now timeline.Instant) bool {
	if own != nil && d.Tokens[own.ID] == nil {
		d.Tokens[own.ID] = own
	}
	return d.apply(policy, p, scope, now)
}

// WouldChange applies the report to copies of what it touches.
func (d *Document) WouldChange(policy *Policy, p *Report, scope string, own *Token, now timeline.Instant) bool {
	switch p.Class {
	case classify.QuotaExhausted, classify.AuthInvalid, classify.RateLimited, "":
	default:
		return false
	}
	if r := d.Tokens[p.Failing]; p.Class == "" && r != nil && r.Kind == Anonymous {
		return d.successTells(r, p.Operation, p.Began) || policy.opensPeriod(r, p.Began) // what nearly all calls report is asked without a copy
	}
	probe := New()
	touched := []string{scope}
	if r := d.Tokens[p.Failing]; r != nil {
		copied := *r
		copied.Evidence = slices.Clone(r.Evidence)
		probe.Tokens[p.Failing] = &copied
		probe.Attempts = slices.Clone(d.Attempts)
		touched = slices.AppendSeq(touched, r.scopes)
	}
	for _, scope := range touched {
		if k := d.Scopes[scope]; k != nil {
			probe.Scopes[scope] = k.clone()
		}
	}
	if own != nil {
		copied := *own
		own = &copied
	}
	return probe.Report(policy, p, scope, own, now)
}

// Pending is what was reported of a token and waits for a commit.
type Pending struct {
	Usage     predict.Usage
	Successes Successes
}

// CountUses applies outcomes that waited: the history forecasts and scores each before it learns from it. It
// reports whether a decision may be another one now.
func (d *Document) CountUses(batch map[string]Pending) (changed bool) {
	for id, p := range batch {
		r := d.Tokens[id]
		if r == nil {
			continue
		}
		d.History.Learn(&d.Edit(d.Current(r)).Usage, p.Usage)
		r = d.Edit(d.Tokens[id])
		for operation, s := range p.Successes {
			changed = d.heardSuccess(r, operation, s.Began, s.Uses) || changed
		}
	}
	return changed
}
