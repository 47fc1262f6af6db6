package tokenguard

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
type Usage struct {
	Name string `json:"name"`           // empty: the default scope, or the callers without a name
	Rest bool   `json:"rest,omitempty"` // this entry is all others together
	// Acquisitions are those that the day window counts, of every process on the state.
	Acquisitions int `json:"acquisitions"`
	// Refused calls of this process since New. Of a name that is rare among more than 64 it may be less than all: the
	// rest is among the others.
	Refused int64 `json:"refused"`
}

const (
	usageKept  = 64 // names that are counted apart
	usageShown = 10
)

// usage counts by scope and by operation.
type usage struct{ scopes, operations usageTable }

// asker is whom a call counts for.
type asker struct{ scope, operation *usageCount }

func (u *usage) of(q *decide.Request) asker {
	return asker{u.scopes.of(q.Scope), u.operations.of(q.Operation)}
}

// refused counts a refusal; the zero asker is of no refused call.
func (a asker) refused() {
	if a.scope != nil {
		here := striped.Here()
		a.scope.refused[here].n.Add(1)
		a.operation.refused[here].n.Add(1)
	}
}

// usageTable counts by name for a bounded number of names. One that comes when the table is full takes the place of the
// name that counts least, whose count goes to the rest: a flood of names that come once pushes out none that come often.
type usageTable struct {
	mu     sync.Mutex // guards what follows
	byName map[string]*usageCount
	rest   int64 // refused
}

// usageCount is the place of a name. It is not emptied for the next name but counts on from what it held: a call that still
// counts for the one before must not lose its count.
type usageCount struct {
	refused [striped.Stripes]struct {
		n atomic.Int64
		_ [120]byte // two cache lines each: processors fetch them in pairs
	}
	held int64 // by the names before; guarded by usageTable.mu
}

func (c *usageCount) now() (refused int64) {
	for i := range c.refused {
		refused += c.refused[i].n.Load()
	}
	return refused - c.held
}

// of returns the place of a name, if need be that of another.
func (t *usageTable) of(name string) *usageCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.placeLocked(name); c != nil {
		return c
	}
	least, used := "", int64(-1)
	for other, c := range t.byName {
		if n := c.now(); used < 0 || n < used {
			least, used = other, n
		}
	}
	c := t.byName[least]
	delete(t.byName, least)
	t.byName[name] = c
	t.rest += used
	c.held += used
	return c
}

// placeLocked returns the place of a name that has one, or a free one; nil: there is none. t.mu is held.
func (t *usageTable) placeLocked(name string) *usageCount {
	c := t.byName[name]
	if c == nil && len(t.byName) < usageKept {
		if t.byName == nil {
			t.byName = map[string]*usageCount{}
		}
		c = new(usageCount)
		t.byName[name] = c
	}
	return c
}

// stats merges the counts with the acquisitions that the state knows.
func (t *usageTable) stats(acquisitions map[string]int, unnamed int) []Usage {
	t.mu.Lock()
	all, rest := make([]Usage, 0, len(t.byName)), Usage{Rest: true, Acquisitions: unnamed, Refused: t.rest}
	for name, c := range t.byName {
		all = append(all, Usage{Name: name, Acquisitions: acquisitions[name], Refused: c.now()})
	}
	for name, n := range acquisitions {
		if t.byName[name] == nil {
			all = append(all, Usage{Name: name, Acquisitions: n})
		}
	}
	t.mu.Unlock()
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(b.Acquisitions, a.Acquisitions), cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Name, b.Name))
	})
	for len(all) > usageShown {
		last := all[len(all)-1]
		rest.Acquisitions, rest.Refused = rest.Acquisitions+last.Acquisitions, rest.Refused+last.Refused
		all = all[:len(all)-1]
	}
	if rest != (Usage{Rest: true}) {
		all = append(all, rest)
	}
	return all
}

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
	return UsageStats{Scopes: u.scopes.stats(scopes, unnamed), Operations: u.operations.stats(operations, unnamed)}
}

// MinuteStats are the answers of this process in one minute, to about a second.
type MinuteStats struct {
	Start   time.Time `json:"start"`
	Served  int64     `json:"served"`
	Refused int64     `json:"refused"`
	Failed  int64     `json:"failed"`
}

const minutesKept = 120

// minuteLog counts by the minute without a timer and without a word of the hot path: the first call of a minute that takes
// the slow path, which is at most hotLife after its begin, notes what was counted until then.
type minuteLog struct {
	over atomic.Int64 // Unix seconds: when the present minute ends

	mu      sync.Mutex // guards what follows
	minutes []MinuteStats
	start   int64    // Unix seconds of the present minute
	before  [3]int64 // served, refused and failed calls before it
}

// note begins a new minute if the present one is over. sums are the calls so far.
func (m *minuteLog) note(wall time.Time, sums func() [3]int64) {
	if wall.Unix() < m.over.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if wall.Unix() < m.over.Load() {
		return
	}
	now := sums()
	m.minutes = m.withLocked(now, wall)
	m.minutes = m.minutes[max(0, len(m.minutes)-minutesKept):]
	m.start, m.before = wall.Truncate(time.Minute).Unix(), now
	m.over.Store(m.start + 60)
}

// withLocked returns the minutes and the present one, if there was a call in it.
func (m *minuteLog) withLocked(now [3]int64, wall time.Time) []MinuteStats {
	if now == m.before {
		return m.minutes
	}
	return append(m.minutes[:len(m.minutes):len(m.minutes)], MinuteStats{time.Unix(m.start, 0).In(wall.Location()), now[0] - m.before[0], now[1] - m.before[1], now[2] - m.before[2]})
}

// stats returns the minutes of the last two hours in which there was a call, oldest first.
func (m *minuteLog) stats(wall time.Time, sums func() [3]int64) []MinuteStats {
	m.note(wall, sums)
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.withLocked(sums(), wall)
	from, _ := slices.BinarySearchFunc(out, wall.Add(-minutesKept*time.Minute), func(s MinuteStats, edge time.Time) int { return s.Start.Compare(edge) })
	return slices.Clone(out[from:])
}
