package ledger

import (
	"slices"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Insert takes a token in. Whatever it evicts stays known.
func (d *Document) Insert(policy *Policy, r *Token) {
	if old := d.Tokens[r.ID]; old != nil { // the upstream gave a known token again
		r.Succeeded, r.Suspect, r.Spent, r.Reset, r.Usage = old.Succeeded, old.Suspect, old.Spent, old.Reset, old.Usage
		r.Heard, r.Rejected, r.First = old.Heard, old.Rejected, old.First
		r.Evidence, r.Uses, r.FreshRefusals, r.FreshRefused = old.Evidence, old.Uses, old.FreshRefusals, old.FreshRefused
		r.FreshBy = old.FreshBy
		r.Seq = max(r.Seq, old.Seq)
		for scope := range old.scopes { // one value for several scopes is one token
			if !r.Serves(scope) && len(r.Also) < maxAlso {
				r.Also = append(r.Also[:len(r.Also):len(r.Also)], scope)
			}
		}
	}
	d.Tokens[r.ID] = r
	d.evict(policy)
	d.Index()
}

// evict drops the values of the least recently used tokens beyond the bounds.
func (d *Document) evict(policy *Policy) {
	var held []*Token
	for _, r := range d.Tokens {
		if r.HasValue() {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(a, b *Token) int {
		if a.Used != b.Used {
			return cmpDesc(a.Used, b.Used)
		}
		return cmpDesc(a.Seq, b.Seq)
	})
	bytes := 0
	for i, r := range held {
		if bytes += len(r.Value) + len(r.Sealed)*4/3; i >= policy.Cache.MaxTokens || bytes > maxHeld && i > 0 {
			r.DropValue()
		}
	}
}

// maxHeld bounds the bytes of all values: a store takes a small document.
const maxHeld = 2 << 20

func (r *Token) DropValue() { r.Value, r.Sealed, r.Private = "", nil, false }

// hidesOlder reports whether r is the newest of its key's tokens and an older one lasts longer: without r the manager would
// speak of that one.
func (d *Document) hidesOlder(policy *Policy, r *Token, now timeline.Instant) bool {
	return d.Newest(r.Scope) == r && slices.ContainsFunc(d.ByScope[r.Scope], func(older *Token) bool {
		_, ends := policy.Expiry(older)
		return now < ends
	})
}

// sweepTokens drops the values of tokens that ended and forgets tokens that no rule asks for any more.
func (d *Document) sweepTokens(policy *Policy, now timeline.Instant) {
	var known []*Token
	for id, r := range d.Tokens {
		_, ends := policy.Expiry(r)
		if now >= ends && r.HasValue() {
			d.recordLifetime(r)
			r.DropValue()
		}
		dead := r.refusedAt()
		heard := r.LastSuccess().Plus(Hour) // that others succeed counts for an hour, also with an expired token
		if d.Newest(r.Scope) == r {
			heard = max(heard, ends.Plus(Hour)) // and so long its scope is in use
		}
		switch {
		case r.HasValue():
		case now >= ends && now >= heard && (dead == 0 || now >= dead.Plus(tombstoneLife)) && !d.hidesOlder(policy, r, now):
			delete(d.Tokens, id)
		default:
			known = append(known, r)
		}
	}
	if len(known) > maxTombstones {
		slices.SortFunc(known, func(a, b *Token) int { return cmpDesc(a.Acquired, b.Acquired) })
		for _, r := range known[maxTombstones:] {
			delete(d.Tokens, r.ID)
		}
	}
	d.Index()
}

// A suspicion ends at the stated reset; what is rejected stays so.
func (r *Token) IsClean(t timeline.Instant) bool { return r.Reset != 0 && t >= r.Reset }

func (r *Token) IsSuspect(t timeline.Instant) bool { return r.Suspect != 0 && !r.IsClean(t) }

func (r *Token) IsSpent(t timeline.Instant) bool { return r.Spent != 0 && !r.IsClean(t) }
