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
type Sort int

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
	cells [striped.Stripes]struct {
		refused atomic.Int64
		hits    [Sorts]atomic.Int64
		_       [104]byte // two cache lines each: processors fetch them in pairs
	}
	renewals atomic.Int64
	shared   striped.Shared // refusals
	held     Counts         // by the names before; guarded by Table.mu
}

// Hit counts a hit, and returns how many of its sort the stripe has counted.
func (p *Place) Hit(sort Sort) int64 { return p.cells[striped.Here()].hits[sort].Add(1) }

// UndoHit takes back what Hit counted.
func (p *Place) UndoHit(sort Sort) { p.cells[0].hits[sort].Add(-1) }

// Refused counts n refusals, on the stripe of the goroutine.
func (p *Place) Refused(stripe int, n int64) { p.cells[stripe].refused.Add(n) }

// Share has a counter count refusals of the place, too. Calls must not be concurrent.
func (p *Place) Share(t *striped.Counter) { p.shared.Add(t) }

// Renewing counts a renewal that was begun.
func (p *Place) Renewing() { p.renewals.Add(1) }

// Now is what was counted for the present name.
func (p *Place) Now() Counts {
	c := Counts{Renewals: p.renewals.Load(), Refused: p.shared.Sum()}
	for i := range p.cells {
		c.Refused += p.cells[i].refused.Load()
		for sort := range c.Hits {
			c.Hits[sort] += p.cells[i].hits[sort].Load()
		}
	}
	return c.Plus(-1, p.held)
}

// Kept is how many names are counted apart.
const Kept = 64

// Table counts by name for a bounded number of names. One that comes when the table is full takes the place of the name
// that counts least, whose count goes to the rest: a flood of names that come once pushes out none that come often. The
// zero value is ready for use.
type Table struct {
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
		p = new(Place)
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
