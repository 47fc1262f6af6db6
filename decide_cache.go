package tokenguard

import "github.com/tokenguard/tokenguard/internal/classify"

// Step 2. A usable token answers.

// serves reports whether the token may go to somebody at t.
func (v *view) serves(r *record, t instant) bool {
	_, ends := v.policy.expiry(r)
	return r.Rejected == 0 && !r.spent(t) && t < ends && v.readable(r)
}

// dead reports whether this caller says that the token is dead. A refusal for quota speaks of the time before the
// reset that was stated with it.
func (v *view) dead(id string, reset, t instant) bool {
	if v.q.failing != id || id == "" {
		return false
	}
	switch v.q.class {
	case classify.AuthInvalid:
		return true
	case classify.QuotaExhausted:
		return reset == 0 || t < reset || v.q.at >= reset
	}
	return false
}

// personal reports whether this caller gets the personal token. What failed before it was fetched says nothing of it.
func (v *view) personal(t instant) bool {
	p := &v.q.personal
	return p.usable && !v.paused(t) && (v.q.at < p.taken || !v.dead(p.id, p.reset, t))
}

// paused reports whether this caller was told by the upstream to wait. It gets nothing until then.
func (v *view) paused(t instant) bool {
	return v.q.class == classify.RateLimited && t < v.doc.key(v.q.scope).Pause.Until
}

// cached picks the token for this caller: the one it uses already, else one without a suspicion, else the newest.
func (v *view) cached(t instant) *record {
	if v.q.kind != anonymousKind || v.paused(t) {
		return nil
	}
	var best *record
	for _, r := range v.doc.byScope[v.q.scope] {
		if !v.serves(r, t) || v.dead(r.ID, r.Reset, t) {
			continue
		}
		if r.ID == v.q.failing {
			return r
		}
		if best == nil || best.suspect(t) && !r.suspect(t) {
			best = r
		}
	}
	return best
}

// nextUsable is the first instant after t at which a token that is known becomes usable for this caller.
func (v *view) nextUsable(t instant) instant {
	next := never
	consider := func(at instant) {
		if at > t && at < next {
			next = at
		}
	}
	pause := v.doc.key(v.q.scope).Pause.Until
	for _, at := range [...]instant{v.q.personal.reset, pause} {
		if v.personal(at) {
			consider(at)
		}
	}
	if again := v.q.personal.again; again != 0 && v.paused(again) { // it is fetched again once the pause is over, too
		consider(pause)
	} else {
		consider(again)
	}
	if v.q.kind != anonymousKind {
		return next
	}
	for _, r := range v.doc.byScope[v.q.scope] {
		for _, at := range [...]instant{r.Reset, pause} {
			if at > t && at != never && v.serves(r, at) && !v.dead(r.ID, r.Reset, at) && !v.paused(at) {
				consider(at)
			}
		}
	}
	return next
}
