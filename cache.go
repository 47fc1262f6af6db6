package tokenguard

import (
	"slices"
	"time"
)

// Step 2. A usable token answers.

// lastStretch is the most that a token counts as expired before a stated expiry, so that it does not die on its way.
const lastStretch = 10 * time.Second

// expiry returns when a token counts as expired, and when it really ends. They differ in the last stretch before a
// stated expiry, in which it still answers if nothing may be started.
func (o *options) expiry(r *record) (counts, ends instant) {
	ttl := r.Acquired.plus(o.Cache.TTL)
	if r.Expiry == 0 {
		return ttl, ttl
	}
	counts = r.Expiry - instant(min(lastStretch, max(r.Expiry.sub(r.Acquired)/10, 0)))
	if o.Cache.Strict && ttl < counts {
		return ttl, ttl
	}
	return counts, r.Expiry
}

// refreshAt is when one caller may go for a successor while the others keep the token.
func (o *options) refreshAt(r *record) instant {
	counts, _ := o.expiry(r)
	if o.refreshAhead == 0 {
		return counts
	}
	// A window longer than the lifetime would have every call refresh.
	return counts - instant(min(o.refreshAhead, counts.sub(r.Acquired)/2))
}

// A suspicion ends at the stated reset; what is rejected stays so.
func (r *record) clean(t instant) bool   { return r.Reset != 0 && t >= r.Reset }
func (r *record) suspect(t instant) bool { return r.Suspect != 0 && !r.clean(t) }
func (r *record) spent(t instant) bool   { return r.Spent != 0 && !r.clean(t) }

// serves reports whether the token may go to somebody at t.
func (v *view) serves(r *record, t instant) bool {
	_, ends := v.opt.expiry(r)
	return r.Rejected == 0 && !r.spent(t) && t < ends && v.readable(r)
}

// dead reports whether this caller says that the token is dead. A refusal for quota speaks of the time before the
// reset that was stated with it.
func (v *view) dead(id string, reset, t instant) bool {
	if v.q.failing != id || id == "" {
		return false
	}
	switch v.q.class {
	case ClassAuthInvalid:
		return true
	case ClassQuotaExhausted:
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
	return v.q.class == ClassRateLimited && t < v.doc.key(v.q.scope).Pause.Until
}

// cached picks the token for this caller: the one it uses already, else one without a suspicion, else the newest.
func (v *view) cached(t instant) *record {
	if v.q.kind != Anonymous || v.paused(t) {
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
	if v.q.kind != Anonymous {
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

// insert takes a token in. Whatever it evicts stays known.
func (d *document) insert(o *options, r *record) {
	if old := d.Tokens[r.ID]; old != nil { // the upstream gave a known token again
		r.Succeeded, r.Suspect, r.Spent, r.Reset, r.Usage = old.Succeeded, old.Suspect, old.Spent, old.Reset, old.Usage
		r.Heard, r.Rejected = old.Heard, old.Rejected
		r.Seq = max(r.Seq, old.Seq)
	}
	d.Tokens[r.ID] = r
	d.evict(o)
	d.index()
}

// evict drops the values of the least recently used tokens beyond the bounds.
func (d *document) evict(o *options) {
	var held []*record
	for _, r := range d.Tokens {
		if r.held() {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(a, b *record) int {
		if a.Used != b.Used {
			return cmpDesc(a.Used, b.Used)
		}
		return cmpDesc(a.Seq, b.Seq)
	})
	bytes := 0
	for i, r := range held {
		if bytes += len(r.Value) + len(r.Sealed)*4/3; i >= o.Cache.MaxTokens || bytes > maxHeld && i > 0 {
			r.drop()
		}
	}
}

// maxHeld bounds the bytes of all values: a store takes a small document.
const maxHeld = 2 << 20

func (r *record) drop() { r.Value, r.Sealed, r.Private = "", nil, false }

// shadows reports whether r is the newest of its key's tokens and an older one lasts longer: without r the manager would
// speak of that one.
func (d *document) shadows(o *options, r *record, now instant) bool {
	return d.newest(r.Scope) == r && slices.ContainsFunc(d.byScope[r.Scope], func(older *record) bool {
		_, ends := o.expiry(older)
		return now < ends
	})
}

// sweepTokens drops the values of tokens that ended and forgets tokens that no rule asks for any more.
func (d *document) sweepTokens(o *options, now instant) {
	var known []*record
	for id, r := range d.Tokens {
		_, ends := o.expiry(r)
		if now >= ends && r.held() {
			d.ended(r)
			r.drop()
		}
		dead := max(r.Rejected, r.Spent)
		switch {
		case r.held():
		case now >= ends && (dead == 0 || now >= dead.plus(tombstoneLife)) && !d.shadows(o, r, now):
			delete(d.Tokens, id)
		default:
			known = append(known, r)
		}
	}
	if len(known) > maxTombstones {
		slices.SortFunc(known, func(a, b *record) int { return cmpDesc(a.Acquired, b.Acquired) })
		for _, r := range known[maxTombstones:] {
			delete(d.Tokens, r.ID)
		}
	}
	d.index()
}
