package tokenguard

import (
	"slices"
)

// insert takes a token in. Whatever it evicts stays known.
func (d *document) insert(policy *Policy, r *record) {
	if old := d.Tokens[r.ID]; old != nil { // the upstream gave a known token again
		r.Succeeded, r.Suspect, r.Spent, r.Reset, r.Usage = old.Succeeded, old.Suspect, old.Spent, old.Reset, old.Usage
		r.Heard, r.Rejected = old.Heard, old.Rejected
		r.Seq = max(r.Seq, old.Seq)
	}
	d.Tokens[r.ID] = r
	d.evict(policy)
	d.index()
}

// evict drops the values of the least recently used tokens beyond the bounds.
func (d *document) evict(policy *Policy) {
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
		if bytes += len(r.Value) + len(r.Sealed)*4/3; i >= policy.Cache.MaxTokens || bytes > maxHeld && i > 0 {
			r.drop()
		}
	}
}

// maxHeld bounds the bytes of all values: a store takes a small document.
const maxHeld = 2 << 20

func (r *record) drop() { r.Value, r.Sealed, r.Private = "", nil, false }

// shadows reports whether r is the newest of its key's tokens and an older one lasts longer: without r the manager would
// speak of that one.
func (d *document) shadows(policy *Policy, r *record, now instant) bool {
	return d.newest(r.Scope) == r && slices.ContainsFunc(d.byScope[r.Scope], func(older *record) bool {
		_, ends := policy.expiry(older)
		return now < ends
	})
}

// sweepTokens drops the values of tokens that ended and forgets tokens that no rule asks for any more.
func (d *document) sweepTokens(policy *Policy, now instant) {
	var known []*record
	for id, r := range d.Tokens {
		_, ends := policy.expiry(r)
		if now >= ends && r.held() {
			d.ended(r)
			r.drop()
		}
		dead := max(r.Rejected, r.Spent)
		switch {
		case r.held():
		case now >= ends && (dead == 0 || now >= dead.plus(tombstoneLife)) && !d.shadows(policy, r, now):
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

// A suspicion ends at the stated reset; what is rejected stays so.
func (r *record) clean(t instant) bool { return r.Reset != 0 && t >= r.Reset }

func (r *record) suspect(t instant) bool { return r.Suspect != 0 && !r.clean(t) }

func (r *record) spent(t instant) bool { return r.Spent != 0 && !r.clean(t) }
