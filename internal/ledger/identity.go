package ledger

import (
	"slices"
	"time"

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

	Refused []string `json:"refused,omitempty"` // operations that refused the value before, too

	Spare     Parts  `json:"spare,omitzero"` // an older answer's refresh token that came late
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
}

// Parts are the further secrets of a token, as they are stored.
type Parts struct {
	Plain  []byte `json:"plain,omitempty"`
	Sealed []byte `json:"sealed,omitempty"`
}

func (p *Parts) isZero() bool { return p.Plain == nil && p.Sealed == nil }

// IsZero leaves them out of JSON.
func (p Parts) IsZero() bool { return p.isZero() }

func (p *Parts) size() int { return len(p.Plain) + len(p.Sealed) }

// Renewals are what all identities of a document share.
type Renewals struct {
	Known    bool               `json:"known,omitempty"`    // a process that can renew has used the document
	Starts   []timeline.Instant `json:"starts,omitempty"`   // of the last hour
	Pause    Pause              `json:"pause,omitzero"`     // Retry-After of a renewal
	Replaced bool               `json:"replaced,omitempty"` // an identity that could not be renewed was replaced, and none was renewed since

	Succeeded uint64 `json:"succeeded,omitempty"` // renewals since the document was made
	Failed    uint64 `json:"failed,omitempty"`
	Ended     uint64 `json:"ended,omitempty"`   // identities that the upstream does not know any more
	Dropped   uint64 `json:"dropped,omitempty"` // identities for which there was no room
}

// maxRefused bounds the operations that an identity remembers as refused twice.
const maxRefused = 16

// Living reports whether the record's identity can still be renewed, as far as the upstream has said.
func (r *Token) Living(t timeline.Instant) bool {
	i := r.Identity
	return i != nil && i.Ended == 0 && (i.Expiry == 0 || t < i.Expiry)
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
	for _, r := range d.Tokens {
		if r.Identity != nil && r.Identity.ID == id {
			return r
		}
	}
	return nil
}

// LeaseRenewal enters the intent to renew r's identity, before the upstream is asked.
func (d *Document) LeaseRenewal(policy *Policy, r *Token, id, owner string, now timeline.Instant) Lease {
	i := *r.Identity
	i.lapse(now)
	i.Generation++
	i.Lease = Lease{ID: id, Owner: owner, Generation: i.Generation, Hash: i.Hash, Start: now, End: now.Plus(policy.RenewalLease())}
	r.Identity = &i
	d.Renewals.Starts = append(d.Renewals.Starts, now)
	return i.Lease
}

// Failures are the renewals that failed in a row, and when the last of them ended: one whose process was killed failed at
// the end of its lease.
func (i *Identity) Failures(t timeline.Instant) (n int, at timeline.Instant) {
	n, at = i.Last.Count, i.Last.At
	if l := i.Lease; l.ID != "" && t >= l.End {
		n, at = n+1, max(at, l.End)
	}
	return n, at
}

// lapse enters the end of a renewal whose process never reported one.
func (i *Identity) lapse(now timeline.Instant) {
	if l := i.Lease; l.ID != "" && now >= l.End {
		n, at := i.Failures(now)
		i.Last = Streak{Count: n, At: at, ID: l.ID, Class: classify.Unknown, Text: "the process that renewed it did not report an end"}
		i.Lease = Lease{}
	}
}

// Renewal is how a renewal ended.
type Renewal struct {
	Identity string // its ID
	Lease    Lease
	End      timeline.Instant
	Token    *Token // of a success: the new value, with an Identity of which only Hash, Expiry and Account count
	Failed   Streak
	Pause    Pause // Retry-After
	Gone     bool  // the upstream does not know the refresh token any more
	Barred   bool  // a ban, or a mistake of ours: the renewal is not to be repeated soon
}

