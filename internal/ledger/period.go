package ledger

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// When a spent token is tried again whose reset the upstream did not state, but the settings do (the quota period). That
// it is full again then is only assumed: one call at a time tries it.

// TryEvery is how long a call that tries a spent token keeps the others from it, unless it reports how that ended.
const TryEvery = 60 * time.Second

// Due reports whether the operation's refusal for quota has an assumed reset that has come: a call that is handed the
// token tries it.
func (e *Evidence) Due(t timeline.Instant) bool {
	return e != nil && e.Assumed && e.Spent && t >= e.Reset
}

// quota is what is known of the quota of the personal token, which everybody has seen alike.
func (r *Token) quota() Evidence {
	return Evidence{Spent: r.Spent != 0, Reset: r.Reset, Assumed: r.Assumed, Trying: r.Trying, Missed: r.Missed}
}

func (r *Token) setQuota(e Evidence) {
	r.Reset, r.Assumed, r.Trying, r.Missed = e.Reset, e.Assumed, e.Trying, e.Missed
}

// Due is Evidence.Due of the personal token.
func (r *Token) Due(t timeline.Instant) bool {
	e := r.quota()
	return e.Due(t)
}

// Try enters that a call of the operation is handed the token to try it. It reports whether it may: no other has the turn.
func (d *Document) Try(id, operation string, now timeline.Instant) bool {
	r := d.Tokens[id]
	if r != nil && r.Kind == Personal && r.Due(now) {
		r = d.Edit(r)
		r.Trying, r.Reset = now, now.Plus(TryEvery)
		return true
	}
	if r == nil || !r.By(operation).Due(now) {
		return false
	}
	r = d.Edit(r)
	for i := range r.Evidence { // one call of them all: what it meets, the others would
		if e := &r.Evidence[i]; e.Due(now) {
			e.Trying, e.Reset = now, now.Plus(TryEvery)
		}
	}
	return true
}

// tried gives the turn to the others for whom the token is spent, once a call that began then has succeeded.
func (r *Token) tried(began timeline.Instant) {
	for i := range r.Evidence {
		if e := &r.Evidence[i]; e.Assumed && e.Trying != 0 && began >= e.Trying {
			e.Trying, e.Reset, e.Missed = 0, began, 0
		}
	}
}

// personalTried frees the personal token once a call that began when its quota should be full again has succeeded.
func (r *Token) personalTried(began timeline.Instant) (changed bool) {
	due := r.Reset
	if r.Trying != 0 {
		due = r.Trying
	}
	if !r.Assumed || began < due {
		return false
	}
	r.Suspect, r.Spent = 0, 0
	r.setQuota(Evidence{})
	return true
}

// assumeReset fixes the reset of a refusal that has just become, or is, confirmed and states none.
func (e *Evidence) assumeReset(policy *Policy, r *Token, p *Report) (changed bool) {
	reset := p.PeriodEnds
	if length := policy.Manager.RollingQuota; length > 0 {
		reset = p.At.Plus(length)
		if r.First != 0 && p.At < r.First.Plus(length) {
			reset = r.First.Plus(length)
		}
	}
	if reset <= p.At {
		return false
	}
	e.Reset, e.Assumed, e.Trying, e.Missed = reset, true, 0, 0
	return true
}

// refusedAgain notes a refusal that came after an assumed reset, which was then none, or came later than assumed: clocks
// differ. It is tried once more after Confirmation, and then waits for the next period.
func (e *Evidence) refusedAgain(policy *Policy, r *Token, p *Report) (changed bool) {
	due := e.Reset
	if e.Trying != 0 {
		due = e.Trying
	}
	if p.At < due { // of the time before
		return false
	}
	if e.Missed++; p.None || e.Missed > 1 {
		if e.assumeReset(policy, r, p) {
			return true
		}
	}
	e.Trying, e.Reset = 0, p.At.Plus(max(policy.Manager.Confirmation, observation))
	return true
}

// opensPeriod reports whether a success that began then is the first of a rolling period.
func (p *Policy) opensPeriod(r *Token, began timeline.Instant) bool {
	length := p.Manager.RollingQuota
	return length > 0 && (r.First == 0 || began >= r.First.Plus(length))
}
