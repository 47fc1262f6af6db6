package decide

import (
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 2. A usable token answers.

// Usable reports whether the token may go to somebody at t.
func (in *Input) Usable(r *ledger.Token, t timeline.Instant) bool {
	_, ends := in.Policy.Expiry(r)
	return r.Rejected == 0 && !r.IsSpent(t) && t < ends && in.Readable(r)
}

// reportedDead reports whether this caller says that the token is dead. A refusal for quota speaks of the time before the
// reset that was stated with it.
func (in *Input) reportedDead(id string, reset, t timeline.Instant) bool {
	if in.Request.Failing != id || id == "" {
		return false
	}
	switch in.Request.Class {
	case classify.AuthInvalid:
		return true
	case classify.QuotaExhausted:
		return reset == 0 || t < reset || in.Request.At >= reset
	}
	return false
}

// servesPersonal reports whether this caller gets the personal token. What failed before it was fetched says nothing of it.
func (in *Input) servesPersonal(t timeline.Instant) bool {
	p := &in.Request.Personal
	return p.Usable && !in.paused(t) && (in.Request.At < p.Taken || !in.reportedDead(p.ID, p.Reset, t))
}

// paused reports whether this caller was told by the upstream to wait. It gets nothing until then.
func (in *Input) paused(t timeline.Instant) bool {
	return in.Request.Class == classify.RateLimited && t < in.Doc.Scope(in.Request.Scope).Pause.Until
}

// Pick picks the token for this caller: the one it uses already, else one without a suspicion, else the newest.
func (in *Input) Pick(t timeline.Instant) *ledger.Token {
	if in.Request.Kind != ledger.Anonymous || in.paused(t) {
		return nil
	}
	var best *ledger.Token
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
		if !in.Usable(r, t) || in.reportedDead(r.ID, r.Reset, t) {
			continue
		}
		if r.ID == in.Request.Failing {
			return r
		}
		if best == nil || best.IsSuspect(t) && !r.IsSuspect(t) {
			best = r
		}
	}
	return best
}

// nextUsable is the first instant after t at which a token that is known becomes usable for this caller.
func (in *Input) nextUsable(t timeline.Instant) timeline.Instant {
	next := timeline.Never
	consider := func(at timeline.Instant) {
		if at > t && at < next {
			next = at
		}
	}
	pause := in.Doc.Scope(in.Request.Scope).Pause.Until
	for _, at := range [...]timeline.Instant{in.Request.Personal.Reset, pause} {
		if in.servesPersonal(at) {
			consider(at)
		}
	}
	if again := in.Request.Personal.Again; again != 0 && in.paused(again) { // it is fetched again once the pause is over, too
		consider(pause)
	} else {
		consider(again)
	}
	if in.Request.Kind != ledger.Anonymous {
		return next
	}
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
		for _, at := range [...]timeline.Instant{r.Reset, pause} {
			if at > t && at != timeline.Never && in.Usable(r, at) && !in.reportedDead(r.ID, r.Reset, at) && !in.paused(at) {
				consider(at)
			}
		}
	}
	return next
}
