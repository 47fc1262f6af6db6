// Package journal keeps the last events of a guard, hands them to subscribers, and samples events that repeat, so that
// a storm is counted and never dropped silently.
package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokenguard/tokenguard/internal/striped"
)

const (
	size        = 512         // events kept
	buffer      = 64          // events that a subscriber may lag behind
	sampleEvery = time.Second // of events of one sort, one each
	sampleBurst = 100         // after a burst
	sampleKinds = 256         // sorts of events that are sampled apart; the others together
)

// Journal is the history of events of type E, whose sorts are of type K. mu is a leaf lock: no foreign code runs under
// it.
type Journal[E any, K comparable] struct {
	sort func(*E) (key K, sampled bool)
	base time.Time // of monotonic readings

	mu      sync.Mutex // guards what follows
	ring    []E        // the last events, from next on
	next    int
	samples map[K]*Sample
	others  *Sample // of the sorts for which there is no room
	readers map[chan E]struct{}
}

// New makes a Journal. sort names the sort of an event, and whether events of it are sampled. base is where the readings
// given to Sample.Skips count from.
func New[E any, K comparable](base time.Time, sort func(*E) (key K, sampled bool)) *Journal[E, K] {
	return &Journal[E, K]{sort: sort, base: base, samples: map[K]*Sample{}, others: newSample(), readers: map[chan E]struct{}{}}
}

// Sample counts the events of one sort.
type Sample struct {
	limiter *rate.Limiter
	skipped [striped.Stripes / 8]struct { // events left out
		n atomic.Int64
		_ [56]byte
	}
	shared   striped.Shared // those left out, too
	reported atomic.Int64   // how many of both the events so far have reported
	quiet    atomic.Int64   // monotonic nanoseconds before which limiter has nothing to give
}

func newSample() *Sample {
	return &Sample{limiter: rate.NewLimiter(rate.Every(sampleEvery), sampleBurst)}
}

// Quiet reports whether no event of the sort is due at mono nanoseconds after the journal's base.
func (s *Sample) Quiet(mono int64) bool { return mono < s.quiet.Load() }

// Skip counts an event instead of it being emitted. A nil Sample counts nothing.
func (s *Sample) Skip() {
	if s != nil {
		s.skipped[striped.Here()/8].n.Add(1)
	}
}

// Unskip takes back what Skip counted.
func (s *Sample) Unskip() {
	if s != nil {
		s.skipped[0].n.Add(-1)
	}
}

// Share has a counter count events that are left out, too. Calls must not be concurrent.
func (s *Sample) Share(t *striped.Counter) {
	if s != nil {
		s.shared.Add(t)
	}
}

// takeSkipped returns how many events were left out since it was last called. One that is taken back meanwhile is missing
// in the next number.
func (s *Sample) takeSkipped() int {
	n := s.shared.Sum()
	for i := range s.skipped {
		n += s.skipped[i].n.Load()
	}
	for {
		reported := s.reported.Load()
		if n <= reported {
			return 0
		}
		if s.reported.CompareAndSwap(reported, n) {
			return int(n - reported)
		}
	}
}

// admit reports whether an event of the sort is due, and how many were left out since the last one.
func (s *Sample) admit(base time.Time) (repeats int, ok bool) {
	now := time.Now()
	if s.limiter.AllowN(now, 1) {
		return s.takeSkipped(), true
	}
	missing := 1 - s.limiter.TokensAt(now)
	s.quiet.Store(int64(now.Sub(base)) + int64(missing*float64(sampleEvery)))
	s.Skip()
	return 0, false
}

// Sample returns the sample of an event's sort; nil: events of it are not sampled.
func (j *Journal[E, K]) Sample(e *E) *Sample {
	key, sampled := j.sort(e)
	if !sampled {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.sampleLocked(key)
}

func (j *Journal[E, K]) sampleLocked(key K) *Sample {
	s := j.samples[key]
	switch {
	case s != nil:
	case len(j.samples) < sampleKinds:
		s = newSample()
		j.samples[key] = s
	default:
		s = j.others
	}
	return s
}

// Admit reports whether an event is due, and how many like it were left out since the last one.
func (j *Journal[E, K]) Admit(e *E) (repeats int, ok bool) {
	key, sampled := j.sort(e)
	if !sampled {
		return 0, true
	}
	j.mu.Lock()
	s := j.sampleLocked(key)
	j.mu.Unlock()
	return s.admit(j.base)
}

// Append keeps an event and sends it to the subscribers. One that does not keep up misses it.
func (j *Journal[E, K]) Append(e E) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.ring) < size {
		j.ring = append(j.ring, e)
	} else {
		j.ring[j.next] = e
	}
	j.next = (j.next + 1) % size
	for ch := range j.readers {
		select {
		case ch <- e:
		default:
		}
	}
}

// History returns the last events, oldest first: at most 512.
func (j *Journal[E, K]) History() []E {
	j.mu.Lock()
	defer j.mu.Unlock()
	events := make([]E, 0, len(j.ring))
	if len(j.ring) == size {
		events = append(events, j.ring[j.next:]...)
		return append(events, j.ring[:j.next]...)
	}
	return append(events, j.ring...)
}

// Subscribe returns the events from now on, in a channel that is closed when ctx or ended is done.
func (j *Journal[E, K]) Subscribe(ctx context.Context, ended <-chan struct{}) <-chan E {
	ch, out := make(chan E, buffer), make(chan E)
	j.mu.Lock()
	j.readers[ch] = struct{}{}
	j.mu.Unlock()
	go func() {
		defer close(out)
		defer func() {
			j.mu.Lock()
			delete(j.readers, ch)
			j.mu.Unlock()
		}()
		for {
			var e E
			select {
			case e = <-ch:
			case <-ctx.Done():
				return
			case <-ended:
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			case <-ended:
				return
			}
		}
	}()
	return out
}
