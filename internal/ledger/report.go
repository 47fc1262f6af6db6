package ledger

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 0. What a request or an outcome reports about a token.

// Report is a Failure or an Outcome, prepared: the class is decided, the instants are on the meter.
type Report struct {
	Class   string // "": a success, or nothing was reported
	At      timeline.Instant
	Failing string // ID of the token
	Status  int
	Text    string           // masked
	Until   timeline.Instant // Retry-After, or when the upstream says that the quota is full again; 0: not stated
	None    bool             // the upstream states that nothing remains
	Hints   classify.Hints
}

// RatePause is the stretch in which a rate_limited wants nothing to be fetched.
func (p *Report) RatePause() Pause {
	if p.Class != classify.RateLimited {
		return Pause{}
	}
	until := p.Until
	if until == 0 {
		until = p.At.Plus(defaultPause)
	}
	return Pause{From: p.At, Until: min(until, p.At.Plus(MaxRetryAfter))}
}

// Spreading is how long after its acquisition a token may be unknown to parts of the upstream.
const Spreading = 10 * time.Second

// apply takes a report about a token in. It reports whether anything changed that a decision looks at; how often the
// token was used is counted elsewhere.
func (d *Document) apply(policy *Policy, p *Report, scope string, now timeline.Instant) (changed bool) {
	if pause, known := p.RatePause(), d.Scope(scope).Pause; pause.Until > max(now, known.Until) && !known.cleared(pause.From, now) {
		d.ScopeFor(scope).Pause = pause
		changed = true
	}
	r := d.Tokens[p.Failing]
	if r == nil {
		return changed
	}
	switch p.Class {
	case "":
		return d.succeeded(r, p.At) || changed
	case classify.AuthInvalid:
		return d.reject(r, p) || changed
	case classify.QuotaExhausted:
		return d.suspect(policy, r, p) || changed
	}
	return changed
}

// succeeded clears a suspicion that is older than the success.
func (d *Document) succeeded(r *Token, at timeline.Instant) (changed bool) {
	changed = !r.Succeeded
	r.Succeeded = true
	if r.Suspect != 0 && r.Spent == 0 && at >= r.Suspect {
		r.Suspect, r.Reset = 0, 0
		changed = true
	}
	return changed
}

// reject marks a token as dead for good. One that never worked counts as a failed acquisition.
func (d *Document) reject(r *Token, p *Report) bool {
	again := r.Kind == Personal && p.At >= r.Rejected.Plus(PersonalAgain)
	if r.Rejected != 0 && !again || p.At < r.Acquired.Plus(Spreading) {
		return false
	}
	r.Rejected = p.At
	d.recordLifetime(r)
	if r.Kind == Anonymous && !r.Succeeded {
		d.Failures = Streak{Count: max(d.Failures.Count, r.Prior) + 1, At: max(d.Failures.At, p.At), Class: p.Class, Status: p.Status, Text: p.Text}
	}
	return true
}

// suspect marks what a refusal for quota says: a first one raises a suspicion; a later one, or the upstream's own
// word that nothing remains, confirms it.
func (d *Document) suspect(policy *Policy, r *Token, p *Report) (changed bool) {
	if r.IsClean(p.At) { // what was known was about the time before the reset
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
	if p.Until > p.At && p.Until != r.Reset {
		r.Reset, changed = p.Until, true
	}
	if r.Spent == 0 && (p.None || p.At >= r.Suspect.Plus(policy.Manager.Confirmation)) {
		r.Spent, changed = p.At, true
		if r.Kind == Personal && r.Reset == 0 {
			r.Reset = p.At.Plus(PersonalAgain)
		}
		d.recordLifetime(r)
	}
	return changed
}

// ClearSuspicion drops a suspicion that the predictor does not share.
func (r *Token) ClearSuspicion() { r.Suspect, r.Spent, r.Reset = 0, 0, 0 }

// recordLifetime teaches the history how many uses the token lasted, once.
func (d *Document) recordLifetime(r *Token) {
	if r.Kind == Anonymous && !r.Ended {
		d.History.TokenEnded(r.Usage)
		r.Ended = true
	}
}

// Report takes in what a request or outcome reports; p is the personal token's record if it speaks of that one.
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
	probe := New()
	if k := d.Scopes[scope]; k != nil {
		copied := *k
		probe.Scopes[scope] = &copied
	}
	if r := d.Tokens[p.Failing]; r != nil {
		copied := *r
		probe.Tokens[p.Failing] = &copied
	}
	if own != nil {
		copied := *own
		own = &copied
	}
	return probe.Report(policy, p, scope, own, now)
}

// CountUses takes a batch of outcomes in: the history forecasts and scores each before it learns from it.
func (d *Document) CountUses(batch map[string]predict.Usage) {
	for id, u := range batch {
		if r := d.Tokens[id]; r != nil {
			d.History.Learn(&r.Usage, u)
		}
	}
}
