package ledger

import (
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What an acquisition leaves in the document: the charge before RequestFunc is called, and its end.

// Attempt is one started acquisition. While it runs, End is its lease's deadline.
type Attempt struct {
	ID        string           `json:"id"`
	Seq       uint64           `json:"seq"`
	Scope     string           `json:"scope,omitempty"`
	Owner     string           `json:"owner,omitempty"`
	Start     timeline.Instant `json:"start"`
	End       timeline.Instant `json:"end"`
	Running   bool             `json:"running,omitempty"`
	Adopted   bool             `json:"adopted,omitempty"`
	Operation string           `json:"op,omitempty"`        // that led to it
	Named     bool             `json:"named,omitempty"`     // Scope and Operation are known, also where they are empty
	Solo      bool             `json:"solo,omitempty"`      // on its own word, while others had a token that works
	Contested bool             `json:"contested,omitempty"` // another one has since gone on with an older token
	New       bool             `json:"new,omitempty"`       // for a scope that had never worked
	Landed    bool             `json:"landed,omitempty"`    // its end is known, not only its lease
	Behind    timeline.Instant `json:"behind,omitempty"`    // its end while the clock is behind Start; End still counts for the windows
	Failed    bool             `json:"failed,omitempty"`
}

// InProgress reports whether somebody may still be asking the upstream.
func (a *Attempt) InProgress(now timeline.Instant) bool { return a.Running && now < a.LeaseEnd(now) }

// LeaseEnd is until when an attempt that runs may ask the upstream.
func (a *Attempt) LeaseEnd(now timeline.Instant) timeline.Instant {
	return leaseEnd(a.Start, a.End, a.Behind, now)
}

// leaseEnd is when what began at start is over at the latest. After a step back of the clock that is another instant, until
// the clock has come to the start again: a clock that swings back and forth frees nothing early.
func leaseEnd(start, end, behind, now timeline.Instant) timeline.Instant {
	if behind != 0 && now < start {
		return behind
	}
	return end
}

// Charged enters an attempt.
func (d *Document) Charged(a Attempt) {
	d.Attempts = append(d.Attempts, a)
	d.sortAttempts()
}

// sortAttempts keeps the log in the order of ends, which is what the windows count by.
func (d *Document) sortAttempts() {
	slices.SortStableFunc(d.Attempts, func(a, b Attempt) int { return -cmpDesc(a.End, b.End) })
}

// Start is what is known of an acquisition before it runs.
type Start struct {
	ID, Owner, Scope string
	Class            string // of the failure that the request carried, if it did
	Template         string // of that failure, for the dedup filter
	Operation        string // that leads to it
	Solo, Contested  bool   // as in Attempt
	New              bool
	Replaces         bool // an identity that could not be renewed
}

// Charge enters a start, before the upstream is asked. It is never taken back.
func (d *Document) Charge(policy *Policy, s *Start, now timeline.Instant) Attempt {
	d.Seq++
	a := Attempt{ID: s.ID, Seq: d.Seq, Scope: s.Scope, Owner: s.Owner, Start: now, End: now.Plus(policy.Lease()), Running: true,
		Operation: s.Operation, Named: true, Solo: s.Solo, Contested: s.Contested, New: s.New}
	d.Charged(a)
	if k := d.Scopes[s.Scope]; k != nil && d.isStale(s.Scope, k, now) {
		delete(d.Scopes, s.Scope) // as any commit would have done, had there been one
	}
	d.ScopeFor(s.Scope).LastStart = now
	if s.Class != "" {
		d.Triggers = append(d.Triggers, Trigger{Seq: a.Seq, Start: now, Scope: s.Scope, Class: s.Class, Template: s.Template})
	}
	d.Counts.Starts++
	if s.Replaces {
		d.Renewals.Replaced, d.Renewals.Replacing = true, a.ID
	}
	return a
}

// Completion is how an acquisition ended.
type Completion struct {
	Attempt Attempt
	End     timeline.Instant
	Token   *Token // of a success
	Failed  Streak
	Banned  bool  // the address, device or account is, not what was asked for alone
	Pause   Pause // Retry-After
	Cut     bool  // to the most that is honoured
	Took    time.Duration
}

// Complete enters the end of an attempt, once. One whose lease has passed is fenced: its token is kept, but it frees
// nothing.
func (d *Document) Complete(policy *Policy, l *Completion) bool {
	i := slices.IndexFunc(d.Attempts, func(a Attempt) bool { return a.ID == l.Attempt.ID })
	switch {
	case i >= 0 && d.Attempts[i].Landed:
		return false
	case i < 0 && l.Token == nil: // more than a day ago
		return false
	}
	inTime := i >= 0 && d.Attempts[i].InProgress(l.End)
	if i >= 0 {
		a := &d.Attempts[i]
		a.Landed, a.Failed = true, l.Token == nil
		a.Running, a.Behind = false, 0
		if inTime {
			a.End = max(l.End, a.Start)
		} else {
			a.End = max(l.End, a.End) // a process that was stopped may have asked when it went on
		}
		d.sortAttempts()
	}
	if d.Renewals.Replacing == l.Attempt.ID {
		if l.Token != nil {
			d.replace(l.Attempt.Scope)
		}
		d.Renewals.Replaced, d.Renewals.Replacing = d.Renewals.Replaced && l.Token != nil, ""
	}
	d.pause(l.Pause)
	if l.Token != nil {
		r := *l.Token
		d.Counts.Successes++
		if inTime {
			d.Failures = Streak{}
			if d.Scopes[l.Attempt.Scope] != nil {
				k := d.ScopeFor(l.Attempt.Scope)
				k.Closed, k.Refusals, k.Last = Pause{}, 0, Streak{}
			}
		}
		d.Insert(policy, &r)
		return true
	}
	d.Counts.failed(l.Failed.Class)
	if !l.refuses() {
		if d.Failures.ID != l.Attempt.ID { // else its late answer came first, with a ban, and is this failure
			d.Failures = d.Failures.next(l.Failed, 0)
		}
		return true
	}
	d.closeKey(policy, l)
	if l.Banned { // another scope would meet the same
		d.Failures = d.Failures.next(l.Failed, 1)
	}
	return true
}

// pause enters a Retry-After, which only moves later.
func (d *Document) pause(p Pause) (changed bool) {
	if p.Until > d.Pause.Until {
		d.Pause, changed = p, true
	}
	return changed
}

// refuses reports whether the upstream refused the key.
func (l *Completion) refuses() bool {
	switch l.Failed.Class {
	case classify.Forbidden, classify.ClientError, classify.AuthInvalid:
		return true
	}
	return false
}

func (d *Document) closeKey(policy *Policy, l *Completion) {
	k := d.ScopeFor(l.Attempt.Scope)
	k.Refusals++
	k.Closed = Pause{From: l.End, Until: l.End.Plus(policy.RateLimit.KeyBackoff(k.Refusals))}
	k.Last = l.Failed
	k.Last.Count = k.Refusals
}

// FailLate enters what the upstream said in an answer that came after the attempt had been given up: its Retry-After and,
// unless the key had a token since, a refusal or a ban. The failure itself is counted once, whichever comes first.
func (d *Document) FailLate(policy *Policy, l *Completion) (changed bool) {
	changed = d.pause(l.Pause)
	since := func(r *Token) bool { return r.Seq > l.Attempt.Seq }
	k := d.Scopes[l.Attempt.Scope]
	if entered := k != nil && (k.Last.ID == l.Attempt.ID || k.Last.At > l.End); !l.refuses() || entered || slices.ContainsFunc(d.ByScope.Of(l.Attempt.Scope), since) {
		return changed
	}
	d.closeKey(policy, l)
	if l.Banned {
		f := l.Failed
		f.Count, f.Banned, f.At = max(d.Failures.Count, 1), d.Failures.Banned+1, max(f.At, d.Failures.At)
		if slices.ContainsFunc(d.Attempts, func(a Attempt) bool { return a.ID == l.Attempt.ID && !a.Landed }) {
			f.Count = d.Failures.Count + 1 // the attempt's own failure is on its way
		}
		d.Failures = f
	}
	return true
}

// next is the streak with one more failure.
func (f Streak) next(last Streak, banned int) Streak {
	last.Count, last.Banned = f.Count+1, f.Banned+banned
	last.At = max(last.At, f.At) // its end may have waited for the store
	return last
}

// Clearing says what an operator lifts.
type Clearing struct {
	Suspicion  string // a token's ID, or "*"
	Backoff    bool
	RetryAfter bool
	Identity   string // an identity's ID, or that of one of its values
}

// Clear lifts what an operator asks to lift. Attempts stay charged, rejections stay.
func (d *Document) Clear(what Clearing, now timeline.Instant) (changed bool) {
	for id, r := range d.Tokens {
		if (what.Suspicion == "*" || what.Suspicion == id) && r.doubted() {
			d.Edit(r).ClearSuspicion()
			changed = true
		}
	}
	newest := d.Tokens[what.Identity] // an operator may know an older value
	if newest != nil {
		newest = d.Current(newest)
	}
	for _, r := range d.Tokens {
		if i := r.Identity; i != nil && i.Ended == 0 && what.Identity != "" && (i.ID == what.Identity || r == newest) {
			r = d.Edit(r)
			gone := *i
			gone.Ended, gone.Cleared, gone.Lease, gone.Spare, gone.SpareHash = now, true, Lease{}, Parts{}, ""
			r.Identity, changed = &gone, true
			if r.DropValue(); !r.HasValue() {
				r.Used = now
			}
		}
	}
	if what.Backoff {
		changed = changed || d.Failures.Count > 0
		d.Failures = Streak{}
	}
	if what.RetryAfter {
		changed = changed || d.Pause.Until != 0 || d.Renewals.Pause.Until != 0
		d.Pause, d.Renewals.Pause = Pause{}, Pause{}
	}
	for _, r := range d.Tokens {
		if i := r.Identity; i != nil && what.Backoff && (i.Last.Count > 0 || i.Closed.Until != 0) {
			open := *i
			open.Last, open.Closed, open.Refusals = Streak{}, Pause{}, 0
			d.Edit(r).Identity, changed = &open, true
		}
	}
	for scope, tokens := range d.ByScope.All() {
		if what.Backoff && slices.ContainsFunc(tokens, func(r *Token) bool { return len(r.Evidence) > 0 }) {
			d.ScopeFor(scope).Lifted, changed = now, true
		}
	}
	for scope := range d.Scopes {
		k := d.ScopeFor(scope)
		if what.Backoff && k.Closed.Until != 0 {
			k.Closed, k.Refusals, k.Last, changed = Pause{}, 0, Streak{}, true
		}
		if what.RetryAfter && k.Pause.Until != 0 {
			k.Pause, changed = Pause{From: now}, true // what was reported until now is dealt with
		}
		if what.RetryAfter && len(k.Pauses) > 0 {
			k.Pauses, k.Pause.From, changed = nil, max(k.Pause.From, now), true
		}
	}
	return changed
}

// AcquiredBy reports whether the owner's process acquired the token, as far as the document still knows.
func (d *Document) AcquiredBy(r *Token, owner string) bool {
	for i := range d.Attempts {
		if d.Attempts[i].Seq == r.Seq {
			return d.Attempts[i].Owner == owner
		}
	}
	return false
}

// State is what became of an attempt, in a word or two: in progress, adopted, killed, failed or succeeded.
func (a *Attempt) State(now timeline.Instant) string {
	switch {
	case a.InProgress(now):
		return "in progress"
	case a.Adopted:
		return "adopted"
	case !a.Landed:
		return "killed"
	case a.Failed:
		return "failed"
	}
	return "succeeded"
}
