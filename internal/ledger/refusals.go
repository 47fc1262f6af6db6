package ledger

import (
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What it means for an account that its renewal, or a value of it, was refused.

// bar closes the renewals of r, whose identity becomes i, after a ban or a mistake of ours.
func (d *Document) bar(policy *Policy, r *Token, i *Identity, l *Renewal, f Streak) {
	i.Refusals++
	i.Closed = Pause{From: l.End, Until: l.End.Plus(policy.RateLimit.KeyBackoff(i.Refusals))}
	if f.Class == classify.Forbidden { // no other account answers a ban either
		i.Banned = true
		k := d.ScopeFor(r.Scope)
		if i.Closed.Until > k.Closed.Until {
			k.Refusals, k.Closed, k.Last = max(k.Refusals, i.Refusals), i.Closed, f
		}
	}
}

// refuseLate enters what the upstream said in an answer that came after its renewal had been given up: a ban, a mistake of
// ours, or the end of the account. That the refresh token is not known counts only if it has not been presented again since:
// then it may have been replaced by an answer that is still on its way. The failure itself has been counted.
func (d *Document) refuseLate(policy *Policy, r *Token, l *Renewal) (changed, ended bool) {
	i := *r.Identity
	f := l.Failed
	f.Count, f.At = max(i.Last.Count, 1), max(f.At, i.Last.At)
	switch {
	case l.Gone && i.Generation != l.Lease.Generation:
		return false, false
	case l.Gone && i.SpareHash != "":
		r.Parts, i.Hash = i.Spare, i.SpareHash
		i.Spare, i.SpareHash, i.Last = Parts{}, "", f
		r.Identity = &i
		return true, false
	case l.Gone:
		d.refuseIdentity(policy, r, f, l.End)
		return true, true
	case l.Barred && i.Closed.From < l.End: // else it is entered already, or another came later
		d.bar(policy, r, &i, l, f)
		i.Last = f
		r.Identity = &i
		return true, false
	}
	return false, false
}

// refuseIdentity ends the identity of r on the upstream's word. One that ends without ever having worked or been renewed
// is a failed acquisition of its key.
func (d *Document) refuseIdentity(policy *Policy, r *Token, f Streak, now timeline.Instant) {
	if i := r.Identity; i.Renewals == 0 && !i.Worked {
		k := d.ScopeFor(r.Scope)
		k.Refusals++
		k.Closed = Pause{From: now, Until: now.Plus(policy.RateLimit.KeyBackoff(k.Refusals))}
		f.Count = k.Refusals
		k.Last = f
	}
	d.endIdentity(r, f, now)
}

// endIdentity ends the identity of r. Its value serves on.
func (d *Document) endIdentity(r *Token, f Streak, now timeline.Instant) {
	i := *r.Identity
	d.Renewals.Ended++
	i.Ended, i.Last, i.Lease = now, f, Lease{}
	i.Spare, i.SpareHash = Parts{}, ""
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
	if r.WorksBeside(e.Operation, at) {
		return false
	}
	d.refuseIdentity(policy, r, Streak{Class: classify.AuthInvalid, Text: "the renewed value was refused before it ever worked", At: at}, at)
	return true
}
