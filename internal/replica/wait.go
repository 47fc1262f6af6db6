package replica

import (
	"context"
	"errors"
	"time"

	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// ErrClosed ends the wait of callers when the guard closes.
var ErrClosed = errors.New("closed")

// Wake lets every waiter look again.
func (r *Replica) Wake() {
	r.mu.Lock()
	close(r.changed)
	r.changed, r.due = make(chan struct{}), timeline.Never
	r.mu.Unlock()
	if r.Woke != nil {
		r.Woke()
	}
}

// Await sleeps until another revision than seen is known, or the instant until has come. While callers wait, the store is
// polled for all of them. waited is false if a newer revision was known already.
func (r *Replica) Await(ctx context.Context, seen *Revision, until timeline.Instant) (waited bool, err error) {
	r.mu.Lock()
	if r.current != seen { // published after the caller decided
		r.mu.Unlock()
		return false, ctx.Err()
	}
	changed := r.changed
	r.waiters++
	r.due = min(r.due, until)
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
		return true, nil
	case <-ctx.Done():
		return true, ctx.Err()
	case <-r.Ended:
		return true, ErrClosed
	}
}

// Bounds of the pause between two reads of the store while callers wait for another process.
const (
	pollLeast = 10 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// lookAgain is how long a caller waits at most before it decides anew, whatever the store says: for what is of no revision,
// such as reports that are left to the next commit, or a personal token.
const lookAgain = 5 * time.Second

// poll reads the store for all that wait. It wakes them when the first of them is due; a new revision does so by itself. It ends at the first read for which
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
	woken, last := r.Meter.Mono(), timeline.Instant(0)
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
		err := r.joinRefresh(ctx, r.Newest())
		mono, now := r.Meter.Mono(), r.Meter.Read().Now
		r.mu.Lock()
		due := r.due
		r.mu.Unlock()
		if err != nil || now >= due || now < last || mono-woken >= lookAgain { // a clock that steps back moves what is due
			woken = mono
			r.Wake()
		}
		last = now
	}
}
