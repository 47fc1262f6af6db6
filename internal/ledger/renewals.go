package ledger

import (
	"slices"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Renewals are what all identities of a document share.
type Renewals struct {
	Known    bool               `json:"known,omitempty"`    // a process that can renew has used the document
	Starts   []timeline.Instant `json:"starts,omitempty"`   // of the last hour
	Pause    Pause              `json:"pause,omitzero"`     // Retry-After of a renewal
	Replaced bool               `json:"replaced,omitempty"` // an identity that could not be renewed was replaced, and none was renewed since

	Replacing string `json:"replacing,omitempty"` // the attempt that is to replace it, until its end is known

	Succeeded uint64 `json:"succeeded,omitempty"` // renewals since the document was made
	Failed    uint64 `json:"failed,omitempty"`
	// Failures are the failed ones by class. They add up to fewer where a program that keeps no classes counted some.
	Failures map[string]uint64 `json:"failures,omitempty"`
	Ended    uint64            `json:"ended,omitempty"`   // identities that the upstream does not know any more
	Dropped  uint64            `json:"dropped,omitempty"` // identities for which there was no room
}

// Dropped is an identity for which there was no room.
type Dropped struct{ Identity, Scope, TokenID string }

// drop notes that there is no room for the record's identity.
func (d *Document) drop(r *Token) {
	d.Renewals.Dropped++
	d.dropped = append(d.dropped, Dropped{Identity: r.Identity.ID, Scope: r.Scope, TokenID: r.ID})
}

// TakeDropped returns the identities that were dropped since the document that was last stored, and forgets them.
func (d *Document) TakeDropped() []Dropped {
	dropped := d.dropped
	d.dropped = nil
	return dropped
}

func (r *Renewals) failed(class string) {
	r.Failed++
	if r.Failures == nil {
		r.Failures = map[string]uint64{}
	}
	r.Failures[class]++
}

// Replaced reports whether an identity that could not be renewed was replaced, or is being replaced, and none was renewed
// since. An attempt that returned nothing replaced nothing.
func (d *Document) Replaced(t timeline.Instant) bool {
	if !d.Renewals.Replaced || d.Renewals.Replacing == "" {
		return d.Renewals.Replaced
	}
	return d.ReplacingUntil(t) != 0
}

// ReplacingUntil is when the attempt that replaces an identity is over at the latest; 0: none is in progress.
func (d *Document) ReplacingUntil(t timeline.Instant) timeline.Instant {
	i := slices.IndexFunc(d.Attempts, func(a Attempt) bool { return a.ID == d.Renewals.Replacing })
	if d.Renewals.Replacing == "" || i < 0 || !d.Attempts[i].InProgress(t) {
		return 0
	}
	return d.Attempts[i].LeaseEnd(t)
}

// replace notes that another account has taken the place of those of the scope: when that one ends in its turn, they keep
// nobody from the next.
func (d *Document) replace(scope string) {
	for _, r := range d.ByScope.Of(scope) {
		if r.Identity != nil {
			i := *r.Identity
			i.Replaced = true
			d.Edit(r).Identity = &i
		}
	}
}

// LeaseRenewal enters the intent to renew r's identity, before the upstream is asked.
func (d *Document) LeaseRenewal(policy *Policy, r *Token, id, owner string, now timeline.Instant) Lease {
	r = d.Edit(r)
	i := *r.Identity
	i.lapse(now)
	i.Generation++
	i.Lease = Lease{ID: id, Owner: owner, Generation: i.Generation, Hash: i.Hash, Start: now, End: now.Plus(policy.RenewalLease())}
	r.Identity = &i
	d.Renewals.Starts = append(d.Renewals.Starts, now)
	return i.Lease
}

// Renewal is how a renewal ended.
type Renewal struct {
	Identity string // its ID
	Record   string // the ID of the value that was renewed: one account may stand in several records
	Lease    Lease
	End      timeline.Instant
	Token    *Token // of a success: the new value, with an Identity of which only Hash, Expiry and Account count
	Rest     *Token // of an answer whose value cannot be used: what stands in Record in place of Parts, Hash and Expiry; nil: nothing
	Merged   *Merged
	Failed   Streak
	Pause    Pause // Retry-After
	Cut      bool  // to the most that is honoured
	Gone     bool  // the upstream does not know the refresh token any more
	Barred   bool  // a ban, or a mistake of ours: the renewal is not to be repeated soon
}

// CompleteRenewal enters the end of a renewal, and reports whether the identity has ended by it. An answer that comes after
// its lease still counts: the later intent's refresh token stays, and the other is kept as a spare; a ban or a Retry-After
// is honoured. A value that is older
// than the newest is of no use, for the upstream may have ended it with that one; a refresh token that came with it is.
func (d *Document) CompleteRenewal(policy *Policy, l *Renewal) (changed, ended bool) {
	changed = d.pauseRenewals(l.Pause)
	r := d.RenewedBy(l)
	if r == nil || r.Identity.Cleared || r.Identity.Ended != 0 && l.Token == nil {
		return changed, false
	}
	r = d.Edit(r)
	i := *r.Identity
	merged := l.Merged.of(r)
	mine := i.Lease.ID == l.Lease.ID
	sibling := i.Hash != l.Lease.Hash // another answer to the same refresh token came first
	if !mine {                        // over already? A change that waited for the store is applied again.
		if l.Token == nil {
			said := false
			if !sibling && i.Renewed <= l.Lease.Start { // else a renewal has succeeded since
				said, ended = d.refuseLate(policy, r, l)
			}
			return d.rotate(r, merged.over(l.Rest), &l.Lease) || said || changed, ended
		}
		if d.Tokens[l.Token.ID] != nil {
			return changed, false
		}
		if !sibling && l.Lease.Generation < i.From {
			return d.rotate(r, merged.over(l.Token), &l.Lease) || merged.under(r) || changed, false
		}
		if hash := l.Token.Identity.Hash; sibling && (hash == i.Hash || hash == i.SpareHash && (hash != l.Lease.Hash || l.Lease.Generation < i.From)) {
			return changed, false
		}
	}
	if mine {
		i.Lease = Lease{}
	}
	if l.Token != nil {
		d.absorb(r, &i, l.Lease.Hash)
	}
	switch {
	case l.Token == nil && !sibling:
	case l.Token == nil: // what failed has been replaced meanwhile
		r.Identity = &i
		return true, false
	case sibling && l.Lease.Generation < i.From:
		i.Spare, i.SpareHash = l.Token.Parts, l.Token.Identity.Hash
		r.Identity = &i
		merged.under(r)
		return true, false
	default:
		next := *merged.over(l.Token)
		if sibling {
			stated := *next.Identity
			if l.Token.Identity.Hash == l.Lease.Hash { // it returned no refresh token: the one that came meanwhile stays
				stated.Hash, stated.Expiry = i.Hash, i.Expiry
				if merged == nil {
					next.Parts = r.Parts
				}
				stated.Spare, stated.SpareHash = i.Spare, i.SpareHash
			} else {
				stated.Spare, stated.SpareHash = r.Parts, i.Hash
			}
			next.Identity = &stated
		}
		r.Identity = &i
		d.succeed(policy, r, &next, l.Lease.Generation, l.End)
		return true, false
	}
	r.Identity = &i
	d.rotate(r, merged.over(l.Rest), &l.Lease)
	i = *r.Identity
	f := l.Failed
	d.Renewals.failed(f.Class)
	f.Count = i.Last.Count + 1
	i.Last = f
	switch {
	case l.Gone && i.SpareHash != "":
		r.Parts, i.Hash = i.Spare, i.SpareHash
		i.Spare, i.SpareHash = Parts{}, ""
	case l.Gone:
		r.Identity = &i
		d.refuseIdentity(policy, r, f, l.End)
		return true, true
	case l.Barred:
		d.bar(policy, r, &i, l, f)
	}
	r.Identity = &i
	return true, false
}

// rotate takes the refresh token of an answer whose value cannot be used: it has replaced the one that was presented.
// Secrets that stay in a process are kept by the value that they came with.
func (d *Document) rotate(r, rest *Token, of *Lease) bool {
	if rest == nil || r.Identity.Ended != 0 || r.Identity.Hash != of.Hash || rest.Identity.Hash == of.Hash || r.ID != rest.ID && (r.Private || rest.Private) {
		return false
	}
	r = d.Edit(r)
	i := *r.Identity
	i.Hash, i.Expiry, i.From = rest.Identity.Hash, rest.Identity.Expiry, max(i.From, of.Generation)
	d.absorb(r, &i, i.Hash)
	r.Identity, r.Parts = &i, rest.Parts
	return true
}

// pauseRenewals enters a Retry-After that a renewal was told, whatever has become of its account since: the token endpoint
// wants to be left alone, by renewals and by starts.
func (d *Document) pauseRenewals(p Pause) (changed bool) {
	if p.Until > d.Renewals.Pause.Until {
		d.Renewals.Pause, changed = p, true
	}
	if p.Until > d.Pause.Until {
		d.Pause, changed = p, true
	}
	return changed
}

// succeed makes next the newest value of r's identity. What the renewal leaves out stays as it was; what was reported of
// the quota, how often it was used and how old it is belong to the account and move on; what was reported for auth belongs
// to the value.
func (d *Document) succeed(policy *Policy, r, next *Token, generation uint64, now timeline.Instant) {
	r = d.Edit(r)
	stated := next.Identity
	i := *r.Identity
	if stated.Hash != "" {
		if stated.Hash != i.Hash || stated.Expiry != 0 {
			i.Expiry = stated.Expiry
		}
		i.Hash = stated.Hash
	}
	d.absorb(r, &i, i.Hash)
	i.Spare, i.SpareHash = stated.Spare, stated.SpareHash
	if i.Account == "" {
		i.Account = stated.Account
	}
	i.From, i.Ended, i.Banned, i.Replaced = max(i.From, generation), 0, false, false
	i.Renewed, i.Renewals, i.Last, i.Closed, i.Refusals = now, i.Renewals+1, Streak{}, Pause{}, 0
	d.Renewals.Replaced, d.Renewals.Replacing = false, ""
	d.Renewals.Succeeded++
	if next.ID == r.ID { // the upstream gave the value again
		i.Refused = r.refusing(i.Refused)
		r.Identity, r.Parts, r.Expiry, r.WallExpiry, r.Acquired, r.Doubt = &i, next.Parts, next.Expiry, next.WallExpiry, next.Acquired, next.Doubt
		r.Value, r.Bytes, r.Sealed, r.Private, r.Dropped = next.Value, next.Bytes, next.Sealed, next.Private, false
		d.Index()
		return
	}
	fresh := *next
	fresh.Scope, fresh.Also, fresh.Seq, fresh.Used = r.Scope, r.Also, r.Seq, now
	fresh.Usage, fresh.Uses, fresh.Ended, fresh.First = r.Usage, r.Uses, r.Ended, r.First
	fresh.Suspect, fresh.Heard, fresh.Spent, fresh.Reset = r.Suspect, r.Heard, r.Spent, r.Reset
	i.Refused = r.refusing(nil)
	fresh.Evidence = slices.Clone(r.Evidence)
	for n := range fresh.Evidence {
		e := &fresh.Evidence[n]
		e.Refused, e.RefusedLast, e.Early = 0, 0, false
		if e.Quota == 0 {
			e.Refusals = 0
		}
	}
	fresh.Identity = &i
	for _, older := range d.Tokens {
		if older.Successor == r.ID {
			d.Edit(older).Successor = fresh.ID
		}
	}
	r.Identity, r.Successor, r.Parts = nil, fresh.ID, Parts{}
	r.Suspect, r.Heard, r.Spent, r.Reset, r.Ended = 0, 0, 0, 0, true
	for n := range r.Evidence {
		r.Evidence[n].clearQuota()
	}
	r.DropValue()
	if retired := d.Tokens[fresh.ID]; retired != nil { // a value that was given before: what was said of it holds
		fresh.keepRefusals(retired)
	}
	d.Tokens[fresh.ID] = &fresh
	d.evict(policy)
	d.Index()
}

// refusing are the operations that refuse the value for auth, and those that are known to have refused it before.
func (r *Token) refusing(known []string) []string {
	known = slices.Clip(known)
	for n := range r.Evidence {
		if e := &r.Evidence[n]; e.Refused != 0 && len(known) < maxRefused && !slices.Contains(known, e.Operation) {
			known = append(known, e.Operation)
		}
	}
	return known
}

// keepRefusals takes over what operations said for auth of the same value.
func (r *Token) keepRefusals(before *Token) {
	r.Rejected = max(r.Rejected, before.Rejected)
	for n := range before.Evidence {
		if x := &before.Evidence[n]; x.Refused != 0 {
			e := r.byFor(x.Operation, x.Heard)
			e.Refused, e.RefusedLast, e.Refusals, e.Known = x.Refused, x.RefusedLast, x.Refusals, max(e.Known, x.Known)
		}
	}
}

// pruneRenewals drops the starts of more than an hour ago.
func (d *Document) pruneRenewals(policy *Policy, now timeline.Instant) {
	if d.Renewals.Known = d.Renewals.Known || policy.Renews; d.Renewals.Known || len(d.Folded) > 0 {
		d.Version = max(d.Version, secondVersion)
	}
	d.Renewals.Starts = slices.DeleteFunc(d.Renewals.Starts, func(at timeline.Instant) bool { return at <= now-timeline.Instant(Hour) })
}
