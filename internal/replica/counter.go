package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/striped"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Successes that tell nothing new are most of what is reported. They are counted apart from the lock of the replica, in
// stripes, and join the outcomes that wait for a commit whenever somebody asks for those.

const (
	maxCounters    = 128 // at most 256 KiB together
	counterStripes = 8
)

// Counter counts the successes of one operation with one token.
type Counter struct {
	id, operation string
	waits         atomic.Bool // something may be counted since it was folded
	over          atomic.Bool // nothing is counted any more
	stripes       [counterStripes]counterStripe
}

type counterStripe struct {
	mu    sync.Mutex // guards what follows
	batch predict.Batch
	began timeline.Instant // of the last
	_     [128]byte        // the next stripe is another core's
}

// Counter returns where successes of an operation with a token are counted.
func (r *Replica) Counter(id, operation string) *Counter {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.counters {
		if t.id == id && t.operation == operation {
			return t
		}
	}
	if len(r.counters) >= maxCounters {
		r.endCountersLocked()
	}
	t := &Counter{id: id, operation: operation}
	r.counters = append(r.counters, t)
	return t
}

// Add counts a success that ended at an instant. It reports whether it did: not after the end of t, nor another span of the
// predictor than what waits.
func (t *Counter) Add(at timeline.Instant, latency time.Duration) bool {
	s := &t.stripes[striped.Here()%counterStripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.over.Load() || !s.batch.Add(int64(at), latency) {
		return false
	}
	s.began = max(s.began, at-timeline.Instant(latency))
	if !t.waits.Load() {
		t.waits.Store(true)
	}
	return true
}

// foldCountersLocked has what was counted wait with the other outcomes. r.mu is held.
func (r *Replica) foldCountersLocked() {
	for _, t := range r.counters {
		if !t.waits.Load() {
			continue
		}
		t.waits.Store(false)
		for i := range t.stripes {
			s := &t.stripes[i]
			s.mu.Lock()
			batch, began := s.batch, s.began
			s.batch, s.began = predict.Batch{}, 0
			s.mu.Unlock()
			if usage := batch.Usage(); usage.Calls > 0 {
				p := r.pendingLocked(t.id)
				p.Usage.Merge(usage)
				p.Successes = succeeded(p.Successes, t.operation, ledger.Success{Began: began, Uses: int(usage.Calls)})
				r.pending[t.id] = p
			}
		}
	}
}

// endCountersLocked folds them for good. r.mu is held.
func (r *Replica) endCountersLocked() {
	for _, t := range r.counters {
		t.over.Store(true)
		t.waits.Store(true) // a success that is just being counted may not have said so yet
	}
	r.foldCountersLocked()
	r.counters = nil
}
