package counts

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MinutesKept is how many minutes are remembered.
const MinutesKept = 120

// Sums are calls since the beginning: served, refused and failed.
type Sums [3]int64

// Minute is what was counted in one.
type Minute struct {
	Start time.Time
	Calls Sums
}

// Minutes counts by the minute without a timer and without a word of the hot path: the first call of a minute that takes
// the slow path notes what was counted until then.
type Minutes struct {
	over atomic.Int64 // Unix seconds: when the present minute ends

	mu     sync.Mutex // guards what follows
	past   []Minute
	start  int64 // Unix seconds of the present minute
	before Sums  // of all calls before it
}

// Note begins a new minute if the present one is over. sums are the calls so far.
func (m *Minutes) Note(wall time.Time, sums func() Sums) {
	if wall.Unix() < m.over.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if wall.Unix() < m.over.Load() {
		return
	}
	now := sums()
	m.past = m.withLocked(now, wall)
	m.past = m.past[max(0, len(m.past)-MinutesKept):]
	m.start, m.before = wall.Truncate(time.Minute).Unix(), now
	m.over.Store(m.start + 60)
}

// withLocked returns the minutes and the present one, if there was a call in it. m.mu is held.
func (m *Minutes) withLocked(now Sums, wall time.Time) []Minute {
	if now == m.before {
		return m.past
	}
	var calls Sums
	for i := range calls {
		calls[i] = now[i] - m.before[i]
	}
	return append(m.past[:len(m.past):len(m.past)], Minute{time.Unix(m.start, 0).In(wall.Location()), calls})
}

// Last returns the minutes of the last [MinutesKept] in which there was a call, oldest first.
func (m *Minutes) Last(wall time.Time, sums func() Sums) []Minute {
	m.Note(wall, sums)
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.withLocked(sums(), wall)
	from, _ := slices.BinarySearchFunc(out, wall.Add(-MinutesKept*time.Minute), func(m Minute, edge time.Time) int { return m.Start.Compare(edge) })
	return slices.Clone(out[from:])
}
