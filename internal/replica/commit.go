package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// ErrNoAnswer is a store that did not return in time.
var ErrNoAnswer = errors.New("the store did not answer in time")

// errNotRun is a store that says that it updated the document and did not ask for the new one.
var errNotRun = errors.New("the store did not run the update")

// batch is the next commit while one is in progress. In a storm of reports that each move an instant, a store that
// takes milliseconds to be durable is written to as often as it can take, and each report is still durable before it
// returns.
type batch struct {
	ctx     context.Context // of the first, without its end
	changes []Change
	done    chan struct{} // closed once it is over; what follows is set before
	at      timeline.Reading
	err     error
}

// Commit applies c to the newest document, durably. Nothing is written if c and everything that waits change nothing.
// Commits that come while another is in progress go together into the next one, in their order. After an error c may
// still be applied.
func (r *Replica) Commit(caller context.Context, c Change) (timeline.Reading, error) {
	r.mu.Lock()
	if !r.committing {
		r.committing = true
		r.mu.Unlock()
		defer r.flushNotices() // by then others may commit: it calls foreign code
		defer r.commitNext()
		return r.commitNow(caller, c)
	}
	if r.batch == nil {
		r.batch = &batch{ctx: context.WithoutCancel(caller), done: make(chan struct{})}
	}
	b := r.batch
	b.changes = append(b.changes, c)
	r.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(caller, StoreTimeout, ErrNoAnswer)
	defer cancel()
	select {
	case <-b.done:
		r.flushNotices() // here, where a panic in foreign code meets a caller
		return b.at, b.err
	case <-ctx.Done():
		err := context.Cause(ctx)
		r.markAway(caller, err)
		return r.Meter.Read(), err
	}
}

// commitNext begins the commit of the changes that came meanwhile.
func (r *Replica) commitNext() {
	r.mu.Lock()
	b := r.batch
	r.batch, r.committing = nil, b != nil
	r.mu.Unlock()
	if b != nil {
		go r.commitBatch(b)
	}
}

func (r *Replica) commitBatch(b *batch) {
	defer r.commitNext()
	panics.Call("Store", func() (timeline.Reading, error) {
		return r.commitNow(b.ctx, func(d *Draft) (changed bool) {
			for _, c := range b.changes {
				changed = c(d) || changed
			}
			return changed
		})
	}, func(at timeline.Reading, err error) {
		b.at, b.err = at, r.foreign(err)
		close(b.done)
	})
}

// foreign is the error of a call of the store as callers see it.
func (r *Replica) foreign(err error) error {
	if p, ok := errors.AsType[*panics.Error](err); ok && r.Panicked != nil {
		return r.Panicked(p)
	}
	return err
}

