package ledger

import (
	"slices"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Scope is what is known of one scope beside its tokens.
type Scope struct {
	LastStart timeline.Instant `json:"last_start,omitempty"`
	Worked    bool             `json:"worked,omitempty"`     // a success was reported with one of its tokens
	Lives     []int            `json:"lives,omitempty"`      // uses after which the last tokens were spent
	Pauses    []OperationPause `json:"pauses,omitempty"`     // by the operation that reported them, in full
	Lifted    timeline.Instant `json:"lifted,omitempty"`     // by an operator: what new tokens met before closes nothing
	PauseFree timeline.Instant `json:"pause_free,omitempty"` // no further pause for others begins before
	Pause     Pause            `json:"pause,omitzero"`       // rate_limited was reported
	Closed    Pause            `json:"closed,omitzero"`      // RequestFunc was refused for this key alone
	Refusals  int              `json:"refusals,omitempty"`   // in a row
	Last      Streak           `json:"last,omitzero"`        // the refusal that closed it
}

func (k *Scope) clone() *Scope {
	c := *k
	c.Lives, c.Pauses = slices.Clone(k.Lives), slices.Clone(k.Pauses)
	return &c
}

// noScope is what is known of a scope that nothing is known of. It is never written.
var noScope Scope

func (d *Document) Scope(scope string) *Scope {
	if k := d.Scopes[scope]; k != nil {
		return k
	}
	return &noScope
}

// ScopeFor is key for writing.
func (d *Document) ScopeFor(scope string) *Scope {
	k := d.Scopes[scope]
	if k == nil {
		k = &Scope{}
		d.Scopes[scope] = k
	}
	return k
}

// evictionCandidate is the key whose loss opens the least: of those that callers alone made with what they reported, else of
// all, the one whose gates open first.
func (d *Document) evictionCandidate() string {
	var least string
	lowest := [2]timeline.Instant{timeline.Never, timeline.Never}
	for scope, k := range d.Scopes {
		reported := timeline.Instant(0)
		if k.LastStart != 0 || k.Closed.Until != 0 || len(d.ByScope[scope]) > 0 {
			reported = 1
		}
		rank := [2]timeline.Instant{reported, max(k.pausedUntil(), k.Closed.Until, k.LastStart)}
		if slices.Compare(rank[:], lowest[:]) < 0 {
			least, lowest = scope, rank
		}
	}
	return least
}
