package ledger

import (
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

const maxPauses = 16 // operations of a scope whose pauses are remembered

// Pause is a stretch in which the upstream wants to be left alone.
type Pause struct {
	From  timeline.Instant `json:"from,omitempty"`
	Until timeline.Instant `json:"until,omitempty"`
}

// cleared reports whether an operator ended the pause after what happened at this instant. Who waits reports the same
// again whenever it asks.
func (p Pause) cleared(at, now timeline.Instant) bool {
	return p.Until == 0 && at <= p.From && p.From <= now
}

// heardPause notes a rate limit that an operation reported. It holds in full for that operation. For the others it is at
// most a minute, or 5 min if it names a token that had worked for the operation; and the next one for others does not
// begin before 20 times its length has passed, so that one that is renewed each minute ends.
func (d *Document) heardPause(p *Report, scope string, now timeline.Instant) (changed bool) {
	pause, known := p.RatePause(), d.Scope(scope)
	if pause.Until <= now || known.Pause.cleared(pause.From, now) {
		return false
	}
	if own := (OperationPause{p.Operation, pause, p.Until != 0}); known.lacks(own) {
		k := d.ScopeFor(scope)
		k.setPause(own)
		changed = true
	}
	most := time.Minute
	if r := d.Tokens[p.Failing]; r != nil {
		if e := r.By(p.Operation); e != nil && e.Success != 0 {
			most = 5 * time.Minute
		}
	}
	shared := Pause{From: pause.From, Until: min(pause.Until, pause.From.Plus(most))}
	if shared.Until > max(now, known.Pause.Until) && pause.From >= known.PauseFree {
		k := d.ScopeFor(scope)
		k.Pause = shared
		k.PauseFree = shared.From.Plus(21 * shared.Until.Sub(shared.From))
		changed = true
	}
	return changed
}

// OperationPause is a pause of one operation.
type OperationPause struct {
	Operation string `json:"op,omitempty"`
	Pause
	// Stated: the upstream said how long. Otherwise it is what is assumed where it says nothing.
	Stated bool `json:"stated,omitempty"`
}

// StatedPauseOf is the pause that the operation reported itself, if the upstream stated its length.
func (k *Scope) StatedPauseOf(operation string) Pause {
	for i := range k.Pauses {
		if k.Pauses[i].Operation == operation && k.Pauses[i].Stated {
			return k.Pauses[i].Pause
		}
	}
	return Pause{}
}

// PauseOf is the pause that the operation reported itself: the longer one, if one is stated and one is assumed.
func (k *Scope) PauseOf(operation string) (longest Pause) {
	for i := range k.Pauses {
		if k.Pauses[i].Operation == operation && k.Pauses[i].Until > longest.Until {
			longest = k.Pauses[i].Pause
		}
	}
	return longest
}

// lacks reports whether a pause says more than is known of its operation: it is longer, or longer than what was stated.
func (k *Scope) lacks(p OperationPause) bool {
	if p.Stated {
		return p.Until > k.StatedPauseOf(p.Operation).Until
	}
	return p.Until > k.PauseOf(p.Operation).Until
}

// setPause keeps the pause. Of an operation two are kept only where one that is assumed lasts longer than the stated one.
func (k *Scope) setPause(p OperationPause) {
	k.Pauses = slices.DeleteFunc(slices.Clone(k.Pauses), func(o OperationPause) bool {
		return o.Operation == p.Operation && (o.Stated == p.Stated || !o.Stated && o.Until <= p.Until || o.Until <= p.From)
	})
	k.Pauses = append(k.Pauses, p)
	if k.pausing() <= maxPauses {
		return
	}
	first, ends := "", timeline.Never
	for i := range k.Pauses {
		if o := k.Pauses[i].Operation; o != p.Operation && k.PauseOf(o).Until < ends {
			first, ends = o, k.PauseOf(o).Until
		}
	}
	k.Pauses = slices.DeleteFunc(k.Pauses, func(o OperationPause) bool { return o.Operation == first }) // the one that ends first goes
}

// pausing is the number of operations with a pause.
func (k *Scope) pausing() (n int) {
	for i := range k.Pauses {
		if !slices.ContainsFunc(k.Pauses[:i], func(o OperationPause) bool { return o.Operation == k.Pauses[i].Operation }) {
			n++
		}
	}
	return n
}

// pausedUntil is when the last of the scope's pauses ends.
func (k *Scope) pausedUntil() timeline.Instant {
	until := k.Pause.Until
	for i := range k.Pauses {
		until = max(until, k.Pauses[i].Until)
	}
	return until
}