// commitNow is one update of the store, with everything that waits. The function that the store runs is pure: what it
// needs of this process was read before, and what it finds is set aside for afterwards.
func (r *Replica) commitNow(caller context.Context, c Change) (timeline.Reading, error) {
	ctx, cancel := context.WithTimeoutCause(caller, StoreTimeout, ErrNoAnswer)
	defer cancel()
	r.Meter.Rebase()
	known, usage := r.basis(), r.takePending()
	returned := false
	defer func() {
		if !returned { // it panicked, or ended the goroutine
			r.restorePending(usage)
		}
	}()
	var (
		next  *ledger.Document // of the last run of the function; nil: it changed nothing
		draft *Draft
		l     loaded
		ran   = errNotRun // what the last run of the function said
	)
	began := r.Meter.Ticks()
	snap, err := r.store.Update(ctx, func(snap Snapshot) ([]byte, error) {
		next = nil
		l, ran = r.load(snap, known)
		if ran != nil {
			return nil, ran
		}
		draft = r.draft(l.doc.Clone(), l.at, known)
		changed := l.dirty
		for _, u := range known.unsaved {
			changed = u.change(draft) || changed
		}
		changed = draft.Doc.CountUses(usage) || changed
		changed = r.Stamp(draft.Doc, l.at.Now) || changed
		if !c(draft) && !changed && len(usage) == 0 { // outcomes that made c change nothing are written: it would ask again
			return nil, nil
		}
		doc := draft.Doc
		doc.Prune(r.Policy, l.at.Now)
		doc.NotePeer(r.Policy.RateLimit, l.at.Now)
		if snap.Now.IsZero() {
			r.Meter.Stamp(&doc.Clock, known.sample, l.at.Now)
		} else { // also in a commit before the first look
			doc.Clock.Last = max(doc.Clock.Last, l.at.Now)
		}
		doc.SetLineage(lineageOf(snap))
		next = doc
		data, err := doc.Encode()
		ran = err
		return data, err
	})
	returned = true
	if err == nil {
		err = ran // else what was not done would pass for done
	}
	given := r.Meter.Mono()
	for _, text := range l.notices {
		r.AddNotice(text)
	}
	if err != nil {
		r.restorePending(usage)
		r.markAway(caller, err)
		return r.Meter.Read(), err
	}
	r.markBack()
	if draft != nil {
		r.saved(known)
		for _, text := range draft.Notices {
			r.AddNotice(text)
		}
	}
	if next == nil {
		r.restorePending(usage)
		// The newest document is known now, though nothing was written. A caller that went on deciding on an older one
		// would ask again without end.
		if err := r.accept(snap, began); err != nil {
			return r.Meter.Read(), fmt.Errorf("the store gave a document that cannot be read: %w", err)
		}
		return l.at, nil
	}
	r.follow(snap, next, began)
	lost := next.TakeDropped()
	r.mu.Lock()
	r.lost = append(r.lost, lost...)
	r.mu.Unlock()
	r.publish(r.open(&Revision{Doc: next, Rev: snap.Rev, Epoch: snap.Epoch, kept: lastKept(known.unsaved)}, l.at), given)
	return l.at, nil
}

// saved drops the changes that waited for the commit that is over, also those that changed nothing in it.
func (r *Replica) saved(known basis) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.usesWait = false
	if last := lastKept(known.unsaved); last > 0 {
		r.unsaved = slices.DeleteFunc(slices.Clone(r.unsaved), func(u unsaved) bool { return u.n <= last })
		r.dropped = r.dropped && len(r.unsaved) > 0
	}
}

// Flush commits what waits, after the commits that are in progress.
func (r *Replica) Flush(ctx context.Context) error {
	r.mu.Lock()
	r.foldCountersLocked()
	waits := len(r.pending) > 0 || len(r.unsaved) > 0 || r.usesWait || r.committing
	r.mu.Unlock()
	if !waits {
		return nil
	}
	_, err := r.Commit(ctx, func(*Draft) bool { return true })
	return err
}

// Save commits what was changed on reading.
func (r *Replica) Save(ctx context.Context) error {
	_, err := r.Commit(ctx, func(*Draft) bool { return false })
	return err
}

// Committing reports whether a commit is in progress.
func (r *Replica) Committing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committing
}

// takePending takes the outcomes that wait.
func (r *Replica) takePending() map[string]ledger.Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endCountersLocked()
	usage := r.pending
	r.pending = nil
	return usage
}

// restorePending puts outcomes back that were not committed.
func (r *Replica) restorePending(usage map[string]ledger.Pending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, newer := range r.pending {
		p := usage[id]
		p.Usage.Merge(newer.Usage)
		for operation, s := range newer.Successes {
			if p.Successes == nil {
				p.Successes = ledger.Successes{}
			}
			old := p.Successes[operation]
			p.Successes[operation] = ledger.Success{Began: max(old.Began, s.Began), Uses: old.Uses + s.Uses}
		}
		if usage == nil {
			usage = map[string]ledger.Pending{}
		}
		usage[id] = p
	}
	r.pending = usage
}
