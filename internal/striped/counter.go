package striped

import "sync/atomic"

// A call may count in several places at once: for whom it was, what it was answered, what was left unsaid. A locked
// addition to each costs more than all else that such a call does. So calls that count in the same places share one Counter,
// and the places add it to what they hold when they are asked.

// counters is how many a block has: a stripe's row of them is four cache lines.
const counters = 32

// Counters is a bounded number of counters. The zero value is ready for use.
type Counters struct {
	rows *[Stripes][counters]atomic.Int64 // made with the first of them
	used int
}

// Next returns a Counter that nobody has; nil: there is none left. Calls must not be concurrent.
func (b *Counters) Next() *Counter {
	if b.used == counters {
		return nil
	}
	if b.rows == nil {
		b.rows = new([Stripes][counters]atomic.Int64)
	}
	t := &Counter{b.rows, b.used}
	b.used++
	return t
}

// Counter counts what happens in several places at once.
type Counter struct {
	rows   *[Stripes][counters]atomic.Int64
	column int
}

// Add counts one, and returns how many the stripe has counted.
func (t *Counter) Add() int64 { return t.rows[Here()][t.column%counters].Add(1) }

func (t *Counter) sum() (n int64) {
	for i := range t.rows {
		n += t.rows[i][t.column%counters].Load()
	}
	return n
}

// Shared are the counters that count for a place, beside what it counts itself. The zero value has none.
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
			n += t.sum()
		}
	}
	return n
}