// CompleteRenewal enters the end of a renewal, and reports whether the identity has ended by it. An answer that comes after
// its lease still counts: the later intent's refresh token stays, and the other is kept as a spare.
func (d *Document) CompleteRenewal(policy *Policy, l *Renewal) (changed, ended bool) {
	r := d.identity(l.Identity)
	if r == nil || r.Identity.Cleared || r.Identity.Ended != 0 && l.Token == nil {
		return false, false
	}
	i := *r.Identity
	mine := i.Lease.ID == l.Lease.ID
	if !mine && (l.Token == nil || l.Token.Identity.Hash == i.Hash || l.Token.Identity.Hash == i.SpareHash) {
		return false, false // over already
	}
	if mine {
		i.Lease = Lease{}
	}
	sibling := i.Hash != l.Lease.Hash // another answer to the same refresh token came first
	switch {
	case l.Token == nil && !sibling:
	case l.Token == nil: // what failed has been replaced meanwhile
		r.Identity = &i
		return true, false
	case sibling && l.Lease.Generation < i.From:
		i.Spare, i.SpareHash = l.Token.Parts, l.Token.Identity.Hash
		r.Identity = &i
		return true, false
	default:
		next := *l.Token
		if sibling {
			stated := *next.Identity
			stated.Spare, stated.SpareHash = r.Parts, i.Hash
			next.Identity = &stated
		}
		r.Identity = &i
		d.succeed(policy, r, &next, l.Lease.Generation, l.End)
		return true, false
	}
	d.Renewals.Failed++
	f := l.Failed
	n, _ := r.Identity.Failures(0)
	f.Count = n + 1
	i.Last = f
	if l.Pause.Until > d.Renewals.Pause.Until {
		d.Renewals.Pause = l.Pause
	}
	if l.Pause.Until > d.Pause.Until { // the token endpoint wants to be left alone, whatever is asked of it
		d.Pause = l.Pause
	}
	switch {
	case l.Gone && i.SpareHash != "":
		r.Parts, i.Hash = i.Spare, i.SpareHash
		i.Spare, i.SpareHash = Parts{}, ""
	case l.Gone:
		r.Identity = &i
		d.endIdentity(policy, r, f, l.End)
		return true, true
	case l.Barred:
		i.Refusals++
		i.Closed = Pause{From: l.End, Until: l.End.Plus(policy.RateLimit.KeyBackoff(i.Refusals))}
		if f.Class == classify.Forbidden { // no other account answers a ban either
			k := d.ScopeFor(r.Scope)
			if i.Closed.Until > k.Closed.Until {
				k.Refusals, k.Closed, k.Last = max(k.Refusals, i.Refusals), i.Closed, f
			}
		}
	}
	r.Identity = &i
	return true, false
}

