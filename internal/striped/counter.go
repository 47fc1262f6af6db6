package striped

import (
	"sync"
	"sync/atomic"
)

// row is how many counters a block has for each stripe: four cache lines of them.
const row = 32

// A Counter counts, exactly, and without many cores waiting for each other. Counters of one stripe stand side by side, so
// that a core which adds to many of them has them in few cache lines, and no other core writes to those.
type Counter [(Stripes-1)*row + 1]atomic.Int64

// Add counts one, and returns how many the stripe has counted.
func (t *Counter) Add() int64 { return t[Here()*row].Add(1) }

// AddTo counts n on a stripe, which may be below zero.
func (t *Counter) AddTo(stripe int, n int64) { t[stripe%Stripes*row].Add(n) }

// Sum is what was counted.
func (t *Counter) Sum() (n int64) {
	for i := 0; i < len(t); i += row {
		n += t[i].Load()
	}
	return n
}

// Counters makes counters. The zero value is ready for use.
type Counters struct {
	mu    sync.Mutex     // guards what follows
	block []atomic.Int64 // the next Counter is its beginning
}

// Next returns a Counter that nobody has.
func (b *Counters) Next() *Counter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.block) < len(Counter{}) {
		b.block = make([]atomic.Int64, Stripes*row)
	}
	t := (*Counter)(b.block)
	b.block = b.block[1:]
	return t
}

// Shared are the counters that count for a place, beside what it counts itself: a call may count in several places at once,
// for whom it was, what it was answered, what was left unsaid, and a locked addition to each costs more than all else that
// it does. So calls that count in the same places share one Counter, and the places add it to what they hold when they are
// asked. The zero value has none.
type Shared struct{ list atomic.Pointer[[]*Counter] }

// Add has a counter count for the place from now on. Calls must not be concurrent.
func (s *Shared) Add(t *Counter) {
	var list []*Counter
	if old := s.list.Load(); old != nil {
		list = append(list, *old...)
	}
	list = append(list, t)
	s.list.Store(&list)
}

// Sum is what they counted.
func (s *Shared) Sum() (n int64) {
	if list := s.list.Load(); list != nil {
		for _, t := range *list {
			n += t.Sum()
		}
	}
	return n
}
