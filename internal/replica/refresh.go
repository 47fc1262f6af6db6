package replica

import (
	"context"
	"time"

	"github.com/tokenguard/tokenguard/internal/panics"
)

// Concurrent callers share one read of the store, and stop waiting for it after LookTimeout if a cached token can serve
// them. After a read that was slow and failed, the calls that come let one read at a time find out whether the store is
// back, and only those that have no token wait for it, a moment.
const (
	LookTimeout = 2 * time.Second        // how long calls wait for a read
	SlowLook    = 250 * time.Millisecond // what a failing read may take for the next call to try another at once
)

// refresh is a read of the store in progress. Its results are set before done is closed.
type refresh struct {
	done chan struct{}
	err  error
}

// sharedRefresh is Reread for all that call it while a read is in progress.
func (r *Replica) sharedRefresh(ctx context.Context, rev *Revision) error {
	defer r.flushNotices()
	return r.joinRefresh(ctx, rev)
}

// joinRefresh is sharedRefresh without a word to observers, for a goroutine that no caller waits in.
func (r *Replica) joinRefresh(ctx context.Context, rev *Revision) error {
	r.mu.Lock()
	f, slow := r.refresh, r.slow
	if f == nil && slow != nil && r.Meter.Mono()-r.slowAt < r.Freshness {
		r.mu.Unlock()
		return slow
	}
	if f == nil {
		f = &refresh{done: make(chan struct{})}
		r.refresh = f
		go r.runRefresh(context.WithoutCancel(ctx), f, rev)
	}
	r.mu.Unlock()
	if slow != nil {
		return slow
	}
	patience := time.NewTimer(LookTimeout)
	defer patience.Stop()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		r.markAway(context.Background(), ErrNoAnswer)
		r.mu.Lock()
		if r.refresh == f { // else it has just ended
			r.slow, r.slowAt = ErrNoAnswer, r.Meter.Mono()
		}
		r.mu.Unlock()
		return ErrNoAnswer
	}
}

// runRefresh reads, and notes how that went.
func (r *Replica) runRefresh(ctx context.Context, f *refresh, rev *Revision) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	began := r.Meter.Mono()
	panics.Call("Store", func() (struct{}, error) { return struct{}{}, r.fetch(ctx, rev) }, func(_ struct{}, err error) {
		err = r.foreign(err)
		f.err = err
		now := r.Meter.Mono()
		r.mu.Lock()
		r.refresh = nil
		if r.slow = nil; err != nil && now-began > SlowLook {
			r.slow, r.slowAt = err, now
		}
		r.mu.Unlock()
		close(f.done)
	})
}

// IsBack waits a moment for the read in progress after one that was slow and failed, and reports whether it found the
// store back: worth it for a call that has no token to be served.
func (r *Replica) IsBack(ctx context.Context) bool {
	r.mu.Lock()
	f := r.refresh
	r.mu.Unlock()
	if f == nil {
		return false
	}
	patience := time.NewTimer(SlowLook)
	defer patience.Stop()
	select {
	case <-f.done:
		return f.err == nil
	case <-ctx.Done():
	case <-patience.C:
	}
	return false
}

// Hangs returns the error of a last read that was slow and failed.
func (r *Replica) Hangs() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slow
}

// Close ends a read that is in progress, and the counters: what they counted after the last commit would be lost.
func (r *Replica) Close() {
	r.end()
	r.mu.Lock()
	r.endCountersLocked()
	if r.pacer != nil {
		r.pacer.Stop()
	}
	f := r.refresh
	r.mu.Unlock()
	if f == nil {
		return
	}
	patience := time.NewTimer(LookTimeout)
	defer patience.Stop()
	select {
	case <-f.done:
	case <-patience.C: // the store does not honour its context
	}
}

// catchUp reads the store if what is known is too old.
func (r *Replica) catchUp(ctx context.Context) error {
	r.mu.Lock()
	rev, checked := r.current, r.checked
	r.mu.Unlock()
	switch {
	case rev != nil && (!r.store.Shared || !r.EachCall && r.Meter.Mono()-checked < r.Freshness):
		return nil
	case r.EachCall || !r.store.Shared:
		return r.Reread(ctx)
	}
	return r.sharedRefresh(ctx, rev)
}

// Reread reads the store, and reports what it found.
func (r *Replica) Reread(ctx context.Context) error {
	defer r.flushNotices()
	return r.fetch(ctx, r.Newest())
}

// fetch reads the store, its revision alone if that tells enough.
func (r *Replica) fetch(caller context.Context, rev *Revision) error {
	r.Meter.Rebase()
	ctx, cancel := context.WithTimeout(caller, StoreTimeout)
	defer cancel()
	if r.store.Revision != nil && rev != nil && !r.Meter.Remote() {
		n, err := r.store.Revision(ctx)
		if err != nil {
			r.markAway(caller, err)
			return err
		}
		if n == rev.Rev {
			r.touch(rev)
			r.markBack()
			return nil
		}
	}
	began := r.Meter.Ticks()
	snap, err := r.store.View(ctx)
	if err == nil && !snap.Now.IsZero() && r.Meter.Slow(began) { // as after a suspend in the middle: the next may tell the time
		again := r.Meter.Ticks()
		if newer, err := r.store.View(ctx); err == nil {
			snap, began = newer, again
		}
	}
	if err == nil {
		err = r.accept(snap, began)
	}
	if err != nil {
		r.markAway(caller, err)
		return err
	}
	r.markBack()
	return nil
}

// touch notes that the store has just said that this is its newest revision. If a later one is known meanwhile, that is not
// news of it.
func (r *Replica) touch(rev *Revision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current.Epoch == rev.Epoch && r.current.Rev == rev.Rev {
		r.checked = r.Meter.Mono()
	}
}
