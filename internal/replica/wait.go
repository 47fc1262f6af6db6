package replica

import (
	"context"
	"errors"
	"time"

	"github.com/tokenguard/tokenguard/internal/panics"
)

// ErrClosed ends the wait of callers when the guard closes.
var ErrClosed = errors.New("closed")

// Changed is closed when the next revision is known.
func (r *Replica) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Wake lets every waiter look again.
func (r *Replica) Wake() {
	r.mu.Lock()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
}

// Await sleeps until something may have changed. While callers wait, the store is polled for all of them.
func (r *Replica) Await(ctx context.Context) error {
	r.mu.Lock()
	changed := r.changed
	r.waiters++
	if !r.polling {
		r.polling = true
		go r.poll()
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.waiters--
		r.mu.Unlock()
	}()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.Ended:
		return ErrClosed
	}
}

// Bounds of the pause between two reads of the store while callers wait for another process.
const (
	pollLeast = 10 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// poll reads the store for all that wait, and has them look at the clock again. It ends at the first read for which
// nobody waits: not sooner, because the callers it wakes are mostly back before the next one, and a new poll would begin
// with the least pause and subscribe anew.
func (r *Replica) poll() {
	ctx, stop := context.WithCancel(r.life)
	defer stop()
	var hints <-chan struct{}
	subscribed := make(chan (<-chan struct{}), 1)
	if r.store.Watch != nil { // hints are welcome; a Watch that panics or hangs must not end the poll
		go panics.Call("Store", func() (<-chan struct{}, error) { return r.store.Watch(ctx), nil }, func(c <-chan struct{}, _ error) { subscribed <- c })
	}
	for pause := pollLeast; ; pause = min(2*pause, pollMost) {
		timer := time.NewTimer(pause/2 + r.Jitter(pause))
		select {
		case <-timer.C:
		case hints = <-subscribed:
		case _, ok := <-hints:
			if !ok {
				hints = nil
			}
		case <-r.Ended:
			timer.Stop()
			return
		}
		timer.Stop()
		r.mu.Lock()
		r.polling = r.waiters > 0
		polling := r.polling
		r.mu.Unlock()
		if !polling {
			return
		}
		// The callers that wait meet the error themselves, and what an observer or the store does in this process.
		_ = r.joinRefresh(ctx, r.Newest())
		r.Wake()
	}
}
