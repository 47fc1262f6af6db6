package ledger

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Successions: values of a known account that were renewed elsewhere.

// ValueOf is the ID of the newest value of a living identity for the scope; "": there is none.
func (d *Document) ValueOf(identity, scope string, now timeline.Instant) string {
	for _, r := range d.ByScope.Of(scope) {
		if r.Identity != nil && r.Identity.ID == identity && r.Living(now) {
			return r.ID
		}
	}
	return ""
}

// Says reports whether a value of an account says what the next would say again: one that is stored twice does not count as
// two renewals. What ends may differ by what the two calls were apart, and by how far they were in doubt about the time.
func (r *Token) Says(next *Token) bool {
	same := func(a, b timeline.Instant) bool {
		return max(a, b).Sub(min(a, b)) < time.Second+max(r.Doubt, next.Doubt)
	}
	if !r.HasValue() || r.ID != next.ID || !same(r.Expiry, next.Expiry) || r.Identity == nil {
		return false
	}
	stated := next.Identity
	return stated == nil || (stated.Hash == "" || stated.Hash == r.Identity.Hash) && (stated.Expiry == 0 || same(stated.Expiry, r.Identity.Expiry)) && (stated.Account == "" || stated.Account == r.Identity.Account)
}

// Restate stores the secrets of a value that is known as they were given with it once more: that is no other renewal.
func (d *Document) Restate(r, next *Token) {
	r = d.Edit(r)
	r.Parts = next.Parts
	r.Value, r.Bytes, r.Sealed, r.Private, r.Dropped = next.Value, next.Bytes, next.Sealed, next.Private, false
	d.Index()
}

// AdoptSuccessor stores a value that its caller renewed elsewhere, if it is one: the predecessor is a value of a living
// identity of the same key, and no other account is stated. from is the hash of the refresh token that completed what the
// caller left out; "": nothing did. stale: another has come since.
func (d *Document) AdoptSuccessor(policy *Policy, next *Token, predecessor, from string, now timeline.Instant) (adopted, stale bool) {
	old := d.Tokens[predecessor]
	if old == nil {
		return false, false
	}
	r := d.Current(old)
	if !r.Living(now) || !r.Serves(next.Scope) || next.Identity != nil && next.Identity.Account != "" && r.Identity.Account != "" && next.Identity.Account != r.Identity.Account {
		return false, false
	}
	if other := d.Tokens[next.ID]; other != nil && other.Identity != nil && other.Identity.ID != r.Identity.ID {
		return false, false // a value of another account
	}
	if from != "" && r.Identity.Hash != from {
		return false, true
	}
	fresh := *next
	if fresh.Identity == nil {
		fresh.Identity = &Identity{}
	}
	if fresh.Parts.isZero() {
		fresh.Parts = r.Parts
	}
	d.succeed(policy, r, &fresh, r.Identity.Generation, now)
	return true, false
}
