package tokenguard

import (
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
)

// What an acquisition leaves in the document: the charge before RequestFunc is called, and its end.

// start is what is known of an acquisition before it runs.
type start struct {
	ID, Owner, Scope string
	Class            string // of the failure that the request carried, if it did
	Template         string // of that failure, for the dedup filter
}

// charge enters a start, before the upstream is asked. It is never taken back.
func (d *document) charge(policy *Policy, s *start, now instant) attempt {
	d.Seq++
	a := attempt{ID: s.ID, Seq: d.Seq, Scope: s.Scope, Owner: s.Owner, Start: now, End: now.plus(policy.Lease()), Running: true}
	d.log(a)
	d.keyFor(s.Scope).LastStart = now
	if s.Class != "" {
		d.Records = append(d.Records, dedupRecord{Seq: a.Seq, Start: now, Scope: s.Scope, Class: s.Class, Template: s.Template})
	}
	d.Counts.Starts++
	return a
}

// landing is how an acquisition ended.
type landing struct {
	attempt attempt
	end     instant
	token   *record // of a success
	failed  failures
	pause   pause // Retry-After
	took    time.Duration
}

// land enters the end of an attempt, once. One whose lease has passed is fenced: its token is kept, but it frees
// nothing.
func (d *document) land(policy *Policy, l *landing) bool {
	i := slices.IndexFunc(d.Attempts, func(a attempt) bool { return a.ID == l.attempt.ID })
	switch {
	case i >= 0 && d.Attempts[i].Landed:
		return false
	case i < 0 && l.token == nil: // more than a day ago
		return false
	}
	inTime := i >= 0 && d.Attempts[i].inProgress(l.end)
	if i >= 0 {
		a := &d.Attempts[i]
		a.Landed, a.Failed = true, l.token == nil
		a.Running, a.Scope = false, ""
		if inTime {
			a.End = max(l.end, a.Start)
		} else {
			a.End = max(l.end, a.End) // a process that was stopped may have asked when it went on
		}
		d.sortAttempts()
	}
	if l.pause.Until > d.Pause.Until {
		d.Pause = l.pause
	}
	if l.token != nil {
		r := *l.token
		r.Prior = d.Failures.Count
		d.Counts.Successes++
		if inTime {
			d.Failures = failures{}
			if k := d.Keys[l.attempt.Scope]; k != nil {
				k.Closed, k.Refusals, k.Last = pause{}, 0, failures{}
			}
		}
		d.insert(policy, &r)
		return true
	}
	f := l.failed
	d.Counts.failed(f.Class)
	switch f.Class {
	case classify.Forbidden, classify.ClientError, classify.AuthInvalid:
		k := d.keyFor(l.attempt.Scope)
		k.Refusals++
		k.Closed = pause{From: l.end, Until: l.end.plus(doubled(closingBase, k.Refusals, closingMost))}
		f.Count = k.Refusals
		k.Last = f
	default:
		f.Count, f.At = d.Failures.Count+1, max(f.At, d.Failures.At) // its end may have waited for the store
		d.Failures = f
	}
	return true
}

// adopt takes in a token that was fetched elsewhere, charged as a start that ended at once. A token that is known
// already is not charged again.
func (d *document) adopt(policy *Policy, r *record, id, owner string, now instant) bool {
	if old := d.Tokens[r.ID]; old != nil && old.held() {
		return false
	}
	d.Seq++
	d.log(attempt{ID: id, Seq: d.Seq, Owner: owner, Start: now, End: now, Adopted: true})
	d.keyFor(r.Scope).LastStart = now
	d.Counts.Starts++
	r.Seq = d.Seq
	d.insert(policy, r)
	return true
}

// clearing says what an operator lifts.
type clearing struct {
	Suspicion  string // a token's ID, or "*"
	Backoff    bool
	RetryAfter bool
}

// clear lifts what an operator asks to lift. Attempts stay charged, rejections stay.
func (d *document) clear(what clearing, now instant) (changed bool) {
	for id, r := range d.Tokens {
		if (what.Suspicion == "*" || what.Suspicion == id) && (r.Suspect != 0 || r.Spent != 0) {
			r.lift()
			changed = true
		}
		if what.Backoff && r.Prior != 0 { // a rejection would bring the failures before it back
			r.Prior, changed = 0, true
		}
	}
	if what.Backoff {
		changed = changed || d.Failures.Count > 0
		d.Failures = failures{}
	}
	if what.RetryAfter {
		changed = changed || d.Pause.Until != 0
		d.Pause = pause{}
	}
	for _, k := range d.Keys {
		if what.Backoff && k.Closed.Until != 0 {
			k.Closed, k.Refusals, k.Last, changed = pause{}, 0, failures{}, true
		}
		if what.RetryAfter && k.Pause.Until != 0 {
			k.Pause, changed = pause{From: now}, true // what was reported until now is dealt with
		}
	}
	return changed
}
