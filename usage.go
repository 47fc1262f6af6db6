package tokenguard

import (
	"cmp"
	"math"
	"slices"
	"strings"
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
	// for any scope answers without a question is among the others.
	Hits int64 `json:"hits,omitempty"`
}

const (
	usageKept  = 64 // names that are counted apart
	usageShown = 10
)

// usage counts by scope and by operation.
type usage struct {
	scopes, operations usageTable
	others             usageCount // hits of scopes without a place of their own
	// displaced, if set, is told of a scope that lost its place.
	displaced func(scope string, place *usageCount)
}

// asker is whom a call counts for.
type asker struct{ scope, operation *usageCount }

func (u *usage) of(q *decide.Request) asker {
	return asker{u.scope(q.Scope), u.operation(q.Operation)}
}

func (u *usage) scope(name string) *usageCount {
	c, displaced := u.scopes.of(name)
	if displaced != nil && u.displaced != nil {
		u.displaced(*displaced, c)
	}
	return c
}

func (u *usage) operation(name string) *usageCount {
	c, _ := u.operations.of(name)
	return c
}

// renewing counts a renewal that was begun.
func (u *usage) renewing(q *decide.Request) {
	a := u.of(q)
	a.scope.renewals.Add(1)
	a.operation.renewals.Add(1)
}

// hits are the calls that the cache answered with a token of the sort.
func (u *usage) hits(sort int) int64 {
	return u.scopes.hits(sort) + u.others.now().hits[sort]
}

// refused counts a refusal.
func (a asker) refused() {
	here := striped.Here()
	a.scope.cells[here].refused.Add(1)
	a.operation.cells[here].refused.Add(1)
}

// unrefused takes back what refused counted.
func (a asker) unrefused() {
	a.scope.cells[0].refused.Add(-1)
	a.operation.cells[0].refused.Add(-1)
}

// Sorts of hits.
const (
	hitCached = iota
	hitPersonal
	hitSorts
)

var hitReasons = [hitSorts]Reason{ReasonCached, ReasonPersonal}

// uses is what a name counts.
type uses struct {
	refused, renewals int64
	hits              [hitSorts]int64
}

// plus adds n times another.
func (t uses) plus(n int64, o uses) uses {
	t.refused, t.renewals = t.refused+n*o.refused, t.renewals+n*o.renewals
	for sort := range t.hits {
		t.hits[sort] += n * o.hits[sort]
	}
	return t
}

func (t uses) total() int64 { return t.refused + t.renewals + t.hits[hitCached] + t.hits[hitPersonal] }

func (t uses) usage(name string, acquisitions int) Usage {
	return Usage{Name: name, Acquisitions: acquisitions, Renewals: t.renewals, Refused: t.refused, Hits: t.hits[hitCached] + t.hits[hitPersonal]}
}

// usageTable counts by name for a bounded number of names. One that comes when the table is full takes the place of the
// name that counts least, whose count goes to the rest: a flood of names that come once pushes out none that come often.
type usageTable struct {
	mu     sync.Mutex // guards what follows
	byName map[string]*usageCount
	rest   uses
	last   string // the name that came last into a full table
	floor  int64  // at least what every other name counts
}

// usageCount is the place of a name. It is not emptied for the next name but counts on from what it held: a call that still
// counts for the one before must not lose its count.
type usageCount struct {
	cells [striped.Stripes]struct {
		refused atomic.Int64
		hits    [hitSorts]atomic.Int64
		_       [104]byte // two cache lines each: processors fetch them in pairs
	}
	renewals atomic.Int64
	held     uses // by the names before; guarded by usageTable.mu
}

// hit counts a call that the cache answered, and returns how many of its sort the stripe has counted.
func (c *usageCount) hit(sort int) int64 { return c.cells[striped.Here()].hits[sort].Add(1) }

// undo takes back what hit counted.
func (c *usageCount) undo(sort int) { c.cells[0].hits[sort].Add(-1) }

func (c *usageCount) now() uses {
	t := uses{renewals: c.renewals.Load()}
	for i := range c.cells {
		t.refused += c.cells[i].refused.Load()
		for sort := range t.hits {
			t.hits[sort] += c.cells[i].hits[sort].Load()
		}
	}
	return t.plus(-1, c.held)
}

// of returns the place of a name, if need be that of another, which it names.
func (t *usageTable) of(name string) (place *usageCount, displaced *string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.placeLocked(name); c != nil {
		return c, nil
	}
	least := t.leastLocked()
	c := t.byName[least]
	delete(t.byName, least)
	name = strings.Clone(name)
	t.byName[name], t.last = c, name
	count := c.now()
	t.rest, c.held = t.rest.plus(1, count), c.held.plus(1, count)
	return c, &least
}

// leastLocked returns the name that counts least. Counts grow, so it is the one that came last as long as that counts no
// more than the second least did when all were looked at: in a flood of names only the first looks at all. t.mu is held.
func (t *usageTable) leastLocked() (least string) {
	if c := t.byName[t.last]; c != nil && c.now().total() <= t.floor {
		return t.last
	}
	used := int64(math.MaxInt64)
	t.floor = used
	for name, c := range t.byName {
		n := c.now().total()
		if n < used {
			least, used, n = name, n, used
		}
		t.floor = min(t.floor, n)
	}
	return least
}

// placeLocked returns the place of a name that has one, or a free one; nil: there is none. t.mu is held.
func (t *usageTable) placeLocked(name string) *usageCount {
	c := t.byName[name]
	if c == nil && len(t.byName) < usageKept {
		if t.byName == nil {
			t.byName = map[string]*usageCount{}
		}
		c = new(usageCount)
		t.byName[strings.Clone(name)] = c
	}
	return c
}

func (t *usageTable) hits(sort int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.rest.hits[sort]
	for _, c := range t.byName {
		n += c.now().hits[sort]
	}
	return n
}

// stats merges the counts with the acquisitions that the state knows. others belongs to the rest.
func (t *usageTable) stats(acquisitions map[string]int, unnamed int, others uses) []Usage {
	t.mu.Lock()
	all, rest := make([]Usage, 0, len(t.byName)), t.rest.plus(1, others).usage("", unnamed)
	for name, c := range t.byName {
		all = append(all, c.now().usage(name, acquisitions[name]))
	}
	for name, n := range acquisitions {
		if t.byName[name] == nil {
			all = append(all, Usage{Name: name, Acquisitions: n})
		}
	}
	t.mu.Unlock()
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

// add adds what another asks for.
func (u *Usage) add(o Usage) {
	u.Acquisitions, u.Renewals, u.Refused, u.Hits = u.Acquisitions+o.Acquisitions, u.Renewals+o.Renewals, u.Refused+o.Refused, u.Hits+o.Hits
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
	return UsageStats{Scopes: u.scopes.stats(scopes, unnamed, u.others.now()), Operations: u.operations.stats(operations, unnamed, uses{})}
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
