package tokenguard

import (
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// usedStep is the resolution of the order of use among hits that read the clock: one stores its instant only that long
// after the last one. A hit that reads none leaves it as the first of its term stored it.
const usedStep = time.Millisecond

// lastUse follows a token through the tables.
type lastUse struct {
	at      atomic.Int64 // meter instant
	foreign atomic.Bool  // from another process, and not handed out yet
}

// touch notes a use, unless one was noted a moment ago.
func (u *lastUse) touch(at timeline.Instant) {
	if u != nil && int64(at)-u.at.Load() > int64(usedStep) {
		u.at.Store(int64(at))
	}
}

// used is when the token was last handed out. An instant from before a step back of the clock is no later than now.
func (u *lastUse) used(now timeline.Instant) timeline.Instant {
	return min(timeline.Instant(u.at.Load()), now.Plus(time.Second))
}

// use notes that a token was handed out on the slow path, and reports whether it is from another process and went out
// for the first time.
func (c *tokenCache) use(id string, now timeline.Instant) (first bool) {
	t := c.table.Load()
	if t == nil || t.uses[id] == nil {
		return false
	}
	c.mu.Lock()
	c.last = max(now, c.last+1)
	t.uses[id].at.Store(int64(c.last))
	c.mu.Unlock()
	return t.uses[id].foreign.CompareAndSwap(true, false)
}

// stamp carries the uses into the document. It reports whether a decision may be another one now: whether a token has
// proved itself by being asked for again.
func (c *tokenCache) stamp(d *ledger.Document, now timeline.Instant) (changed bool) {
	t := c.table.Load()
	if t == nil {
		return false
	}
	for id, u := range t.uses {
		if r := d.Tokens[id]; r != nil {
			changed = d.Use(r, u.used(now)) || changed
		}
	}
	return changed
}

// tells reports whether a use that is not in the document yet can change a decision: it proves its token, or shows that
// it served beyond its fresh time.
func (c *tokenCache) tells(p *ledger.Policy, d *ledger.Document, now timeline.Instant) bool {
	t := c.table.Load()
	if t == nil {
		return false
	}
	for id, u := range t.uses {
		r, at := d.Tokens[id], u.used(now)
		if r == nil || at <= r.Used {
			continue
		}
		used := *r
		used.Used = at
		if fresh := p.FreshUntil(r); used.Proved() != r.Proved() || (at > fresh) != (r.Used > fresh) {
			return true
		}
	}
	return false
}
