package tokenguard

import (
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// meter turns the machine's clocks into one that no step frees anything on.
//
// With a clock of the user's, or of the store, that clock is the meter. Otherwise, on Linux, the meter is the clock
// since boot plus an offset that the document fixes for each boot, so that all processes of a boot agree and a step
// of the wall clock changes nothing. Elsewhere it is the wall clock at the start of the process plus Go's monotonic
// clock. In both cases it never falls behind the last instant that the document has seen.
type meter struct {
	clock  Clock            // the user's, or nil
	wall   func() time.Time // the machine's wall clock
	base   time.Time        // with monotonic reading
	boot   string           // this boot's id; empty: no boot clock
	ticks  func() int64     // the boot clock
	offset atomic.Int64     // meter = offset + progress of the boot clock, or of Go's monotonic clock since base
	remote atomic.Bool      // the store's clock decides: offset follows it
	agreed atomic.Bool      // a document has fixed the offset; from then on it only grows
}

func newMeter(clock Clock) *meter {
	m := &meter{clock: clock, wall: time.Now, base: time.Now(), ticks: bootTime}
	// testing/synctest starts its clock in 2000 and fakes Go's clocks alone.
	if m.base.Year() != 2000 {
		m.boot = bootID()
	}
	m.offset.Store(int64(timeline.UnixNano(m.base)) - m.progress())
	return m
}

// boots reports whether the clock since boot is the meter.
func (m *meter) boots() bool { return m.clock == nil && m.boot != "" && !m.remote.Load() }

func (m *meter) progress() int64 {
	if m.boot != "" && !m.remote.Load() {
		return m.ticks()
	}
	return int64(time.Since(m.base))
}

func (m *meter) read() timeline.Reading {
	if m.clock != nil {
		wall := m.clock.Now().Round(0)
		return timeline.Reading{Now: timeline.UnixNano(wall), Wall: wall}
	}
	now := timeline.Instant(m.offset.Load() + m.progress())
	if m.remote.Load() {
		return timeline.Reading{Now: now, Wall: time.Unix(0, int64(now))}
	}
	return timeline.Reading{Now: now, Wall: m.wall().Round(0)}
}

// follow takes over the store's clock.
func (m *meter) follow(now time.Time) timeline.Reading {
	m.remote.Store(true)
	m.offset.Store(int64(timeline.UnixNano(now)) - m.progress())
	return timeline.Reading{Now: timeline.UnixNano(now), Wall: now.Round(0)}
}

// agree brings the meter in line with what the document says of this boot and of the last instant.
func (m *meter) agree(c ledger.ClockState) {
	if m.clock != nil || m.remote.Load() {
		return
	}
	// Until a document names this boot, the offset is this process' guess from the wall clock, which another process
	// may have read before a step.
	if o, ok := c.Boots[m.boot]; ok && m.boot != "" {
		if !m.agreed.Load() || o > m.offset.Load() {
			m.offset.Store(o)
		}
		m.agreed.Store(true)
	}
	if p := m.progress(); timeline.Instant(m.offset.Load()+p) < c.Last {
		m.offset.Store(int64(c.Last) - p)
	}
}

// stamp records the instant of a commit and this boot's offset.
func (m *meter) stamp(c *ledger.ClockState, now timeline.Instant) {
	c.Last = max(c.Last, now)
	if m.clock != nil {
		c.Last = now // a user's clock that steps back takes the document along
	}
	if m.clock != nil || m.remote.Load() || m.boot == "" {
		return
	}
	boots := make(map[string]int64, len(c.Boots)+1)
	for id, o := range c.Boots {
		if len(boots) < ledger.MaxBoots-1 {
			boots[id] = o
		}
	}
	boots[m.boot] = m.offset.Load()
	c.Boots = boots
}