// succeed makes next the newest value of r's identity. What the renewal leaves out stays as it was; what was reported of
// the quota, how often it was used and how old it is belong to the account and move on; what was reported for auth belongs
// to the value.
func (d *Document) succeed(policy *Policy, r, next *Token, generation uint64, now timeline.Instant) {
	stated := next.Identity
	i := *r.Identity
	if stated.Hash != "" {
		if stated.Hash != i.Hash || stated.Expiry != 0 {
			i.Expiry = stated.Expiry
		}
		i.Hash = stated.Hash
	}
	i.Spare, i.SpareHash = stated.Spare, stated.SpareHash
	if i.Account == "" {
		i.Account = stated.Account
	}
	i.From, i.Ended = max(i.From, generation), 0
	i.Renewed, i.Renewals, i.Last, i.Closed, i.Refusals = now, i.Renewals+1, Streak{}, Pause{}, 0
	d.Renewals.Replaced = false
	d.Renewals.Succeeded++
	if next.ID == r.ID { // the upstream gave the value again
		r.Identity, r.Parts, r.Expiry, r.WallExpiry, r.Acquired = &i, next.Parts, next.Expiry, next.WallExpiry, next.Acquired
		r.Value, r.Bytes, r.Sealed, r.Private, r.Dropped = next.Value, next.Bytes, next.Sealed, next.Private, false
		d.Index()
		return
	}
	fresh := *next
	fresh.Scope, fresh.Also, fresh.Seq, fresh.Used = r.Scope, r.Also, r.Seq, now
	fresh.Usage, fresh.Uses, fresh.Ended, fresh.First = r.Usage, r.Uses, r.Ended, r.First
	fresh.Suspect, fresh.Heard, fresh.Spent, fresh.Reset = r.Suspect, r.Heard, r.Spent, r.Reset
	i.Refused = nil
	fresh.Evidence = slices.Clone(r.Evidence)
	for n := range fresh.Evidence {
		e := &fresh.Evidence[n]
		if e.Refused != 0 && len(i.Refused) < maxRefused {
			i.Refused = append(i.Refused, e.Operation)
		}
		e.Refused, e.RefusedLast, e.Early = 0, 0, false
		if e.Quota == 0 {
			e.Refusals = 0
		}
	}
	fresh.Identity = &i
	for _, older := range d.Tokens {
		if older.Successor == r.ID {
			older.Successor = fresh.ID
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

// endIdentity ends the identity of r. Its value serves on. One that ends without ever having worked or been renewed is a
// failed acquisition of its key.
func (d *Document) endIdentity(policy *Policy, r *Token, f Streak, now timeline.Instant) {
	i := *r.Identity
	d.Renewals.Ended++
	i.Ended, i.Lease = now, Lease{}
	i.Spare, i.SpareHash = Parts{}, ""
	if i.Renewals == 0 && !i.Worked {
		k := d.ScopeFor(r.Scope)
		k.Refusals++
		k.Closed = Pause{From: now, Until: now.Plus(policy.RateLimit.KeyBackoff(k.Refusals))}
		f.Count = k.Refusals
		k.Last = f
	}
	r.Identity = &i
	if !r.HasValue() {
		r.Parts, r.Private = Parts{}, false
	}
}

// refusedRenewed ends an identity whose renewed value is refused for auth before any call with it succeeded, unless
// another operation has lately had success with the account.
func (d *Document) refusedRenewed(policy *Policy, r *Token, e *Evidence, at timeline.Instant) bool {
	i := r.Identity
	if i == nil || i.Ended != 0 || i.Renewals == 0 || r.Succeeded {
		return false
	}
	for n := range r.Evidence {
		if x := &r.Evidence[n]; x != e && x.Operation != e.Operation && x.Success.Plus(Hour) > at && x.Refused == 0 {
			return false
		}
	}
	d.endIdentity(policy, r, Streak{Class: classify.AuthInvalid, Text: "the renewed value was refused before it ever worked", At: at}, at)
	return true
}

// AdoptSuccessor stores a value that its caller renewed elsewhere. It reports whether it was one: the predecessor is a value
// of a living identity of the same key, and no other account is stated.
func (d *Document) AdoptSuccessor(policy *Policy, next *Token, predecessor string, now timeline.Instant) bool {
	old := d.Tokens[predecessor]
	if old == nil {
		return false
	}
	r := d.Current(old)
	if !r.Living(now) || !r.Serves(next.Scope) || next.Identity != nil && next.Identity.Account != "" && r.Identity.Account != "" && next.Identity.Account != r.Identity.Account {
		return false
	}
	fresh := *next
	if fresh.Identity == nil {
		fresh.Identity = &Identity{}
	}
	if fresh.Parts.isZero() {
		fresh.Parts = r.Parts
	}
	d.succeed(policy, r, &fresh, r.Identity.Generation, now)
	return true
}

// pruneRenewals drops the starts of more than an hour ago.
func (d *Document) pruneRenewals(policy *Policy, now timeline.Instant) {
	if d.Renewals.Known = d.Renewals.Known || policy.Renews; d.Renewals.Known || len(d.Folded) > 0 {
		d.Version = max(d.Version, secondVersion)
	}
	d.Renewals.Starts = slices.DeleteFunc(d.Renewals.Starts, func(at timeline.Instant) bool { return at <= now-timeline.Instant(Hour) })
}

// RenewalPolicy bounds the renewals.
type RenewalPolicy struct {
	MinInterval  time.Duration
	MaxPerHour   int
	BackoffBase  time.Duration
	MaxBackoff   time.Duration
	Timeout      time.Duration
	ReplaceAfter time.Duration
}

// RenewalLease is how long a renewal holds its identity if its process never reports its end.
func (p *Policy) RenewalLease() time.Duration { return p.Renewal.Timeout + LeaseMargin }

// Bounds of the stretch before the end of a value in which it is renewed.
const (
	renewalAhead  = 5 * time.Minute
	renewalAheadN = 10 // at most a tenth of the lifetime
)

// RenewAt is from when the value of an identity is renewed ahead of its end.
func (p *Policy) RenewAt(r *Token) timeline.Instant {
	if p.RefreshAhead > 0 {
		return p.RefreshAt(r)
	}
	counts, ends := p.Expiry(r)
	return min(counts, ends-timeline.Instant(min(renewalAhead, max(ends.Sub(r.Acquired), 0)/renewalAheadN)))
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
	d.Renewals.Replaced = d.Renewals.Replaced || known.Renewals.Replaced
	for _, at := range known.Renewals.Starts {
		if !slices.Contains(d.Renewals.Starts, at) {
			d.Renewals.Starts = append(d.Renewals.Starts, at)
		}
	}
	slices.Sort(d.Renewals.Starts)
	if known.Renewals.Pause.Until > d.Renewals.Pause.Until {
		d.Renewals.Pause = known.Renewals.Pause
	}
	newest := map[string]*Token{}
	for _, r := range d.Tokens {
		if r.Identity == nil {
			continue
		}
		older := newest[r.Identity.ID]
		if older == nil {
			newest[r.Identity.ID] = r
			continue
		}
		later := r
		if i, j := r.Identity, older.Identity; i.From < j.From || i.From == j.From && r.Acquired < older.Acquired {
			later, older = older, later
		}
		newest[r.Identity.ID] = later
		older.Identity, older.Successor, older.Parts = nil, later.ID, Parts{}
		older.DropValue()
	}
}

// clamp is the identity with every instant beyond limit moved to now; i itself if none is.
func (i *Identity) clamp(limit, now timeline.Instant) (out *Identity, moved bool) {
	c := *i
	for _, at := range [...]*timeline.Instant{&c.Since, &c.Ended, &c.Renewed, &c.Lease.Start, &c.Lease.End, &c.Last.At} {
		if *at > limit {
			*at, moved = now, true
		}
	}
	if c.Closed.From > limit {
		c.Closed, moved = Pause{now, now.Plus(c.Closed.Until.Sub(c.Closed.From))}, true
	}
	if !moved {
		return i, false
	}
	return &c, true
}
