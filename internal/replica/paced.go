package replica

import (
	"context"
	"time"

	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// pace is the least time between two commits of facts about the same.
const pace = time.Second

// paceOf is what is paced together.
func paceOf(about About) About {
	about.Brings = ""
	return about
}

// CommitPaced commits c, unless a change about the same was committed within the last second: then c counts in this
// process at once and waits for the next commit, at most until that second is over. So facts need not be refused for their
// number. After an error c is not kept.
func (r *Replica) CommitPaced(caller context.Context, c Change, about About) (timeline.Reading, error) {
	if wait := r.paceLeft(about); wait > 0 {
		at := r.ApplyReport(c, about)
		if r.flushAfter(wait) {
			return at, nil
		}
	}
	at, err := r.Commit(caller, c)
	if err != nil { // the next one reads the store, too, and finds that it is away
		r.mu.Lock()
		delete(r.paced, paceOf(about))
		r.mu.Unlock()
	}
	return at, err
}

// paceLeft is how long a change about this has to wait; 0: it may be committed, which counts from now on. What finds no
// room among what waits is committed.
func (r *Replica) paceLeft(about About) time.Duration {
	about = paceOf(about)
	now := r.Meter.Mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.paced[about]; ok && now-last < pace && len(r.unsaved) < int(ForReport) {
		return pace - (now - last)
	}
	for other, last := range r.paced {
		if now-last >= pace {
			delete(r.paced, other)
		}
	}
	if r.paced == nil {
		r.paced = map[About]time.Duration{}
	}
	r.paced[about] = now
	return 0
}

// flushAfter commits what waits after this time, if nothing else has until then. It reports whether it will: after Close
// nothing runs.
func (r *Replica) flushAfter(wait time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pacer == nil && r.life.Err() == nil {
		r.pacer = time.AfterFunc(wait, r.flushPaced)
	}
	return r.life.Err() == nil
}

// FlushComes reports whether what waits is about to be committed without anybody's doing.
func (r *Replica) FlushComes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pacer != nil
}

// SaveSoon commits within a second what the next commit would carry, also if that is but a use. While the store is away it
// does nothing: a use is not worth a question to it. Nor where the user has set a clock, whose seconds are no timer's.
func (r *Replica) SaveSoon() {
	if r.OwnClock {
		return
	}
	r.mu.Lock()
	away := r.offline.away
	r.usesWait = !away
	r.mu.Unlock()
	if !away {
		r.flushAfter(pace - 1) // at the instant itself a fake clock lets a call and the timer run in either order
	}
}

func (r *Replica) flushPaced() {
	r.mu.Lock()
	r.pacer = nil
	waits := (len(r.unsaved) > 0 || r.usesWait) && r.life.Err() == nil // Close flushes by itself
	if waits {
		now := r.Meter.Mono()
		for _, u := range r.unsaved { // it is the next second's commit
			if _, ok := r.paced[paceOf(u.about)]; ok {
				r.paced[paceOf(u.about)] = now
			}
		}
	}
	r.mu.Unlock()
	if !waits {
		return
	}
	// Foreign code on a goroutine of ours. What it fails to store waits on.
	panics.Call("Store", func() (struct{}, error) { return struct{}{}, r.Save(context.Background()) }, func(_ struct{}, err error) {
		if err != nil {
			r.mu.Lock()
			clear(r.paced)
			r.mu.Unlock()
		}
	})
}
