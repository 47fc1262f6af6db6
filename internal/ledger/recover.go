package ledger

import (
	"maps"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What a document needs before it can be decided on: after a loss, and after a clock that was wrong.

// Lineage is what a store says of where a document comes from.
type Lineage struct {
	Rev   uint64
	Epoch string
	Empty bool // there is no document at this revision
}

// Recover makes what the store gave fit for deciding: it notices a lost lineage, adds the attempts that this process
// knows of itself but the document does not, and pulls instants in that no rule could have set this far ahead.
// It reports what it found, for the log; empty: nothing.
// anew says that the lineage began anew without a word of what was lost.
// known is the last document of another lineage that this process saw, or nil.
func (d *Document) Recover(line Lineage, anew bool, own []Attempt, known *Document, now timeline.Instant) (found []string) {
	switch lost := anew || line.Rev > 0 && line.Empty; {
	case lost, d.Settled && line.Epoch != d.Epoch, d.Epoch != "" && line.Epoch != d.Epoch:
		d.Lost = now
		found = append(found, "the store may have lost commits: the hourly limit is treated as used up, the daily limit opens at its even pace")
	}
	d.SetLineage(line)
	if known != nil && d.merge(known) {
		found = append(found, "what this process knew of the lost state was carried over")
	}
	for _, a := range own {
		if a.End <= now-timeline.Instant(Day) || slices.ContainsFunc(d.Attempts, func(b Attempt) bool { return a.ID == b.ID }) {
			continue
		}
		d.Charged(a)
		d.Seq = max(d.Seq, a.Seq)
		found = append(found, "an attempt of this process was missing in the state and is charged again")
	}
	if text := d.ClampFuture(now); text != "" {
		found = append(found, text)
	}
	return found
}

// What ClampFuture says of what it did.
const (
	ClockBack = "the clock stepped back: instants more than 25 h ahead were moved to now"
	LeaseBack = "the clock stepped back while an acquisition or a renewal was in progress: it counts as that for no longer than its own length"
)

// SetLineage notes the lineage that the document belongs to.
func (d *Document) SetLineage(line Lineage) {
	d.Settled, d.Epoch = d.Settled || line.Rev > 0, line.Epoch
}

// merge takes over from a document of a lost lineage what is missing here. It opens nothing.
func (d *Document) merge(known *Document) (changed bool) {
	if d.Seq == 0 && len(d.Tokens) == 0 {
		d.History, d.Counts = known.History.Clone(), known.Counts
		d.Counts.Failures = maps.Clone(known.Counts.Failures)
	}
	for _, a := range known.Attempts {
		switch i := slices.IndexFunc(d.Attempts, func(b Attempt) bool { return a.ID == b.ID }); {
		case i < 0:
			d.Attempts, changed = append(d.Attempts, a), true
		case a.Landed && !d.Attempts[i].Landed: // its end was lost with the state
			d.Attempts[i], changed = a, true
		}
	}
	d.editAll()
	d.sortAttempts()
	changed = d.mergeFolded(known.Folded) || changed
	d.Seq = max(d.Seq, known.Seq)
	later := func(p *Pause, q Pause) {
		if q.Until > p.Until {
			*p, changed = q, true
		}
	}
	later(&d.Pause, known.Pause)
	if known.Failures.At > d.Failures.At {
		d.Failures, changed = known.Failures, true
	}
	for scope, k := range known.Scopes {
		own := d.ScopeFor(scope)
		later(&own.Pause, k.Pause)
		for _, p := range k.Pauses {
			if own.lacks(p) {
				own.setPause(p)
				changed = true
			}
		}
		own.Worked = own.Worked || k.Worked
		own.PauseFree, own.Lifted = max(own.PauseFree, k.PauseFree), max(own.Lifted, k.Lifted)
		if len(own.Lives) == 0 {
			own.Lives = slices.Clone(k.Lives)
		}
		if k.Closed.Until > own.Closed.Until {
			own.Refusals, own.Last = k.Refusals, k.Last
		}
		later(&own.Closed, k.Closed)
		if k.LastStart > own.LastStart {
			own.LastStart, changed = k.LastStart, true
		}
	}
	for id, r := range known.Tokens {
		switch own := d.Tokens[id]; {
		case own == nil:
			d.Tokens[id], changed = r.clone(), true
		case r.Rejected > own.Rejected, r.Spent > own.Spent:
			own.Rejected, own.Spent = max(own.Rejected, r.Rejected), max(own.Spent, r.Spent)
			own.Suspect, changed = max(own.Suspect, r.Suspect), true
			if r.Reset > own.Reset {
				own.setQuota(r.quota())
			}
		}
		if own := d.Tokens[id]; own.mergeEvidence(r) {
			changed = true
		}
	}
	for _, r := range known.Triggers {
		if !slices.ContainsFunc(d.Triggers, func(b Trigger) bool { return r.Seq == b.Seq && r.Start == b.Start }) {
			d.Triggers, changed = append(d.Triggers, r), true
		}
	}
	slices.SortStableFunc(d.Triggers, func(a, b Trigger) int { return -cmpDesc(a.Start, b.Start) })
	d.mergeRenewals(known)
	d.Index()
	return changed
}

// mergeEvidence takes over what operations have seen that the record knows nothing of.
func (r *Token) mergeEvidence(known *Token) (changed bool) {
	for i := range known.Evidence {
		if e := known.Evidence[i]; r.By(e.Operation) == nil && len(r.Evidence) < maxEvidence {
			r.Evidence, changed = append(r.Evidence, e), true
		}
	}
	if known.Uses > r.Uses {
		r.Uses, changed = known.Uses, true
	}
	if known.FreshRefusals > r.FreshRefusals {
		r.FreshRefusals, r.FreshBy, r.FreshRefused, changed = known.FreshRefusals, known.FreshBy, known.FreshRefused, true
	}
	r.Succeeded = r.Succeeded || known.Succeeded
	return changed
}

// ClampFuture moves instants that are further ahead than any rule sets one to now: the clock was wrong.
// Anything less far ahead stays and counts: a step back frees nothing. But what is in progress ends within its own length,
// however small the step: others wait for its end, and a process that was killed reports none. It returns what it did, for
// the log; empty: nothing.
func (d *Document) ClampFuture(now timeline.Instant) (text string) {
	const furthest = Day + Hour // further than any rule sets one; a pause counts by its beginning
	limit := now.Plus(furthest)
	leases, moved := d.clampLeases(now), false
	pull := func(t *timeline.Instant, to timeline.Instant) {
		if *t > limit {
			*t, moved = to, true
		}
	}
	pullPause := func(p *Pause) {
		if p.From > limit || p.From == 0 && p.Until > limit {
			*p, moved = Pause{now, now.Plus(min(p.Until.Sub(p.From), MaxRetryAfter))}, true
		}
	}
	// A stated reset may be far ahead: it keeps its distance from the report that stated it.
	pullReset := func(reset *timeline.Instant, stated timeline.Instant) {
		if *reset != 0 && stated > limit {
			*reset, moved = *reset-(stated-now), true
		}
	}
	for i := range d.Attempts {
		a := &d.Attempts[i]
		switch {
		case a.Landed || a.Adopted:
			pull(&a.Start, now)
			pull(&a.End, now)
		case a.Start > limit: // it may still run, for its length
			a.Start, a.End, a.Behind, moved = now, now.Plus(a.End.Sub(a.Start)), 0, true
		}
	}
	for i := range d.Folded {
		pull(&d.Folded[i].End, now)
	}
	pull(&d.Failures.At, now)
	pullPause(&d.Pause)
	pull(&d.Clock.Last, now)
	pull(&d.Lost, now)
	pull(&d.Swept, now)
	for scope := range d.Scopes {
		k := d.ScopeFor(scope)
		pull(&k.LastStart, now)
		pullPause(&k.Pause)
		for i := range k.Pauses {
			pullPause(&k.Pauses[i].Pause)
		}
		pull(&k.PauseFree, now)
		pull(&k.Lifted, now)
		pullPause(&k.Closed)
		pull(&k.Last.At, now)
	}
	for i := range d.Limits {
		pull(&d.Limits[i].At, now)
	}
	for i := range d.Triggers {
		pull(&d.Triggers[i].Start, now)
	}
	for i := range d.Renewals.Starts {
		pull(&d.Renewals.Starts[i], now)
	}
	pullPause(&d.Renewals.Pause)
	for _, r := range d.Tokens {
		r = d.Edit(r)
		if r.Acquired > limit { // its age says nothing any more: it is as if taken in now
			if r.Expiry != 0 {
				r.Expiry -= r.Acquired - now
			}
			r.Acquired, moved = now, true
		}
		if r.Identity != nil {
			var clamped bool
			if r.Identity, clamped = r.Identity.clamp(limit, now); clamped {
				moved = true
			}
		}
		pullReset(&r.Reset, r.Heard)
		pull(&r.Suspect, now)
		pull(&r.Heard, now)
		pull(&r.Spent, now)
		pull(&r.Trying, now)
		pull(&r.Rejected, now)
		pull(&r.Used, now)
		pull(&r.First, now)
		pull(&r.FreshRefused, now)
		for i := range r.Evidence {
			e := &r.Evidence[i]
			pullReset(&e.Reset, e.QuotaLast)
			for _, at := range [...]*timeline.Instant{&e.Success, &e.Refused, &e.RefusedLast, &e.Quota, &e.QuotaLast, &e.Known, &e.Heard, &e.Trying} {
				pull(at, now)
			}
		}
	}
	d.sortAttempts()
	d.Index() // it goes by when they were acquired, too
	switch {
	case moved:
		return ClockBack
	case leases:
		return LeaseBack
	}
	return ""
}

// leaseSlack is by how much a lease may outlast its length after a step back that is none worth telling.
const leaseSlack = time.Second

// clampLease is when a lease ends while the clock is behind its start; 0: it is not.
func clampLease(start, end, behind, now timeline.Instant) timeline.Instant {
	if now >= start {
		return 0
	}
	if most := now.Plus(end.Sub(start)); leaseEnd(start, end, behind, now) > most.Plus(leaseSlack) {
		return most
	}
	return behind
}

// clampLeases ends what is in progress within its own length from now.
func (d *Document) clampLeases(now timeline.Instant) (moved bool) {
	for i := range d.Attempts {
		a := &d.Attempts[i]
		if behind := clampLease(a.Start, a.End, a.Behind, now); a.Running && behind != a.Behind {
			a.Behind, moved = behind, moved || behind != 0
		}
	}
	for _, r := range d.Tokens {
		if r.Identity == nil {
			continue
		}
		l := &r.Identity.Lease
		if behind := clampLease(l.Start, l.End, l.Behind, now); l.ID != "" && behind != l.Behind {
			i := *r.Identity
			i.Lease.Behind = behind
			d.Edit(r).Identity, moved = &i, moved || behind != 0
		}
	}
	return moved
}
