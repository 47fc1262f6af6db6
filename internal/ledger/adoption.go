package ledger

import (
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Adoptions: tokens that were fetched elsewhere.

// Adopt stores a token that was fetched elsewhere, charged as a start that ended at once. A token that is known
// already is not charged again: what is new of it is its scope, a later end, or what comes with it (see Enrich). Nor is an
// older value of an account that lives: its newest one serves.
func (d *Document) Adopt(policy *Policy, r *Token, id, owner string, now timeline.Instant) (changed bool) {
	if old := d.Tokens[r.ID]; old != nil && !old.HasValue() && old.Successor != "" {
		if newest := d.Current(old); newest.Living(now) && sameAccount(newest.Identity, r.Identity) {
			return d.serveScope(newest, r.Scope)
		}
	}
	if old := d.Tokens[r.ID]; old != nil && old.HasValue() {
		changed = d.serveScope(old, r.Scope)
		if old = d.Tokens[r.ID]; old.Expiry == 0 && r.Expiry != 0 || old.Expiry != 0 && r.Expiry > old.Expiry.Plus(time.Second) {
			old, changed = d.Edit(old), true
			old.Expiry, old.WallExpiry = r.Expiry, r.WallExpiry
		}
		return changed
	}
	d.Seq++
	d.Charged(Attempt{ID: id, Seq: d.Seq, Owner: owner, Start: now, End: now, Adopted: true, Scope: r.Scope, Named: true})
	d.ScopeFor(r.Scope).LastStart = now
	d.Counts.Starts++
	r.Seq = d.Seq
	d.Insert(policy, r)
	return true
}

// serveScope has a token serve one more scope, as far as there is room.
func (d *Document) serveScope(r *Token, scope string) bool {
	if r.Serves(scope) || len(r.Also) >= maxAlso {
		return false
	}
	r = d.Edit(r)
	r.Also = append(slices.Clip(r.Also), scope)
	d.Index()
	return true
}

// sameAccount reports whether two identities may be one account: neither names another.
func sameAccount(a, b *Identity) bool {
	return a == nil || b == nil || a.Account == "" || b.Account == "" || a.Account == b.Account
}

// Extras are a refresh token and further secrets that an adopted token states beside a value that is known.
type Extras struct {
	Whole  *Token // the token, with what it leaves out taken from the known one
	Beside *Parts // the parts of the known one as it was read, and the hash of its refresh token; nil: it was not known
	Hash   string
	Locked bool // the known one is in the memory of another process, as far as this one knew: it is now in this one's, too
	New    bool // something is stated that is not known
}

// Enrich stores what an adopted token states beside its known value; the last statement wins, as it does of a value that is
// acquired again. stale: the value came, or changed, since it was read, and its secrets have to be put together anew.
func (d *Document) Enrich(policy *Policy, x *Extras) (changed, stale bool) {
	r := d.Tokens[x.Whole.ID]
	if r == nil || !r.HasValue() {
		return false, false
	}
	if x.Locked && r.Private {
		d.Edit(r) // read anew
		return true, false
	}
	if !x.New {
		return false, false
	}
	hash := ""
	if r.Identity != nil {
		hash = r.Identity.Hash
	}
	if x.Beside == nil || !r.Parts.Same(x.Beside) || hash != x.Hash {
		return false, true
	}
	stated := x.Whole.Identity
	if !sameAccount(r.Identity, stated) {
		return false, false
	}
	held := (*Token)(nil)
	if stated != nil {
		held = d.holding(stated.Hash)
	}
	if held != nil && held.ID != r.ID && held.Acquired > r.Acquired {
		return false, false // the account has a newer value
	}
	r = d.Edit(r)
	if ended := r.Identity != nil && r.Identity.Ended != 0; stated != nil && !(ended && stated.Hash == hash) {
		i := *stated
		switch {
		case r.Identity != nil && r.Identity.Ended == 0:
			if i = *r.Identity; hash != stated.Hash && !r.Private { // it may be the older: an answer may have replaced it since
				i.Spare, i.SpareHash = r.Parts, hash
			}
		case held != nil:
			i = *held.Identity
		}
		if i.Hash != stated.Hash || stated.Expiry != 0 {
			i.Hash, i.Expiry = stated.Hash, stated.Expiry
		}
		if i.Account == "" {
			i.Account = stated.Account
		}
		d.absorb(r, &i, i.Hash)
		r.Identity = &i
	}
	r.Parts = x.Whole.Parts
	d.evict(policy)
	d.Index()
	return true, false
}
