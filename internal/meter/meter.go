// Package meter turns the clocks of a machine, a store or a test into one on which no step frees anything.
package meter

import (
	"cmp"
	"maps"
	"slices"
	"sync"
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
	clock Clock            // nil: the machine's
	kind  ledger.ClockKind // whose clock it is, unless a store's decides
	wall  func() time.Time // the machine's wall clock
	base  time.Time        // with a monotonic reading
	bases func() string    // reads anew what the boot clock counts from; nil: it stays
	ticks func() int64     // the boot clock

	set    atomic.Pointer[setting] // as one, so that a reading has the offset and the doubt of the same answer
	change sync.Mutex              // held while it is replaced; a leaf: no clock is read under it
}

// setting is what documents and answers of a store have made of the clocks. It does not change.
type setting struct {
	boot   string        // what the boot clock counts from: the boot, and the time namespace; empty: there is none
	offset int64         // meter = offset + progress of the boot clock, or of Go's monotonic clock since base
	agreed bool          // a document has fixed the offset; from then on it only grows
	remote bool          // the store's clock decides: offset follows it
	ahead  int64         // by how much that clock was ahead of the wall clock
	doubt  time.Duration // how long the store took for the answer that was followed last, if long
}

// New makes a meter on clock, or on the machine's clocks if that is nil.
func New(clock Clock) *Meter {
	m := &Meter{clock: clock, wall: time.Now, base: time.Now(), ticks: func() int64 { return int64(bootclock.Now()) }}
	var first setting
	if m.kind = ledger.SimulatedClock; clock == nil && !bootclock.InBubble() { // testing/synctest fakes Go's clocks alone
		m.kind, first.boot, m.bases = ledger.MachineClock, bootclock.Base(), bootclock.Base
	}
	first.offset = int64(timeline.UnixNano(m.base)) - m.progress(first.boot)
	m.set.Store(&first)
	return m
}

// Base is where Mono counts from.
func (m *Meter) Base() time.Time { return m.base }

// Mono is Go's monotonic clock since Base. It stands still while the machine is suspended.
func (m *Meter) Mono() time.Duration { return time.Since(m.base) }

// CountsSuspends reports whether time goes on by Read while the machine is suspended, as Go's timers do not.
func (m *Meter) CountsSuspends() bool { return m.clock == nil && m.set.Load().boot != "" }

// Kind is whose clock moves a document on a store without one.
func (m *Meter) Kind() ledger.ClockKind { return m.kind }

// Remote reports whether a store's clock is the meter.
func (m *Meter) Remote() bool { return m.set.Load().remote }

func (m *Meter) progress(boot string) int64 {
	if boot != "" {
		return m.ticks()
	}
	return int64(time.Since(m.base))
}

// Sample is one reading of the machine's clocks, which At turns into an instant.
type Sample struct {
	wall     time.Time
	progress int64
	set      setting
}

// Sample reads the clocks.
func (m *Meter) Sample() Sample {
	if m.clock != nil {
		return Sample{wall: m.clock.Now().Round(0)}
	}
	set := *m.set.Load()
	return Sample{wall: m.wall().Round(0), progress: m.progress(set.boot), set: set}
}

// At is the instant of a sample by a document's clock. It reads no clock, so that a store may ask it again.
func (m *Meter) At(s Sample, c ledger.Clock) timeline.Reading {
	if m.clock != nil {
		return timeline.Reading{Now: timeline.UnixNano(s.wall), Wall: s.wall}
	}
	offset, _ := m.agreedOffset(s, c)
	now := timeline.Instant(offset + s.progress)
	if !s.set.remote {
		now = max(now, c.Last) // the sample may be older than another process's commit
	}
	return timeline.Reading{Now: now, Wall: s.wall}
}

// Remote reports whether a store's clock was the meter.
func (s Sample) Remote() bool { return s.set.remote }

// Remotely is a sample beside the clock of a store, which decides. What people and upstreams state stays wall time of
// this machine.
func (s Sample) Remotely(now time.Time) timeline.Reading {
	return timeline.Reading{Now: timeline.UnixNano(now), Wall: s.wall}
}

