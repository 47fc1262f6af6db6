package tokenguard

import (
	"context"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard/internal/replica"
)

// Store keeps one small document per name. Any engine with an atomic update will do; it knows nothing of what the
// document means. The package storetest holds the contract as a test suite. Implementations must be safe for
// concurrent use.
type Store interface {
	// View returns the newest committed document. Rev 0 means that none was ever written.
	View(ctx context.Context, name string) (Snapshot, error)
	// Update applies fn atomically to the newest document and is durable when it returns. fn is pure and may run
	// again. Where fn returns nil, nil there is nothing to write; where it returns an error, Update writes nothing and
	// returns that error. The Snapshot returned is the one after the update.
	Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error)
	// Close releases what the store holds. The guard closes only stores that New opened.
	Close() error
}

// Snapshot is a document at one instant.
type Snapshot struct {
	// Data is the document; the receiver must not change it.
	Data []byte
	// Rev grows with each commit. Rev > 0 without Data means that what was committed is lost.
	Rev uint64
	// Epoch names the lineage. It changes when the engine may have lost commits: the windows then count as full.
	Epoch string
	// Now is the engine's clock, if it has one that all processes share. Zero: the guard's clock decides.
	Now time.Time
}

// Watcher is a Store that can hint that a document changed. Hints may be lost or come without a change. The channel is
// closed when ctx ends. Watch is called only while a caller waits.
type Watcher interface {
	Watch(ctx context.Context, name string) <-chan struct{}
}

// Revisioner is a Store that can tell the newest Rev for less than a View. The guard uses it to notice that another
// process changed the document.
type Revisioner interface {
	Revision(ctx context.Context, name string) (rev uint64, err error)
}

// storeOf is a store as the replica uses it, under one name.
func storeOf(s Store, name string, shared bool) replica.Store {
	out := replica.Store{
		Shared: shared,
		View: func(ctx context.Context) (replica.Snapshot, error) {
			snap, err := s.View(ctx, name)
			return replica.Snapshot(snap), err
		},
		Update: func(ctx context.Context, fn func(replica.Snapshot) ([]byte, error)) (replica.Snapshot, error) {
			snap, err := s.Update(ctx, name, func(snap Snapshot) ([]byte, error) { return fn(replica.Snapshot(snap)) })
			return replica.Snapshot(snap), err
		},
	}
	if r, ok := s.(Revisioner); ok {
		out.Revision = func(ctx context.Context) (uint64, error) { return r.Revision(ctx, name) }
	}
	if w, ok := s.(Watcher); ok {
		out.Watch = func(ctx context.Context) <-chan struct{} { return w.Watch(ctx, name) }
	}
	return out
}

// NewMemoryStore returns a Store that lives as long as the process. Guards that share one share their limits; New
// makes one for itself where no other store is given.
func NewMemoryStore() Store { return &memoryStore{docs: map[string]Snapshot{}} }

type memoryStore struct {
	mu      sync.Mutex // guards docs and watch; fn runs under it
	docs    map[string]Snapshot
	changed chan struct{} // closed and replaced on each commit; nil while nobody watches
	closed  bool
}

func (s *memoryStore) View(_ context.Context, name string) (Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Snapshot{}, ErrClosed
	}
	return s.docs[name], nil
}

func (s *memoryStore) Revision(ctx context.Context, name string) (uint64, error) {
	snap, err := s.View(ctx, name)
	return snap.Rev, err
}

func (s *memoryStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return Snapshot{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Snapshot{}, ErrClosed
	}
	snap := s.docs[name]
	data, err := fn(snap)
	if err != nil || data == nil {
		return snap, err
	}
	snap = Snapshot{Data: append([]byte(nil), data...), Rev: snap.Rev + 1}
	s.docs[name] = snap
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return snap, nil
}

func (s *memoryStore) Watch(ctx context.Context, _ string) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			s.mu.Lock()
			if s.changed == nil {
				s.changed = make(chan struct{})
			}
			changed := s.changed
			s.mu.Unlock()
			select {
			case <-changed:
				select {
				case out <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (s *memoryStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// openStore returns a guard's store and whether others may write to it. Nothing is read before the first call, but for a
// store with a clock of its own, which must not stand beside a user-supplied one.
func openStore(o *options, notice func(string)) (store Store, shared bool, err error) {
	switch {
	case o.store != nil:
		if o.clock == nil {
			return o.store, true, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), replica.StoreTimeout)
		defer cancel()
		if snap, err := o.store.View(ctx, o.name); err == nil && !snap.Now.IsZero() {
			return nil, false, errTwoClocks
		}
		return o.store, true, nil
	case o.stateFile:
		store, err = openStateFile(o, notice)
		return store, true, err
	}
	return NewMemoryStore(), false, nil
}

var errTwoClocks = &ConfigError{Field: "WithClock", Value: "a clock", Bound: "none beside a store that has its own"}
