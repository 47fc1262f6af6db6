package ledger

import (
	"encoding/base64"
	"slices"
	"unicode/utf8"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Insert takes a token in. Whatever it evicts stays known.
func (d *Document) Insert(policy *Policy, r *Token) {
	if r.Identity != nil { // an account that is known already has a newer value
		if old := d.holding(r.Identity.Hash); old != nil && old.ID != r.ID {
			old = d.Edit(old)
			old.serveScopesOf(r)
			if r.HasValue() {
				d.succeed(policy, old, r, old.Identity.Generation, r.Acquired)
			} else { // what it has is not given up for a refresh token alone
				d.Index()
			}
			return
		}
	}
	old := d.Tokens[r.ID]
	if old != nil { // the upstream gave a known token again
		r.Succeeded, r.Suspect, r.Spent, r.Reset, r.Usage = old.Succeeded, old.Suspect, old.Spent, old.Reset, old.Usage.Clone()
		r.Heard, r.Rejected, r.First = old.Heard, old.Rejected, old.First
		r.Evidence, r.Uses, r.FreshRefusals, r.FreshRefused = slices.Clone(old.Evidence), old.Uses, old.FreshRefusals, old.FreshRefused
		r.FreshBy = old.FreshBy
		r.keepIdentity(old)
		r.Seq = max(r.Seq, old.Seq)
		r.serveScopesOf(old) // one value for several scopes is one token
	}
	d.Tokens[r.ID] = r
	d.evict(policy)
	d.reindex(old, r.ID)
}

// serveScopesOf has r serve what other serves, as far as there is room.
func (r *Token) serveScopesOf(other *Token) {
	for scope := range other.scopes {
		if !r.Serves(scope) && len(r.Also) < maxAlso {
			r.Also = append(slices.Clip(r.Also), scope)
		}
	}
}

// evict drops the values of the least recently used tokens beyond the bounds. An identity stays renewable without its
// value, as far as there is room.
func (d *Document) evict(policy *Policy) {
	var held []*Token
	for _, r := range d.Tokens {
		if r.HasSecret() {
			held = append(held, r)
		}
	}
	slices.SortFunc(held, func(a, b *Token) int {
		if a.Used != b.Used {
			return cmpDesc(a.Used, b.Used)
		}
		return cmpDesc(a.Seq, b.Seq)
	})
	room, values := maxHeld, 0
	for i, r := range held { // identities first: a value is had again by a renewal, an account only by a start
		if !r.renewable() {
			continue
		}
		if size := r.encodedSize() - r.valueSize(); size <= room || i == 0 {
			room -= size
		} else {
			d.drop(r)
			r = d.Edit(r)
			held[i] = r
			r.Identity = nil // and with its parts the value, which may need them
			r.DropValue()
		}
	}
	for i, r := range held {
		if !r.HasValue() {
			continue
		}
		values++
		size := 0
		if r.renewable() {
			size = r.valueSize()
		} else {
			size = r.encodedSize()
		}
		if values > policy.Cache.MaxTokens || size > room && i > 0 {
			d.Edit(r).DropValue()
			continue
		}
		room -= size
	}
}

// maxHeld bounds the bytes of all tokens with a value, as they are encoded: a store takes a small document.
const maxHeld = 3 << 19

// DropValue forgets the value. The parts stay as long as its identity can be renewed with them.
func (r *Token) DropValue() {
	r.Value, r.Bytes, r.Sealed = "", nil, nil
	if r.renewable() {
		r.Dropped = true
		return
	}
	r.Private, r.Dropped, r.Parts = false, false, Parts{}
}

// renewable reports whether the record holds what its identity is renewed with.
func (r *Token) renewable() bool {
	return r.Identity != nil && r.Identity.Ended == 0 && (r.Private || !r.Parts.isZero())
}

// valueSize is about what the value takes up in a document, in bytes.
func (r *Token) valueSize() int {
	return encodedLen(r.Value) + base64.StdEncoding.EncodedLen(len(r.Bytes)+len(r.Sealed))
}

// encodedSize is about what the token takes up in a document, in bytes.
func (r *Token) encodedSize() int { return r.form.sized(r.sizeWith) }

func (r *Token) sizeWith() int {
	const fields, evidence = 300, 150 // names and instants
	secret := len(r.Bytes) + len(r.Sealed) + r.Parts.size()
	size := fields + encodedLen(r.Value) + base64.StdEncoding.EncodedLen(secret) + len(r.Evidence)*evidence
	if r.Identity != nil {
		size += fields + base64.StdEncoding.EncodedLen(r.Identity.Spare.size())
	}
	for scope := range r.scopes {
		size += encodedLen(scope)
	}
	return size
}

// SetValue stores a value, as bytes where it is no text or one that JSON would blow up.
func (r *Token) SetValue(value string) {
	if utf8.ValidString(value) && encodedLen(value) <= base64.StdEncoding.EncodedLen(len(value)) {
		r.Value, r.Bytes = value, nil
		return
	}
	r.Value, r.Bytes = "", []byte(value)
}

// Plain is the value, if it is stored unsealed.
func (r *Token) Plain() string {
	if r.Bytes != nil {
		return string(r.Bytes)
	}
	return r.Value
}

// hidesOlder reports whether r is the newest of its key's tokens and an older one lasts longer: without r the manager would
// speak of that one.
func (d *Document) hidesOlder(policy *Policy, r *Token, now timeline.Instant) bool {
	return d.Newest(r.Scope) == r && slices.ContainsFunc(d.ByScope.Of(r.Scope), func(older *Token) bool {
		_, ends := policy.Expiry(older)
		return now < ends
	})
}

// sweepTokens drops the values of tokens that ended and forgets tokens that no rule asks for any more.
func (d *Document) sweepTokens(policy *Policy, now timeline.Instant) {
	var known []*Token
	for _, r := range d.Tokens {
		_, ends := policy.Expiry(r)
		if now >= ends && r.HasValue() {
			r = d.Edit(r)
			if !r.Living(now) {
				d.recordLifetime(r)
			}
			r.DropValue()
		}
		dead := r.refusedAt()
		heard := r.LastSuccess().Plus(Hour) // that others succeed counts for an hour, also with an expired token
		if d.Newest(r.Scope) == r {
			heard = max(heard, ends.Plus(Hour)) // and so long its scope is in use
		}
		if i := r.Identity; i != nil && i.Ended == 0 && !r.Living(now) { // its refresh token expired
			r = d.Edit(r)
			d.endIdentity(r, Streak{Class: classify.AuthInvalid, Text: "the refresh token has expired", At: now}, now)
		}
		switch {
		case r.HasValue():
		case r.Kind == Personal && r.Spent != 0 && now < r.Reset: // its value may be fetched again, however long that takes
			known = append(known, r)
		case r.Living(now) && r.HasSecret():
			known = append(known, r)
		case now >= ends && now >= heard && (dead == 0 || now >= dead.Plus(tombstoneLife)) && !d.hidesOlder(policy, r, now):
			d.forget(policy, r)
		default:
			known = append(known, r)
		}
	}
	if len(known) > maxTombstones {
		slices.SortFunc(known, func(a, b *Token) int { // those that can be renewed go last
			if la, lb := a.Living(now), b.Living(now); la != lb {
				return cmpDesc(rank(la), rank(lb))
			}
			return cmpDesc(a.Acquired, b.Acquired)
		})
		for _, r := range known[maxTombstones:] {
			if r.Living(now) {
				d.drop(r)
			}
			d.forget(policy, r)
		}
	}
	d.Index()
}

// forget drops a token. One that served ends the row of new tokens that never worked: its scope remembers that, since the
// refused ones before it are known for longer.
func (d *Document) forget(policy *Policy, r *Token) {
	delete(d.Tokens, r.ID)
	if r.FreshRefusals > 0 || r.Used <= policy.FreshUntil(r) {
		return
	}
	for scope := range r.scopes {
		if d.Scopes[scope] != nil {
			k := d.ScopeFor(scope)
			k.Lifted = max(k.Lifted, r.Acquired)
		}
	}
}

func rank(kept bool) uint64 {
	if kept {
		return 1
	}
	return 0
}

// EndByWall ends the tokens whose stated expiry the wall clock has reached before now, the meter, did: a host that paused
// the machine stops every clock in it, and only the wall clock is set again. A wall clock that is wrongly ahead costs an
// acquisition by that.
func (d *Document) EndByWall(now, wall timeline.Instant) (changed bool) {
	for _, r := range d.Tokens {
		if r.WallExpiry != 0 && wall >= r.WallExpiry && r.Expiry > now {
			d.Edit(r).Expiry, changed = now, true
		}
	}
	return changed
}

// WallExpiry is the first instant of the wall clock at which EndByWall has something to do; Never: there is none.
func (d *Document) WallExpiry(now timeline.Instant) timeline.Instant {
	first := timeline.Never
	for _, r := range d.Tokens {
		if r.WallExpiry != 0 && r.Expiry > now {
			first = min(first, r.WallExpiry)
		}
	}
	return first
}

// EndBy is EndByWall where instants are a store's: at is the wall clock as one of them.
func (d *Document) EndBy(now, at timeline.Instant) (changed bool) {
	for _, r := range d.Tokens {
		if r.Expiry > now && at >= r.Expiry {
			d.Edit(r).Expiry, changed = now, true
		}
	}
	return changed
}

// NextExpiry is the first instant at which EndBy has something to do; Never: there is none.
func (d *Document) NextExpiry(now timeline.Instant) timeline.Instant {
	first := timeline.Never
	for _, r := range d.Tokens {
		if r.Expiry > now {
			first = min(first, r.Expiry)
		}
	}
	return first
}

// A suspicion ends at the stated reset; what is rejected stays so.
func (r *Token) IsClean(t timeline.Instant) bool { return r.Reset != 0 && t >= r.Reset }

func (r *Token) IsSuspect(t timeline.Instant) bool { return r.Suspect != 0 && !r.IsClean(t) }

func (r *Token) IsSpent(t timeline.Instant) bool { return r.Spent != 0 && !r.IsClean(t) }
