// Package counts counts calls: by a bounded number of names, and by the minute.
package counts

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tokenguard/tokenguard/internal/striped"
)

// Sort is one of hits.
type Sort uint8

// The sorts of hits.
const (
	Cached Sort = iota
	Personal
	Sorts
)

// Counts is what a name counts.
type Counts struct {
	Refused, Renewals int64
	Hits              [Sorts]int64
}

// Plus adds n times another.
func (c Counts) Plus(n int64, o Counts) Counts {
	c.Refused, c.Renewals = c.Refused+n*o.Refused, c.Renewals+n*o.Renewals
	for sort := range c.Hits {
		c.Hits[sort] += n * o.Hits[sort]
	}
	return c
}

// AllHits are those of every sort.
func (c Counts) AllHits() int64 { return c.Hits[Cached] + c.Hits[Personal] }

func (c Counts) total() int64 { return c.Refused + c.Renewals + c.AllHits() }

// Place is where a name counts. It is not emptied for the next name but counts on from what it held: a call that still
// counts for the one before must not lose its count.
type Place struct {
	hits     [Sorts]*striped.Counter
	refused  *striped.Counter
	renewals atomic.Int64
	shared   striped.Shared // refusals
	held     Counts         // by the names before; guarded by Table.mu
}

// NewPlace makes a Place out of free counters.
func NewPlace(free *striped.Counters) *Place {
	p := &Place{refused: free.Next()}
	for sort := range p.hits {
		p.hits[sort] = free.Next()
	}
	return p
}

// Hits counts the hits of a sort.
func (p *Place) Hits(sort Sort) *striped.Counter { return p.hits[sort] }

// Refused counts n refusals, on the stripe of the goroutine.
func (p *Place) Refused(stripe int, n int64) { p.refused.AddTo(stripe, n) }

// Share has a counter count refusals of the place, too. Calls must not be concurrent.
func (p *Place) Share(t *striped.Counter) { p.shared.Add(t) }

// Renewing counts a renewal that was begun.
func (p *Place) Renewing() { p.renewals.Add(1) }

// Now is what was counted for the present name.
func (p *Place) Now() Counts {
	c := Counts{Renewals: p.renewals.Load(), Refused: p.refused.Sum() + p.shared.Sum()}
	for sort, hits := range p.hits {
		c.Hits[sort] = hits.Sum()
	}
	return c.Plus(-1, p.held)
}

// Kept is how many names are counted apart.
const Kept = 64

// Table counts by name for a bounded number of names. One that comes when the table is full takes the place of the name
// that counts least, whose count goes to the rest: a flood of names that come once pushes out none that come often. It
// needs no more than Counters to be ready for use.
type Table struct {
	Counters *striped.Counters // for its places

	mu     sync.Mutex // guards what follows
	byName map[string]*Place
	rest   Counts
	last   string // the name that came last into a full table
	floor  int64  // at least what every other name counts
}

// Of returns the place of a name, if need be that of another, which it names.
func (t *Table) Of(name string) (place *Place, displaced *string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.placeLocked(name); p != nil {
		return p, nil
	}
	least := t.leastLocked()
	p := t.byName[least]
	delete(t.byName, least)
	name = strings.Clone(name)
	t.byName[name], t.last = p, name
	count := p.Now()
	t.rest, p.held = t.rest.Plus(1, count), p.held.Plus(1, count)
	return p, &least
}

// leastLocked returns the name that counts least. Counts grow, so it is the one that came last as long as that counts no
// more than the second least did when all were looked at: in a flood of names only the first looks at all. t.mu is held.
func (t *Table) leastLocked() (least string) {
	if p := t.byName[t.last]; p != nil && p.Now().total() <= t.floor {
		return t.last
	}
	used := int64(math.MaxInt64)
	t.floor = used
	for name, p := range t.byName {
		n := p.Now().total()
		if n < used {
			least, used, n = name, n, used
		}
		t.floor = min(t.floor, n)
	}
	return least
}

// placeLocked returns the place of a name that has one, or a free one; nil: there is none. t.mu is held.
func (t *Table) placeLocked(name string) *Place {
	p := t.byName[name]
	if p == nil && len(t.byName) < Kept {
		if t.byName == nil {
			t.byName = map[string]*Place{}
		}
		p = NewPlace(t.Counters)
		t.byName[strings.Clone(name)] = p
	}
	return p
}

// Hits are those of a sort, over all names.
func (t *Table) Hits(sort Sort) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.rest.Hits[sort]
	for _, p := range t.byName {
		n += p.Now().Hits[sort]
	}
	return n
}

// Now is what was counted, by name, and for the names that have no place any more.
func (t *Table) Now() (byName map[string]Counts, rest Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	byName = make(map[string]Counts, len(t.byName))
	for name, p := range t.byName {
		byName[name] = p.Now()
	}
	return byName, t.rest
}
