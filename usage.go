package tokenguard

import (
	"cmp"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/striped"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// UsageStats says who uses the budget, those that use most first: at most ten scopes and ten operations, and one entry for
// all others together where there are more.
type UsageStats struct {
	Scopes []Usage `json:"scopes"`
	// Operations are the callers, by Request.Caller without the numbers and ids in it.
	Operations []Usage `json:"operations"`
}

// Usage is what one scope or one operation asks for.
//
// Acquisitions are of every process on the state, the rest is of this process since New. Of a name that is rare among more
// than 64 that may be less than all: the remainder is among the others.
type Usage struct {
	Name string `json:"name"`           // empty: the default scope, or the callers without a name
	Rest bool   `json:"rest,omitempty"` // this entry is all others together
	// Acquisitions are those that the day window counts.
	Acquisitions int `json:"acquisitions"`
	// Renewals that were begun for a call of the scope or operation.
	Renewals int64 `json:"renewals"`
	// Refused calls.
	Refused int64 `json:"refused"`
	// Hits are the calls of a scope that the cache answered; over all scopes they are CacheStats.Hits. They are counted by
	// scope alone, so that a hit has one thing to count: of an operation they are zero. What a personal token that is good
	// for any scope answers is among the others where the scope has no token of its own.
	Hits int64 `json:"hits,omitempty"`
}

const usageShown = 10

// usage counts by scope and by operation.
type usage struct {
	free               striped.Counters
	scopes, operations counts.Table
	others             *counts.Place // hits of scopes without a place of their own
	// displaced, if set, is told of a scope that lost its place.
	displaced func(scope string, place *counts.Place)
}

// begin makes u ready for use.
func (u *usage) begin() {
	u.scopes.Counters, u.operations.Counters, u.others = &u.free, &u.free, counts.NewPlace(&u.free)
}

// asker is whom a call counts for.
type asker struct{ scope, operation *counts.Place }

func (u *usage) of(q *decide.Request) asker {
	operation, _ := u.operations.Of(q.Operation)
	return asker{u.scope(q.Scope), operation}
}

func (u *usage) scope(name string) *counts.Place {
	p, displaced := u.scopes.Of(name)
	if displaced != nil && u.displaced != nil {
		u.displaced(*displaced, p)
	}
	return p
}

// renewing counts a renewal that was begun.
func (u *usage) renewing(q *decide.Request) {
	a := u.of(q)
	a.scope.Renewing()
	a.operation.Renewing()
}

// hits are the calls that the cache answered with a token of the sort.
func (u *usage) hits(sort counts.Sort) int64 {
	return u.scopes.Hits(sort) + u.others.Now().Hits[sort]
}

// refused counts a refusal.
func (a asker) refused() {
	here := striped.Here()
	a.scope.Refused(here, 1)
	a.operation.Refused(here, 1)
}

// unrefused takes back what refused counted.
func (a asker) unrefused() {
	a.scope.Refused(0, -1)
	a.operation.Refused(0, -1)
}

// share has a counter count refusals, too.
func (a asker) share(t *striped.Counter) {
	a.scope.Share(t)
	a.operation.Share(t)
}

var hitReasons = [counts.Sorts]Reason{ReasonCached, ReasonPersonal}

// stats says who uses the budget.
func (u *usage) stats(v *decide.Input, now timeline.Instant) UsageStats {
	scopes, operations, unnamed := map[string]int{}, map[string]int{}, 0
	for _, a := range v.Doc.Attempts {
		switch {
		case a.End <= now-timeline.Instant(ledger.Day):
		case !a.Named:
			unnamed++
		default:
			scopes[a.Scope]++
			operations[a.Operation]++
		}
	}
	return UsageStats{Scopes: usageOf(&u.scopes, u.others.Now(), scopes, unnamed), Operations: usageOf(&u.operations, counts.Counts{}, operations, unnamed)}
}

// usageOf merges what a table counted with the acquisitions that the state knows. others belongs to the rest.
func usageOf(t *counts.Table, others counts.Counts, acquisitions map[string]int, unnamed int) []Usage {
	byName, remainder := t.Now()
	all, rest := make([]Usage, 0, len(byName)), usageCounted("", remainder.Plus(1, others), unnamed)
	for name, c := range byName {
		all = append(all, usageCounted(name, c, acquisitions[name]))
	}
	for name, n := range acquisitions {
		if _, known := byName[name]; !known {
			all = append(all, Usage{Name: name, Acquisitions: n})
		}
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(b.Acquisitions, a.Acquisitions), cmp.Compare(b.Renewals, a.Renewals), cmp.Compare(b.Refused, a.Refused), cmp.Compare(b.Hits, a.Hits), cmp.Compare(a.Name, b.Name))
	})
	for len(all) > usageShown {
		rest.add(all[len(all)-1])
		all = all[:len(all)-1]
	}
	if rest != (Usage{}) {
		rest.Rest = true
		all = append(all, rest)
	}
	return all
}

func usageCounted(name string, c counts.Counts, acquisitions int) Usage {
	return Usage{Name: name, Acquisitions: acquisitions, Renewals: c.Renewals, Refused: c.Refused, Hits: c.AllHits()}
}

// add adds what another asks for.
func (u *Usage) add(o Usage) {
	u.Acquisitions, u.Renewals, u.Refused, u.Hits = u.Acquisitions+o.Acquisitions, u.Renewals+o.Renewals, u.Refused+o.Refused, u.Hits+o.Hits
}

// MinuteStats are the answers of this process in one minute, to about a second.
type MinuteStats struct {
	Start   time.Time `json:"start"`
	Served  int64     `json:"served"`
	Refused int64     `json:"refused"`
	Failed  int64     `json:"failed"`
}

func minuteStats(minutes []counts.Minute) []MinuteStats {
	out := make([]MinuteStats, 0, len(minutes))
	for _, m := range minutes {
		out = append(out, MinuteStats{m.Start, m.Calls[answerServed], m.Calls[answerRefused], m.Calls[answerFailed]})
	}
	return out
}
