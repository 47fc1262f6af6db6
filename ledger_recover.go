package tokenguard

import (
	"maps"
	"slices"
)

// What a document needs before it can be decided on: after a loss, and after a clock that was wrong.

// lineage is what a store says of where a document comes from.
type lineage struct {
	Rev   uint64
	Epoch string
	Empty bool // there is no document at this revision
}

// heal makes what the store gave fit for deciding: it notices a lost lineage, adds the attempts that this process
// knows of itself but the document does not, and pulls instants in that no rule could have set this far ahead.
// It reports what it found, for the log; empty: nothing.
// anew says that the lineage began anew without a word of what was lost.
// known is the last document of another lineage that this process saw, or nil.
func (d *document) heal(line lineage, anew bool, own []attempt, known *document, now instant) (found []string) {
	switch lost := anew || line.Rev > 0 && line.Empty; {
	case lost, d.Settled && line.Epoch != d.Epoch, d.Epoch != "" && line.Epoch != d.Epoch:
		d.Lost = now
		found = append(found, "the store may have lost commits: the hour window counts as full, the day budget opens at its even pace")
	}
	d.settle(line)
	if known != nil && d.merge(known) {
		found = append(found, "what this process knew of the lost state was carried over")
	}
	for _, a := range own {
		if a.End <= now-instant(day) || slices.ContainsFunc(d.Attempts, func(b attempt) bool { return a.ID == b.ID }) {
			continue
		}
		d.log(a)
		d.Seq = max(d.Seq, a.Seq)
		found = append(found, "an attempt of this process was missing in the state and is charged again")
	}
	if d.ahead(now) {
		found = append(found, clockBack)
	}
	return found
}

const clockBack = "the clock stepped back: instants more than 25 h ahead were moved to now"

// settle notes the lineage that the document belongs to.
func (d *document) settle(line lineage) {
	d.Settled, d.Epoch = d.Settled || line.Rev > 0, line.Epoch
}

// merge takes over from a document of a lost lineage what is missing here. It opens nothing.
func (d *document) merge(known *document) (changed bool) {
	if d.Seq == 0 && len(d.Tokens) == 0 {
		d.History, d.Counts = known.History.Clone(), known.Counts
		d.Counts.Failures = maps.Clone(known.Counts.Failures)
	}
	for _, a := range known.Attempts {
		if !slices.ContainsFunc(d.Attempts, func(b attempt) bool { return a.ID == b.ID }) {
			d.Attempts, changed = append(d.Attempts, a), true
		}
	}
	d.sortAttempts()
	d.Seq = max(d.Seq, known.Seq)
	later := func(p *pause, q pause) {
		if q.Until > p.Until {
			*p, changed = q, true
		}
	}
	later(&d.Pause, known.Pause)
	if known.Failures.At > d.Failures.At {
		d.Failures, changed = known.Failures, true
	}
	for scope, k := range known.Keys {
		own := d.keyFor(scope)
		later(&own.Pause, k.Pause)
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
			copied := *r
			copied.Usage = r.Usage.Clone()
			d.Tokens[id], changed = &copied, true
		case r.Rejected > own.Rejected, r.Spent > own.Spent:
			own.Rejected, own.Spent = max(own.Rejected, r.Rejected), max(own.Spent, r.Spent)
			own.Suspect, own.Reset, changed = max(own.Suspect, r.Suspect), max(own.Reset, r.Reset), true
		}
	}
	for _, r := range known.Records {
		if !slices.ContainsFunc(d.Records, func(b dedupRecord) bool { return r.Seq == b.Seq && r.Start == b.Start }) {
			d.Records, changed = append(d.Records, r), true
		}
	}
	slices.SortStableFunc(d.Records, func(a, b dedupRecord) int { return -cmpDesc(a.Start, b.Start) })
	d.index()
	return changed
}

// ahead pulls in every instant that lies further ahead than any rule sets one, as after a clock that was wrong.
// Anything less far ahead stays and counts: a step back frees nothing.
func (d *document) ahead(now instant) (moved bool) {
	const furthest = day + hour // a Retry-After of 24 h, counted from a lease's end
	limit := now.plus(furthest)
	pull := func(t *instant, to instant) {
		if *t > limit {
			*t, moved = to, true
		}
	}
	pullPause := func(p *pause) {
		if p.Until > limit {
			*p, moved = pause{now, now.plus(min(p.Until.sub(p.From), day))}, true
		}
	}
	for i := range d.Attempts {
		a := &d.Attempts[i]
		pull(&a.Start, now)
		pull(&a.End, now)
	}
	pull(&d.Failures.At, now)
	pullPause(&d.Pause)
	pull(&d.Clock.Last, now)
	pull(&d.Lost, now)
	pull(&d.Swept, now)
	for _, k := range d.Keys {
		pull(&k.LastStart, now)
		pullPause(&k.Pause)
		pullPause(&k.Closed)
	}
	for i := range d.Records {
		pull(&d.Records[i].Start, now)
	}
	for _, r := range d.Tokens {
		if r.Acquired > limit { // its age says nothing any more: it is as if taken in now
			if r.Expiry != 0 {
				r.Expiry -= r.Acquired - now
			}
			r.Acquired, moved = now, true
		}
		pull(&r.Suspect, now)
		pull(&r.Heard, now)
		pull(&r.Spent, now)
		pull(&r.Rejected, now)
		pull(&r.Used, now)
	}
	d.sortAttempts()
	return moved
}
