package ledger

import (
	"bytes"
	"slices"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Identity is the upstream's account behind a token, as far as it can be renewed. It stands in the record of its newest
// value, and moves on with each renewal; what it is known by stays.
type Identity struct {
	ID      string           `json:"id"`
	Account string           `json:"account,omitempty"` // hash of the account that the upstream named; "": it did not
	Since   timeline.Instant `json:"since"`             // when the account was acquired: its age
	Hash    string           `json:"hash"`              // of the refresh token
	Expiry  timeline.Instant `json:"expiry,omitempty"`  // of the refresh token; 0: not stated
	Ended   timeline.Instant `json:"ended,omitempty"`   // the upstream does not know it any more
	Cleared bool             `json:"cleared,omitempty"` // by an operator: no answer that is still on its way brings it back
	Worked  bool             `json:"worked,omitempty"`  // a call with one of its values succeeded

	Generation uint64           `json:"gen,omitempty"`     // renewals that were begun
	From       uint64           `json:"from,omitempty"`    // the one that the refresh token came with
	Renewed    timeline.Instant `json:"renewed,omitempty"` // end of the last that succeeded
	Renewals   int              `json:"n,omitempty"`       // that succeeded
	Lease      Lease            `json:"lease,omitzero"`    // of the one in progress
	Last       Streak           `json:"last,omitzero"`     // failed ones in a row, and the last of them
	Closed     Pause            `json:"closed,omitzero"`   // after a ban or a mistake of ours
	Refusals   int              `json:"refusals,omitempty"`
	Replaced   bool             `json:"replaced,omitempty"` // by another account of its key; it is still renewed, if it can be
	Banned     bool             `json:"banned,omitempty"`   // the upstream said so, and no renewal has succeeded since

	Refused []string `json:"refused,omitempty"` // operations that refused the value before, too

	Spare     Parts  `json:"spare,omitzero"` // an older answer's refresh token that came late, or what an adopted one replaced
	SpareHash string `json:"spare_hash,omitempty"`
}

// Lease is the intent to renew an identity: only its holder may hand out the refresh token.
type Lease struct {
	ID         string           `json:"id"`
	Owner      string           `json:"owner"`
	Generation uint64           `json:"gen"`
	Hash       string           `json:"hash"` // of the refresh token that it hands out
	Start      timeline.Instant `json:"start"`
	End        timeline.Instant `json:"end"`
	Behind     timeline.Instant `json:"behind,omitempty"` // its end while the clock is behind Start
}

// EndsAt is until when its holder may hand out the refresh token.
func (l *Lease) EndsAt(now timeline.Instant) timeline.Instant {
	return leaseEnd(l.Start, l.End, l.Behind, now)
}

// Holds reports whether somebody may still be handing it out.
func (l *Lease) Holds(now timeline.Instant) bool { return l.ID != "" && now < l.EndsAt(now) }

// Parts are the further secrets of a token, as they are stored.
type Parts struct {
	Plain  []byte `json:"plain,omitempty"`
	Sealed []byte `json:"sealed,omitempty"`
}

func (p *Parts) isZero() bool { return p.Plain == nil && p.Sealed == nil }

// Same reports whether they are the same bytes.
func (p *Parts) Same(other *Parts) bool {
	return bytes.Equal(p.Plain, other.Plain) && bytes.Equal(p.Sealed, other.Sealed)
}

// IsZero leaves them out of JSON.
func (p Parts) IsZero() bool { return p.isZero() }

func (p *Parts) size() int { return len(p.Plain) + len(p.Sealed) }

// maxRefused bounds the operations that an identity remembers as refused twice.
const maxRefused = 16

// Living reports whether the record's identity can still be renewed, as far as the upstream has said. One whose renewal is
// in progress may be, although its refresh token has expired since.
func (r *Token) Living(t timeline.Instant) bool {
	i := r.Identity
	return i != nil && i.Ended == 0 && (i.Expiry == 0 || t < i.Expiry || i.Lease.Holds(t))
}

// Born is when the account behind the token was acquired; of a token without one, when the token was.
func (r *Token) Born() timeline.Instant {
	if r.Identity != nil {
		return r.Identity.Since
	}
	return r.Acquired
}

// Current is the record that a report about r's account speaks of: r, or that of the value that came after it.
func (d *Document) Current(r *Token) *Token {
	if next := d.Tokens[r.Successor]; r.Successor != "" && next != nil {
		return next
	}
	return r
}

// identity is the record that holds the identity of this ID; nil: it is not known any more.
func (d *Document) identity(id string) *Token {
	var ended *Token // an account that was acquired again has the same ID
	for _, r := range d.Tokens {
		if r.Identity == nil || r.Identity.ID != id {
			continue
		}
		if r.Identity.Ended == 0 {
			return r
		}
		ended = r
	}
	return ended
}

// Failures are the renewals that failed in a row, and when the last of them ended: one whose process was killed failed at
// the end of its lease.
func (i *Identity) Failures(t timeline.Instant) (n int, at timeline.Instant) {
	n, at = i.Last.Count, i.Last.At
	if l := &i.Lease; l.ID != "" && !l.Holds(t) {
		n, at = n+1, max(at, l.EndsAt(t))
	}
	return n, at
}

// lapse enters the end of a renewal whose process never reported one.
func (i *Identity) lapse(now timeline.Instant) {
	if l := i.Lease; l.ID != "" && !l.Holds(now) {
		n, at := i.Failures(now)
		i.Last = Streak{Count: n, At: at, ID: l.ID, Class: classify.Unknown, Text: "the process that renewed it did not report an end"}
		i.Lease = Lease{}
	}
}

// WorksBeside reports whether another operation than this one has had success with the token within the hour, and was not
// refused since.
func (r *Token) WorksBeside(operation string, t timeline.Instant) bool {
	return slices.ContainsFunc(r.Evidence, func(x Evidence) bool {
		return x.Operation != operation && x.Success.Plus(Hour) > t && x.Refused == 0
	})
}

// holding is the record whose identity is renewed with the refresh token of this hash; nil: there is none.
func (d *Document) holding(hash string) *Token {
	for _, r := range d.Tokens {
		if r.Identity != nil && r.Identity.Ended == 0 && r.Identity.Hash == hash {
			return r
		}
	}
	return nil
}

// absorb has r, whose identity becomes i, take the place of other records of the same account: those that this refresh token
// renews. One may have been taken in while r's renewal was under way and counted as ended, or for another key with another
// refresh token. A renewal of it that is in progress is then one of r.
func (d *Document) absorb(r *Token, i *Identity, hash string) {
	for _, other := range d.Tokens {
		if other.ID == r.ID || other.Identity == nil || other.Identity.Ended != 0 || other.Identity.Hash != hash {
			continue
		}
		other = d.Edit(other)
		r.serveScopesOf(other)
		if other.Identity.Lease.End > i.Lease.End {
			i.Lease = other.Identity.Lease
		}
		i.join(other.Identity)
		if other.Spent > r.Spent {
			r.Spent, r.Reset = other.Spent, other.Reset
		}
		r.joinQuota(other)
		other.Identity, other.Successor, other.Parts = nil, r.ID, Parts{}
		other.DropValue()
		d.Index()
	}
}

// join takes over what is known of the same account by another record: nothing opens by it.
func (i *Identity) join(other *Identity) {
	i.Generation, i.Renewed, i.Since = max(i.Generation, other.Generation), max(i.Renewed, other.Renewed), min(i.Since, other.Since)
	if other.Closed.Until > i.Closed.Until {
		i.Closed = other.Closed
	}
	i.Refusals = max(i.Refusals, other.Refusals)
	if other.Last.At > i.Last.At {
		i.Last = other.Last
	}
	i.Worked, i.Banned = i.Worked || other.Worked, i.Banned || other.Banned
}

// joinQuota takes over what operations said of the quota of the same account by another value. What they said of that for
// auth is its own.
func (r *Token) joinQuota(other *Token) {
	r.Uses += other.Uses
	r.Evidence = slices.Clone(r.Evidence)
	for n := range other.Evidence {
		x := &other.Evidence[n]
		e := r.byFor(x.Operation, x.Heard)
		e.Uses += x.Uses
		e.Success, e.Known = max(e.Success, x.Success), max(e.Known, x.Known)
		if x.QuotaLast > e.QuotaLast {
			e.Quota, e.QuotaLast, e.Spent, e.Reset, e.Assumed, e.Trying, e.Missed = x.Quota, x.QuotaLast, x.Spent, x.Reset, x.Assumed, x.Trying, x.Missed
			e.Refusals = max(e.Refusals, x.Refusals)
		}
		if e.QuotaLast != 0 && e.Success >= e.QuotaLast {
			e.clearQuota()
		}
	}
}

// worked notes a success with a value of the identity.
func (r *Token) worked(operation string) {
	if i := r.Identity; i != nil && (!i.Worked || slices.Contains(i.Refused, operation)) {
		next := *i
		next.Worked = true
		next.Refused = slices.DeleteFunc(slices.Clone(i.Refused), func(op string) bool { return op == operation })
		r.Identity = &next
	}
}

// mergeRenewals takes over what a document of a lost lineage says of identities. Where both hold one, the later refresh
// token stays.
func (d *Document) mergeRenewals(known *Document) {
	d.Renewals.Known = d.Renewals.Known || known.Renewals.Known
	if known.Renewals.Replaced && !d.Renewals.Replaced {
		d.Renewals.Replaced, d.Renewals.Replacing = true, known.Renewals.Replacing
	}
	for _, at := range known.Renewals.Starts {
		if !slices.Contains(d.Renewals.Starts, at) {
			d.Renewals.Starts = append(d.Renewals.Starts, at)
		}
	}
	slices.Sort(d.Renewals.Starts)
	if known.Renewals.Pause.Until > d.Renewals.Pause.Until {
		d.Renewals.Pause = known.Renewals.Pause
	}
	for id, k := range known.Tokens {
		if r := d.Tokens[id]; r != nil && k.Identity != nil && r.Successor == "" {
			r.mergeIdentity(k)
		}
	}
	newest := map[[2]string]*Token{} // one account may have a refresh token for each of several scopes
	for _, r := range d.Tokens {
		if r.Identity == nil {
			continue
		}
		of := [2]string{r.Identity.ID, r.Scope}
		older := newest[of]
		if older == nil {
			newest[of] = r
			continue
		}
		later := r
		if i, j := r.Identity, older.Identity; i.From < j.From || i.From == j.From && r.Acquired < older.Acquired {
			later, older = older, later
		}
		newest[of] = later
		older.Identity, older.Successor, older.Parts = nil, later.ID, Parts{}
		older.DropValue()
	}
}

// keepIdentity takes over the identity of the same value as it was before it was given again: with its lease, its age and
// what its renewals met. Another refresh token is the newer one. An account that was given again has been replaced by none.
func (r *Token) keepIdentity(before *Token) {
	if before.Identity == nil {
		return
	}
	same := *before.Identity
	same.Replaced = false
	switch i := before.Identity; {
	case r.Identity == nil:
		r.Identity, r.Parts = &same, before.Parts
	case i.Ended == 0:
		if r.Identity.Hash != i.Hash || r.Identity.Expiry != 0 {
			same.Hash, same.Expiry = r.Identity.Hash, r.Identity.Expiry
		}
		r.Identity = &same
	}
}

// mergeIdentity takes over what a document of a lost lineage knows of the identity of the same value: the later refresh
// token stays, and nothing opens or comes back.
func (r *Token) mergeIdentity(known *Token) {
	k := known.Identity
	if r.Identity == nil {
		r.Identity, r.Parts = k, known.Parts
		return
	}
	i := *r.Identity
	if k.From > i.From || k.From == i.From && k.Generation > i.Generation {
		later := *k
		later.Lease, later.Closed, later.Ended, later.Cleared = i.Lease, i.Closed, i.Ended, i.Cleared
		i, r.Parts = later, known.Parts
	}
	if k.Lease.End > i.Lease.End {
		i.Lease = k.Lease
	}
	if k.Closed.Until > i.Closed.Until {
		i.Closed, i.Refusals = k.Closed, k.Refusals
	}
	if k.Last.At > i.Last.At {
		i.Last = k.Last
	}
	i.Generation = max(i.Generation, k.Generation)
	i.Ended, i.Cleared, i.Banned = max(i.Ended, k.Ended), i.Cleared || k.Cleared, i.Banned || k.Banned
	i.Replaced = i.Replaced && k.Replaced
	r.Identity = &i
}

// clamp is the identity with every instant beyond limit moved to now; i itself if none is.
func (i *Identity) clamp(limit, now timeline.Instant) (out *Identity, moved bool) {
	c := *i
	for _, at := range [...]*timeline.Instant{&c.Since, &c.Ended, &c.Renewed, &c.Last.At} {
		if *at > limit {
			*at, moved = now, true
		}
	}
	if l := &c.Lease; l.Start > limit { // it may still run, for its length
		l.Start, l.End, l.Behind, moved = now, now.Plus(l.End.Sub(l.Start)), 0, true
	}
	if c.Closed.From > limit {
		c.Closed, moved = Pause{now, now.Plus(c.Closed.Until.Sub(c.Closed.From))}, true
	}
	if !moved {
		return i, false
	}
	return &c, true
}
