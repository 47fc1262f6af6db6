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

// Wake has Woke look for those whom what changed helps.
func (r *Replica) Wake() {
	r.mu.Lock()
	r.due = timeline.Never
	r.mu.Unlock()
	if r.Woke != nil {
		r.Woke()
	}
}

// Await sleeps until woken is closed, which is up to Woke, at most until the instant given. While callers wait, the store is
// polled for all of them.
func (r *Replica) Await(ctx context.Context, until timeline.Instant, woken <-chan struct{}) error {
	r.mu.Lock()
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
	case <-woken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.Ended:
		return ErrClosed
	}
}

// LookAt has the poll run Woke at the instant, for those who were not woken the last time.
func (r *Replica) LookAt(until timeline.Instant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due = min(r.due, until)
}

// Bounds of the pause between two reads of the store while callers wait for another process. A hint ends it early, but for the
// least.
const (
	pollLeast = 10 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// lookAgain is how long a caller waits at most before it decides anew, whatever the store says: for what is of no revision,
// such as reports that are left to the next commit, or a personal token.
const lookAgain = 5 * time.Second

// poll reads the store for all that wait. It has Woke look when the first of them is due; a new revision does so by itself. It
// ends at the first read for which nobody waits: not sooner, because the callers it wakes are mostly back before the next one, and a new poll would begin
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
	read := woken - pollLeast
	for pause := pollLeast; ; pause = min(2*pause, pollMost) {
		timer := time.NewTimer(pause/2 + r.Jitter(pause))
		select {
		case <-timer.C:
		case hints = <-subscribed:
		case _, ok := <-hints:
			if !ok {
				hints = nil
			}
			timer.Reset(pollLeast - (r.Meter.Mono() - read)) // a store may send them without end
			select {
			case <-timer.C:
			case <-r.Ended:
			}
		case <-r.Ended:
		}
		timer.Stop()
		select {
		case <-r.Ended:
			return
		default:
		}
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
		read = mono
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
