package tokenguard

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/bootclock"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// term is the time for which the slow path vouches for a table.
//
// Reading the clock is most of what a hit costs. So what lasts well beyond the term is lent: until a timer sets the flag
// that the term is over, hits look at the flag in place of the clock. The timer may be late where a processor is busy, or
// never come where the process is stopped, so that each lendCheck-th hit of a scope reads the clock all the same. The flag
// only ever says that the clock has to be read: setting it at any time, or too soon, is right.
type term struct {
	ends int64       // monotonic nanoseconds
	over atomic.Bool // hits read the clock
}

const (
	// lendMargin is how long after the term that is lent ends surely: until then a late timer hands out nothing that has
	// ended.
	lendMargin = int64(10 * time.Second)
	// lendCheck is how many hits of one scope may go without the clock on one stripe.
	lendCheck = 64
	// clockSlack is how far two readings of clocks may be apart to count as one. A term that is not longer is not lent.
	clockSlack = int64(100 * time.Millisecond)
)

// end has hits read the clock from now on.
func (m *term) end() {
	if m != nil && !m.over.Load() {
		m.over.Store(true)
	}
}

// loan is the part of an entry, or of an answer, that says how long it is good.
type loan struct {
	ends int64                // monotonic nanoseconds
	term atomic.Pointer[term] // in which it is lent; nil: it is not
}

// lent reports whether the n-th hit of a stripe may do without the clock.
func (l *loan) lent(n int64) bool {
	m := l.term.Load()
	return m != nil && !m.over.Load() && n%lendCheck != 0
}

// good reports whether it holds in the table's term at the monotonic nanoseconds given.
func (l *loan) good(m *term, now int64) bool {
	if old := l.term.Load(); old != nil && now >= old.ends {
		old.end()
	}
	return now < m.ends && now < l.ends && now >= m.ends-int64(2*hotLife) // else it is the clock of another bubble
}

// lend lets hits do without the clock in the term, if it holds for well beyond it.
func (l *loan) lend(m *term) {
	if l.ends-m.ends >= lendMargin && l.term.Load() != m {
		l.term.Store(m)
	}
}

// beginLocked is a term that ends at until, on the monotonic clock. c.mu is held.
//
// The one that runs serves as well if half of the time is left of it, so that a burst of calls on the slow path makes
// one timer. A timer is never stopped or set again, which is fatal where a guard is used on both sides of a
// testing/synctest bubble.
func (c *tokenCache) beginLocked(until time.Duration) *term {
	now := c.mono()
	left := until - now
	if m := c.term; m != nil && m.ends <= int64(until) && time.Duration(m.ends)-now >= left/2 {
		return m
	}
	m := &term{ends: int64(until)}
	c.term = m
	if !c.lends || int64(left) <= clockSlack {
		m.end()
		return m
	}
	// A nanosecond early: at the instant itself a fake clock lets a call and the timer run in either order.
	time.AfterFunc(left-1, m.end)
	if int64(c.mono()-now) > clockSlack { // the timer is as late as this goroutine was
		m.end()
	}
	return m
}

// confirm begins another term for the table of a revision, after the slow path came to the same answer. Where the table
// has the time wrong, as after a suspend, in which the monotonic clock stood still, or a personal token that the wall clock
// has ended, it is made anew.
func (c *tokenCache) confirm(rev *replica.Revision, until time.Duration) {
	if !c.extend(rev, until) {
		c.rebuild()
	}
}

func (c *tokenCache) extend(rev *replica.Revision, until time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table.Load()
	if t == nil || t.rev != rev || until <= 0 {
		return true
	}
	mono := c.mono()
	r := c.replica.Meter.Read()
	delta := r.Now - timeline.Instant(mono)
	if max(delta-t.delta, t.delta-delta) > timeline.Instant(clockSlack) || t.byWall != 0 && timeline.UnixNano(r.Wall) >= t.byWall {
		return false
	}
	t.term.Store(c.beginLocked(until))
	return true
}

// trusted is how long what is known now may answer calls without a look, on the monotonic clock. On the other side of a
// testing/synctest bubble that clock is another one.
func (c *tokenCache) trusted() time.Duration {
	if bootclock.InBubble() != c.bubble {
		return 0
	}
	return c.replica.TrustedUntil(hotLife)
}

// canLend: where one thread runs everything a timer cannot interrupt a loop of hits.
const canLend = runtime.GOARCH != "wasm"