// agreedOffset is the offset that a document asks for, and whether it names this boot. Until it does, the offset is this
// process's guess from the wall clock, which another process may have read before a step.
func (m *Meter) agreedOffset(s Sample, c ledger.Clock) (offset int64, named bool) {
	offset = s.set.offset
	o, named := c.Boots[s.set.boot]
	if named = named && s.set.boot != "" && !s.set.remote; named && (!s.set.agreed || o > offset) {
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
	return timeline.Reading{Now: timeline.Instant(s.set.offset + s.progress), Wall: s.wall, Doubt: s.set.doubt}
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
	if boot == m.set.Load().boot {
		return
	}
	offset := int64(timeline.UnixNano(m.wall())) - m.progress(boot)
	m.change.Lock()
	defer m.change.Unlock()
	next := *m.set.Load()
	if boot == next.boot { // another call has noticed
		return
	}
	next.boot, next.agreed, next.offset = boot, false, offset+next.ahead
	m.set.Store(&next)
}

// Ticks is time of the machine, to measure how long a call takes: suspends count, where the machine tells.
func (m *Meter) Ticks() time.Duration {
	return time.Duration(m.progress(m.set.Load().boot))
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
	s := m.Sample()
	took := time.Duration(s.progress) - began
	if took < slowAnswer {
		took = 0
	}
	at := int64(timeline.UnixNano(now)) + int64(took)
	m.change.Lock()
	defer m.change.Unlock()
	next := *m.set.Load()
	next.remote, next.doubt = true, took
	next.offset, next.ahead = at-s.progress, at-int64(timeline.UnixNano(s.wall))
	m.set.Store(&next)
}

// ByWall is the instant of a reading by the wall clock, which beside a store's clock is off by as much as when the store
// answered last. Where nothing else of the machine shows a pause, it is later than Now by that.
func (m *Meter) ByWall(r timeline.Reading) timeline.Instant {
	return timeline.UnixNano(r.Wall) + timeline.Instant(m.set.Load().ahead)
}

// Agree brings the meter in line with what the document says of this boot and of the last instant.
func (m *Meter) Agree(c ledger.Clock) {
	if m.clock != nil || m.Remote() {
		return
	}
	s := m.Sample()
	m.change.Lock()
	defer m.change.Unlock()
	if s.set = *m.set.Load(); s.set.remote {
		return
	}
	next := s.set
	offset, named := m.agreedOffset(s, c)
	next.offset, next.agreed = max(offset, int64(c.Last)-s.progress), named || next.agreed
	if next != s.set {
		m.set.Store(&next)
	}
}

// Stamp records the instant of a commit, and this boot's offset as of the sample. It goes by nothing else, so that a store may
// run it again.
func (m *Meter) Stamp(c *ledger.Clock, s Sample, now timeline.Instant) {
	offset, named := m.agreedOffset(s, *c)
	if !named {
		offset = max(offset, int64(c.Last)-s.progress)
	}
	// A document that does not tell stays so beside a simulated clock: a test that opens a service's file must not take it
	// from the service.
	if c.Kind == "" && !s.set.remote && (c.Last == 0 || m.kind == ledger.MachineClock) {
		c.Kind = m.kind
	}
	c.Last = max(c.Last, now)
	if m.clock != nil {
		c.Last = now // a user's clock that steps back takes the document along
	}
	if s.set.boot == "" || s.set.remote {
		return
	}
	c.Boots = withBoot(c.Boots, s.set.boot, offset)
}

// withBoot are the boots with this one. Of too many the one gives way that began first by the meter: it is the likeliest to
// be over, and always the same, as a store may run the change again.
func withBoot(boots map[string]int64, boot string, offset int64) map[string]int64 {
	out := maps.Clone(boots)
	delete(out, boot)
	for len(out) >= ledger.MaxBoots {
		delete(out, slices.MinFunc(slices.Collect(maps.Keys(out)), func(a, b string) int {
			return cmp.Or(cmp.Compare(out[a], out[b]), cmp.Compare(a, b))
		}))
	}
	if out == nil {
		out = map[string]int64{}
	}
	out[boot] = offset
	return out
}

// Simulate replaces the machine's clocks, for tests: its wall clock, the id of the boot ("": there is no boot clock)
// and the time since boot in nanoseconds.
func (m *Meter) Simulate(wall func() time.Time, boot string, ticks func() int64) {
	m.wall, m.bases = wall, nil
	if ticks != nil {
		m.ticks = ticks
	}
	next := *m.set.Load()
	next.boot, next.offset = boot, int64(timeline.UnixNano(wall()))-m.progress(boot)
	m.set.Store(&next)
}
