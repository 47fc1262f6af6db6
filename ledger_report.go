package tokenguard

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/predict"
)

// Step 0. What a request or an outcome reports about a token.

// report is a Failure or an Outcome, prepared: the class is decided, the instants are on the meter.
type report struct {
	class   string // "": a success, or nothing was reported
	at      instant
	failing string // ID of the token
	status  int
	text    string  // masked
	until   instant // Retry-After, or when the upstream says that the quota is full again; 0: not stated
	none    bool    // the upstream states that nothing remains
	hints   classify.Hints
}

// pause is the stretch in which a rate_limited wants nothing to be fetched.
func (p *report) pause() pause {
	if p.class != classify.RateLimited {
		return pause{}
	}
	until := p.until
	if until == 0 {
		until = p.at.plus(defaultPause)
	}
	return pause{From: p.at, Until: min(until, p.at.plus(maxRetryAfter))}
}

// spreading is how long after its acquisition a token may be unknown to parts of the upstream.
const spreading = 10 * time.Second

// apply takes a report about a token in. It reports whether anything changed that a decision looks at; how often the
// token was used is counted elsewhere.
func (d *document) apply(policy *Policy, p *report, scope string, now instant) (changed bool) {
	if pause, known := p.pause(), d.key(scope).Pause; pause.Until > max(now, known.Until) && !known.cleared(pause.From, now) {
		d.keyFor(scope).Pause = pause
		changed = true
	}
	r := d.Tokens[p.failing]
	if r == nil {
		return changed
	}
	switch p.class {
	case "":
		return d.succeeded(r, p.at) || changed
	case classify.AuthInvalid:
		return d.reject(r, p) || changed
	case classify.QuotaExhausted:
		return d.suspect(policy, r, p) || changed
	}
	return changed
}

// succeeded clears a suspicion that is older than the success.
func (d *document) succeeded(r *record, at instant) (changed bool) {
	changed = !r.Succeeded
	r.Succeeded = true
	if r.Suspect != 0 && r.Spent == 0 && at >= r.Suspect {
		r.Suspect, r.Reset = 0, 0
		changed = true
	}
	return changed
}

// reject marks a token as dead for good. One that never worked counts as a failed acquisition.
func (d *document) reject(r *record, p *report) bool {
	again := r.Kind == personalKind && p.at >= r.Rejected.plus(personalAgain)
	if r.Rejected != 0 && !again || p.at < r.Acquired.plus(spreading) {
		return false
	}
	r.Rejected = p.at
	d.ended(r)
	if r.Kind == anonymousKind && !r.Succeeded {
		d.Failures = failures{Count: max(d.Failures.Count, r.Prior) + 1, At: max(d.Failures.At, p.at), Class: p.class, Status: p.status, Text: p.text}
	}
	return true
}

// suspect marks what a refusal for quota says: a first one raises a suspicion; a later one, or the upstream's own
// word that nothing remains, confirms it.
func (d *document) suspect(policy *Policy, r *record, p *report) (changed bool) {
	if r.clean(p.at) { // what was known was about the time before the reset
		r.Suspect, r.Spent, r.Reset = 0, 0, 0
		changed = true
	}
	if r.Rejected != 0 || r.Suspect == 0 && p.at <= r.Heard { // heard before, and cleared since
		return changed
	}
	if r.Suspect == 0 {
		r.Suspect, changed = p.at, true
	}
	r.Heard = max(r.Heard, p.at)
	if p.until > p.at && p.until != r.Reset {
		r.Reset, changed = p.until, true
	}
	if r.Spent == 0 && (p.none || p.at >= r.Suspect.plus(policy.Manager.Confirmation)) {
		r.Spent, changed = p.at, true
		if r.Kind == personalKind && r.Reset == 0 {
			r.Reset = p.at.plus(personalAgain)
		}
		d.ended(r)
	}
	return changed
}

// lift drops a suspicion that the predictor does not share.
func (r *record) lift() { r.Suspect, r.Spent, r.Reset = 0, 0, 0 }

// ended teaches the history how many uses the token lasted, once.
func (d *document) ended(r *record) {
	if r.Kind == anonymousKind && !r.Ended {
		d.History.TokenEnded(r.Usage)
		r.Ended = true
	}
}

// report takes in what a request or outcome reports; p is the personal token's record if it speaks of that one.
func (d *document) report(policy *Policy, p *report, scope string, own *record, now instant) bool {
	if own != nil && d.Tokens[own.ID] == nil {
		d.Tokens[own.ID] = own
	}
	return d.apply(policy, p, scope, now)
}

// wouldChange applies the report to copies of what it touches.
func (d *document) wouldChange(policy *Policy, p *report, scope string, own *record, now instant) bool {
	switch p.class {
	case classify.QuotaExhausted, classify.AuthInvalid, classify.RateLimited, "":
	default:
		return false
	}
	probe := newDocument()
	if k := d.Keys[scope]; k != nil {
		copied := *k
		probe.Keys[scope] = &copied
	}
	if r := d.Tokens[p.failing]; r != nil {
		copied := *r
		probe.Tokens[p.failing] = &copied
	}
	return probe.report(policy, p, scope, own, now)
}

// count takes a batch of outcomes in: the history forecasts and scores each before it learns from it.
func (d *document) count(batch map[string]predict.Usage) {
	for id, u := range batch {
		if r := d.Tokens[id]; r != nil {
			d.History.Learn(&r.Usage, u)
		}
	}
}
