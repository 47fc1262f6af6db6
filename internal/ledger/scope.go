package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Scope is what is known of one scope beside its tokens.
type Scope struct {
	LastStart timeline.Instant `json:"last_start,omitempty"`
	Worked    bool             `json:"worked,omitempty"`     // a success was reported with one of its tokens
	Lives     []int            `json:"lives,omitempty"`      // uses after which the last tokens were spent
	Pauses    []OperationPause `json:"pauses,omitempty"`     // by the operation that reported them, in full
	Lifted    timeline.Instant `json:"lifted,omitempty"`     // what new tokens met before closes nothing: an operator said so, or one served since
	PauseFree timeline.Instant `json:"pause_free,omitempty"` // no further pause for others begins before
	Pause     Pause            `json:"pause,omitzero"`       // rate_limited was reported
	Closed    Pause            `json:"closed,omitzero"`      // RequestFunc was refused for this key alone
	Refusals  int              `json:"refusals,omitempty"`   // in a row
	Last      Streak           `json:"last,omitzero"`        // the refusal that closed it

	form *form // it is frozen: documents share it
}

func (k *Scope) clone() *Scope {
	c := *k
	c.form = nil
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

// ScopeFor is Scope for writing: where other documents share it, a copy takes its place.
func (d *Document) ScopeFor(scope string) *Scope {
	k := d.Scopes[scope]
	switch {
	case k == nil:
		k = &Scope{}
	case k.form == nil:
		return k
	default:
		k = k.clone()
	}
	d.Scopes[scope] = k
	return k
}

// scopeWorked notes that one of the scope's tokens has worked.
func (d *Document) scopeWorked(scope string) {
	if !d.Scope(scope).Worked {
		d.ScopeFor(scope).Worked = true
	}
}

// isStale reports whether nothing that is known of the scope counts any more.
func (d *Document) isStale(scope string, k *Scope, now timeline.Instant) bool {
	yesterday := now - timeline.Instant(Day)
	return !(k.Worked && d.Newest(scope) != nil) && k.pausedUntil() <= now && k.PauseFree <= now &&
		(k.Pause.Until != 0 || k.Pause.From <= yesterday) && k.Closed.Until <= yesterday && k.LastStart <= yesterday
}

// evictScopes drops scopes beyond the bounds, those first whose loss opens the least.
func (d *Document) evictScopes(now timeline.Instant) {
	size := 0
	for scope, k := range d.Scopes {
		size += k.encodedSize(scope)
	}
	if len(d.Scopes) <= MaxScopes && size <= maxScopesSize {
		return
	}
	ranks := make(map[string][4]timeline.Instant, len(d.Scopes))
	for scope := range d.Scopes {
		ranks[scope] = d.scopeRank(scope, now)
	}
	for _, scope := range slices.SortedFunc(maps.Keys(d.Scopes), func(a, b string) int {
		x, y := ranks[a], ranks[b]
		return cmp.Or(slices.Compare(x[:], y[:]), strings.Compare(a, b))
	}) {
		if len(d.Scopes) <= MaxScopes && size <= maxScopesSize {
			return
		}
		size -= d.Scopes[scope].encodedSize(scope)
		delete(d.Scopes, scope)
	}
}

// encodedSize is about what the scope takes up in a document, in bytes.
func (k *Scope) encodedSize(scope string) int {
	return k.form.sized(func() int { return k.sizeWith(scope) })
}

func (k *Scope) sizeWith(scope string) int {
	const fields, pause = 160, 80 // names and instants
	size := fields + encodedLen(scope) + encodedLen(k.Last.Text) + len(k.Pauses)*pause
	for i := range k.Pauses {
		size += encodedLen(k.Pauses[i].Operation)
	}
	return size
}

// scopeRank orders scopes by what their loss opens: those that callers alone made with what they reported come first, and
// of both sorts the one whose gates opened first. Where they are closed still, the one that was closed last goes: no pause
// that runs gives way to those of others, however long.
func (d *Document) scopeRank(scope string, now timeline.Instant) (rank [4]timeline.Instant) {
	k := d.Scopes[scope]
	if k.LastStart != 0 || k.Closed.Until != 0 || len(d.ByScope.Of(scope)) > 0 {
		rank[0] = 1
	}
	if rank[3] = max(k.pausedUntil(), k.Closed.Until, k.LastStart); rank[3] > now {
		rank[1], rank[2] = 1, -k.closedFrom()
	}
	return rank
}

// closedFrom is when the first of the scope's pauses that still count began.
func (k *Scope) closedFrom() timeline.Instant {
	from := timeline.Never
	add := func(p Pause) {
		if p.Until != 0 {
			from = min(from, p.From)
		}
	}
	add(k.Pause)
	add(k.Closed)
	for i := range k.Pauses {
		add(k.Pauses[i].Pause)
	}
	if from == timeline.Never {
		return k.LastStart
	}
	return from
}
