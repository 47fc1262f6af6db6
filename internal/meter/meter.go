// Package meter turns the clocks of a machine, a store or a test into one on which no step frees anything.
package meter

import (
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/bootclock"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Clock is a user-supplied clock.
type Clock interface{ Now() time.Time }

// Meter tells the instant at which decisions are made.
//
// With a user-supplied clock, or the store's, that clock is the meter; between two answers of the store this machine's
// clock carries its clock on, through a suspend as well. Otherwise, on Linux, the meter is the clock
// since boot plus an offset that the document fixes for each boot and time namespace, so that all processes of a boot agree and a step
// of the wall clock changes nothing. Elsewhere it is the wall clock at the start of the process plus Go's monotonic
// clock. In both cases it never falls behind the last instant that the document has seen.
type Meter struct {
	clock  Clock                  // nil: the machine's
	kind   ledger.ClockKind       // whose clock it is, unless a store's decides
	wall   func() time.Time       // the machine's wall clock
	base   time.Time              // with a monotonic reading
	boot   atomic.Pointer[string] // what the boot clock counts from: the boot, and the time namespace; empty: there is none
	bases  func() string          // reads it anew; nil: it stays
	ticks  func() int64           // the boot clock
	offset atomic.Int64           // meter = offset + progress of the boot clock, or of Go's monotonic clock since base
	remote atomic.Bool            // the store's clock decides: offset follows it
	ahead  atomic.Int64           // by how much that clock was ahead of the wall clock
	doubt  atomic.Int64           // how long the store took for the answer that was followed last, if long
	agreed atomic.Bool            // a document has fixed the offset; from then on it only grows
}

// New makes a meter on clock, or on the machine's clocks if that is nil.
func New(clock Clock) *Meter {
	m := &Meter{clock: clock, wall: time.Now, base: time.Now(), ticks: func() int64 { return int64(bootclock.Now()) }}
	boot := ""
	if m.kind = ledger.SimulatedClock; clock == nil && !bootclock.InBubble() { // testing/synctest fakes Go's clocks alone
		m.kind, boot, m.bases = ledger.MachineClock, bootclock.Base(), bootclock.Base
	}
	m.boot.Store(&boot)
	m.offset.Store(int64(timeline.UnixNano(m.base)) - m.progress())
	return m
}

// Base is where Mono counts from.
func (m *Meter) Base() time.Time { return m.base }

// Mono is Go's monotonic clock since Base. It stands still while the machine is suspended.
func (m *Meter) Mono() time.Duration { return time.Since(m.base) }

// CountsSuspends reports whether time goes on by Read while the machine is suspended, as Go's timers do not.
func (m *Meter) CountsSuspends() bool { return m.clock == nil && *m.boot.Load() != "" }

// Boots reports whether the clock since boot is the meter.
func (m *Meter) Boots() bool { return m.clock == nil && *m.boot.Load() != "" && !m.remote.Load() }

// Kind is whose clock moves a document on a store without one.
func (m *Meter) Kind() ledger.ClockKind { return m.kind }

// Remote reports whether a store's clock is the meter.
func (m *Meter) Remote() bool { return m.remote.Load() }

func (m *Meter) progress() int64 {
	if *m.boot.Load() != "" {
		return m.ticks()
	}
	return int64(time.Since(m.base))
}

// Sample is one reading of the machine's clocks, which At turns into an instant.
type Sample struct {
	wall     time.Time
	progress int64
	offset   int64
	boot     string
	agreed   bool
}

// Sample reads the clocks.
func (m *Meter) Sample() Sample {
	if m.clock != nil {
		return Sample{wall: m.clock.Now().Round(0)}
	}
	return Sample{wall: m.wall().Round(0), progress: m.progress(), offset: m.offset.Load(), agreed: m.agreed.Load(), boot: *m.boot.Load()}
}

// At is the instant of a sample by a document's clock. It reads no clock, so that a store may ask it again.
func (m *Meter) At(s Sample, c ledger.Clock) timeline.Reading {
	if m.clock != nil {
		return timeline.Reading{Now: timeline.UnixNano(s.wall), Wall: s.wall}
	}
	offset, _ := m.agreedOffset(s, c)
	now := timeline.Instant(offset + s.progress)
	if !m.remote.Load() {
		now = max(now, c.Last) // the sample may be older than another process's commit
	}
	return timeline.Reading{Now: now, Wall: s.wall}
}

// Remotely is a sample beside the clock of a store, which decides. What people and upstreams state stays wall time of
// this machine.
func (s Sample) Remotely(now time.Time) timeline.Reading {
	return timeline.Reading{Now: timeline.UnixNano(now), Wall: s.wall}
}

// agreedOffset is the offset that a document asks for, and whether it names this boot. Until it does, the offset is this
// process's guess from the wall clock, which another process may have read before a step.
func (m *Meter) agreedOffset(s Sample, c ledger.Clock) (offset int64, named bool) {
	offset = s.offset
	o, named := c.Boots[s.boot]
	if named = named && s.boot != "" && !m.remote.Load(); named && (!s.agreed || o > offset) {
		offset = o
	}
	return offset, named
}

// Read reads the clocks as the last document has set them.
func (m *Meter) Read() timeline.Reading {
	s := m.Sample()
	if m.clock != nil {
		return timeline.Reading{Now: timeline.UnixNano(s.wall), Wall: s.wall}
	}
	return timeline.Reading{Now: timeline.Instant(s.offset + s.progress), Wall: s.wall, Doubt: time.Duration(m.doubt.Load())}
}

// Rebase notices that the boot clock counts from something else than before: the process was restored from a checkpoint,
// in another time namespace or on another machine. Until a document names the new base, the wall clock is believed, and
// Agree keeps it from falling behind what was committed. The clock of a store is taken to differ from it by as much as
// before, until the store answers.
func (m *Meter) Rebase() {
	if m.bases == nil {
		return
	}
	boot := m.bases()
	old := m.boot.Load()
	if boot == *old {
		return
	}
	m.boot.Store(&boot)
	m.agreed.Store(false)
	m.offset.Store(int64(timeline.UnixNano(m.wall())) + m.ahead.Load() - m.progress())
}

// Ticks is time of the machine, to measure how long a call takes: suspends count, where the machine tells.
func (m *Meter) Ticks() time.Duration {
	if *m.boot.Load() != "" {
		return time.Duration(m.ticks())
	}
	return m.Mono()
}

// slowAnswer is how long a store may take to answer for its clock to count as that of the moment.
const slowAnswer = time.Second

// Slow reports whether a call of the store that began at these Ticks took so long that its answer leaves a Doubt.
func (m *Meter) Slow(began time.Duration) bool { return m.Ticks()-began >= slowAnswer }

// Follow takes over the clock of a store, which it read at these Ticks or later. The answer to a call that was long on its
// way, or that a process had when it was stopped, tells an instant of long ago, by which a lease or a token would last that
// has ended: the store is then taken to have read its clock at once. Commits are decided by the store's instant itself, so
// that being ahead opens nothing, and the next look sets it right. But the answer may have been long in coming instead, and
// the meter is ahead by as much: what is to last from now on counts that as the reading's Doubt.
func (m *Meter) Follow(now time.Time, began time.Duration) {
	took := m.Ticks() - began
	if took < slowAnswer {
		took = 0
	}
	at := int64(timeline.UnixNano(now)) + int64(took)
	m.remote.Store(true)
	m.ahead.Store(at - int64(timeline.UnixNano(m.wall())))
	m.doubt.Store(int64(took))
	m.offset.Store(at - m.progress())
}

// Agree brings the meter in line with what the document says of this boot and of the last instant.
func (m *Meter) Agree(c ledger.Clock) {
	if m.clock != nil || m.remote.Load() {
		return
	}
	s := m.Sample()
	offset, named := m.agreedOffset(s, c)
	m.offset.Store(max(offset, int64(c.Last)-s.progress))
	if named {
		m.agreed.Store(true)
	}
}

// maxBoots bounds the boots, and so the machines, that a document remembers.
const maxBoots = 8

// Stamp records the instant of a commit, and this boot's offset as of the sample.
func (m *Meter) Stamp(c *ledger.Clock, s Sample, now timeline.Instant) {
	offset, named := m.agreedOffset(s, *c)
	if !named {
		offset = max(offset, int64(c.Last)-s.progress)
	}
	// A document that does not tell stays so beside a simulated clock: a test that opens a service's file must not take it
	// from the service.
	if c.Kind == "" && !m.remote.Load() && (c.Last == 0 || m.kind == ledger.MachineClock) {
		c.Kind = m.kind
	}
	c.Last = max(c.Last, now)
	if m.clock != nil {
		c.Last = now // a user's clock that steps back takes the document along
	}
	if !m.Boots() || s.boot == "" {
		return
	}
	boots := make(map[string]int64, len(c.Boots)+1)
	for id, o := range c.Boots {
		if len(boots) < maxBoots-1 {
			boots[id] = o
		}
	}
	boots[s.boot] = offset
	c.Boots = boots
}

// Simulate replaces the machine's clocks, for tests: its wall clock, the id of the boot ("": there is no boot clock)
// and the time since boot in nanoseconds.
func (m *Meter) Simulate(wall func() time.Time, boot string, ticks func() int64) {
	m.wall, m.bases = wall, nil
	m.boot.Store(&boot)
	if ticks != nil {
		m.ticks = ticks
	}
	m.offset.Store(int64(timeline.UnixNano(wall())) - m.progress())
}
