package decide

import (
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 2. A usable token answers.

// Usable reports whether the token could go to somebody at t: it has not ended, and this process can read it. What the
// operations say of it is another matter, see suits.
func (in *Input) Usable(r *ledger.Token, t timeline.Instant) bool {
	_, ends := in.Policy.Expiry(r)
	return r.Rejected == 0 && !r.IsSpent(t) && t < ends && in.Readable(r)
}

// reportedDead reports whether this request says that the token is dead. A refusal in the first seconds speaks of those
// alone, any other for auth of a minute: after that the evidence decides. A refusal for quota speaks of the time before
// the reset that was stated with it.
func (in *Input) reportedDead(r *ledger.Token, t timeline.Instant) bool {
	if in.Request.Failing != r.ID || r.ID == "" {
		return false
	}
	switch in.Request.Class {
	case classify.AuthInvalid:
		if spread := r.Acquired.Plus(ledger.Spreading); in.Request.At < spread {
			return t < spread
		}
		return t < in.Request.At.Plus(retryAfterAuth)
	case classify.QuotaExhausted:
		reset := r.Reset
		if e := r.By(in.Request.Operation); e != nil {
			reset = e.Reset
		}
		if reset == 0 && in.Request.Operation != "" {
			return t < in.triedAgain(r)
		}
		return reset == 0 || t < reset || in.Request.At >= reset
	}
	return false
}

// triedAgain is when a token that this request reports as out of quota is tried once more: when it could be replaced but
// for a second refusal, which confirms the first.
func (in *Input) triedAgain(r *ledger.Token) timeline.Instant {
	m := in.Policy.Manager
	at := in.Request.At.Plus(m.Confirmation)
	if !m.ReplaceSpentEarly {
		at = max(at, r.Acquired.Plus(m.MinTokenAge))
	}
	if last := in.Doc.Scope(in.Request.Scope).LastStart; last != 0 {
		at = max(at, last.Plus(m.RecentWindow))
	}
	return at
}

// servesPersonal reports whether this caller gets the personal token. What failed before it was fetched says nothing of it.
func (in *Input) servesPersonal(t timeline.Instant) bool {
	p := &in.Request.Personal
	return p.Usable && !in.paused(t) && (in.Request.At < p.Taken || !in.personalDead(t))
}

// personalDead reports whether this request says that the personal token is dead.
func (in *Input) personalDead(t timeline.Instant) bool {
	p := &in.Request.Personal
	if in.Request.Failing != p.ID || p.ID == "" {
		return false
	}
	switch in.Request.Class {
	case classify.AuthInvalid:
		return true
	case classify.QuotaExhausted:
		return p.Reset == 0 || t < p.Reset || in.Request.At >= p.Reset
	}
	return false
}

// pausedUntil is when the pauses end that hold for this caller: its own in full, those of others for a while.
func (in *Input) pausedUntil() timeline.Instant {
	k := in.Doc.Scope(in.Request.Scope)
	return max(k.Pause.Until, k.PauseOf(in.Request.Operation).Until)
}

// paused reports whether this caller was told by the upstream to wait. It gets nothing until then.
func (in *Input) paused(t timeline.Instant) bool {
	return in.Request.Class == classify.RateLimited && t < in.pausedUntil()
}

// Pick picks the token for this caller: the one it uses already, else the one that suits its operation best, the newest
// of those.
func (in *Input) Pick(t timeline.Instant) *ledger.Token {
	if in.Request.Kind != ledger.Anonymous || in.paused(t) {
		return nil
	}
	var best *ledger.Token
	rank := unsuitable
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		of := in.suits(r, t)
		if of == unsuitable || in.reportedDead(r, t) {
			continue
		}
		if r.ID == in.Request.Failing {
			return r
		}
		if of < rank {
			best, rank = r, of
		}
	}
	return best
}

// nextUsable is the first instant after t at which a known token becomes usable for this caller.
func (in *Input) nextUsable(t timeline.Instant) timeline.Instant {
	next := timeline.Never
	consider := func(at timeline.Instant) {
		if at > t && at < next {
			next = at
		}
	}
	pause := in.pausedUntil()
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
	in.turns(func(at timeline.Instant) {
		if at > t && at < next && (in.Pick(at) != nil || in.lastResort(at) != nil || in.Renewal(at).Answer == AnswerRenew) {
			next = at
		}
	})
	return next
}
