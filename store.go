package tokenguard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/statefile"
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
	// Epoch names the lineage. It changes when the engine may have lost commits: the limits are then treated as used up.
	Epoch string
	// Now is the engine's clock, if it has one that all processes share. Zero: the guard's clock decides.
	Now time.Time
}

// Watcher is a Store that can hint that a document changed. Hints may be lost or come without a change: the document is read
// at most once in 10 ms for them. The channel is closed when ctx ends. Watch is called only while a caller waits.
type Watcher interface {
	Watch(ctx context.Context, name string) <-chan struct{}
}

// Revisioner is a Store that can return the newest Rev at less cost than a View. The guard uses it to notice that another
// process changed the document.
type Revisioner interface {
	Revision(ctx context.Context, name string) (rev uint64, err error)
}

// storeOf is a store as the replica uses it, under one name.
func storeOf(s Store, name string, shared bool) replica.Store {
	update, foreign := s.Update, false
	out := replica.Store{
		Shared: shared,
		View: func(ctx context.Context) (replica.Snapshot, error) {
			snap, err := s.View(ctx, name)
			return replica.Snapshot(snap), err
		},
		Update: func(ctx context.Context, fn func(replica.Snapshot) ([]byte, error)) (replica.Snapshot, error) {
			if foreign {
				var over func()
				fn, over = replica.OnlyDuring(fn)
				defer over()
			}
			snap, err := update(ctx, name, func(snap Snapshot) ([]byte, error) { return fn(replica.Snapshot(snap)) })
			return replica.Snapshot(snap), err
		},
	}
	switch s := s.(type) {
	case *memoryStore:
		update = s.keep
	case *fileStore:
		out.Place = "the state file " + s.path
	default:
		foreign = true
		out.Place = fmt.Sprintf("the state %q in the store", name)
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
	return s.keep(ctx, name, func(snap Snapshot) ([]byte, error) {
		data, err := fn(snap)
		return bytes.Clone(data), err
	})
}

// keep is Update for an fn whose bytes nobody will modify.
func (s *memoryStore) keep(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
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
	snap = Snapshot{Data: data, Rev: snap.Rev + 1}
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
// store with a clock of its own, which must not be used beside a user-supplied one.
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

// fileStore is a state file as a Store: one path, one name.
type fileStore struct {
	path string
	file *statefile.File
}

func openStateFile(o *options, notice func(string)) (Store, error) {
	path := o.statePath
	if path == "" {
		var err error
		if path, err = DefaultStateFile(o.name); err != nil {
			return nil, err
		}
	}
	file, err := statefile.Open(path, statefile.Options{Name: o.name, Shared: o.stateShared, OnEvent: func(e statefile.Event) { notice(stateEvent(e)) }})
	if err != nil {
		return nil, err
	}
	return &fileStore{path, file}, nil
}

// stateEvent tells an operator what happened to the file and where it is stored now.
func stateEvent(e statefile.Event) string {
	text := fmt.Sprintf("state file %s: %s", e.Path, e.Kind)
	if e.Aside != "" {
		text += fmt.Sprintf(": set aside as %s in the same folder", e.Aside)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// DefaultStateFile returns the path that WithStateFile means by an empty one, for a guard of this name. The file need not
// be there.
func DefaultStateFile(name string) (string, error) {
	if !validName(name) {
		return "", invalidName(name)
	}
	dir, err := stateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name+".state"), nil
}

// stateDir is the user's folder for state, where scripts, tests and services of one user meet.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tokenguard"), nil
	}
	var dir string
	var err error
	switch runtime.GOOS {
	case "windows", "darwin", "ios", "plan9":
		dir, err = os.UserConfigDir() // %AppData%, ~/Library/Application Support
	default:
		if dir, err = os.UserHomeDir(); err == nil {
			dir = filepath.Join(dir, ".local", "state")
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoStateDir, err)
	}
	return filepath.Join(dir, "tokenguard"), nil
}

var errNoStateDir = errors.New("tokenguard: no folder for state files is known here: give WithStateFile a path")

func (s *fileStore) View(ctx context.Context, _ string) (Snapshot, error) {
	snap, err := s.file.View(ctx)
	return fileSnapshot(snap), err
}

func (s *fileStore) Update(ctx context.Context, _ string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	snap, err := s.file.Update(ctx, func(snap statefile.Snapshot) ([]byte, error) {
		return fn(fileSnapshot(snap))
	})
	return fileSnapshot(snap), err
}

// firstEpoch names the lineage of a file that has never lost anything. It has a name from the start, so that the very
// first document already says which lineage it is of.
const firstEpoch = "first"

func fileSnapshot(snap statefile.Snapshot) Snapshot {
	if snap.Epoch == "" {
		snap.Epoch = firstEpoch
	}
	return Snapshot{Data: snap.Data, Rev: snap.Rev, Epoch: snap.Epoch}
}

// Revision is the cheap look: a few bytes of the lock file.
func (s *fileStore) Revision(ctx context.Context, _ string) (uint64, error) {
	return s.file.Generation(ctx)
}

func (s *fileStore) Close() error { return s.file.Close() }

// What a process may start while the store cannot be read or written: nothing, its share of the limits, or all of them.

// WithFailOpenToLocalShare lets acquisitions start while the store cannot be read or written, within this process's
// share of the limits: n processes share the store, from 1 to the smaller of the limits per hour and per day (3 by
// default). With n = 1 the share is the whole budget: for a store that no other process uses, or where going on counts
// for more than the limits that processes keep together.
//
// While the store is away, and for an hour after (so that the others can first report what they started), this process
// keeps 1/n of the limits per hour and per day, rounded down, and n times MinInterval. Every attempt in the last
// document that it saw counts against that share, also those of other processes, and so does what it started since.
// Backoff, Retry-After and closed keys hold undivided. What it starts is charged to the document with its first call
// after the outage. A process that has seen no document since its own start cannot bound anything, and refuses.
//
// So n processes that lose the store together keep the limits per hour and day exactly, as far as they had seen the same
// document (WithFreshness) and each is called within an hour after. The spacing between processes is not kept.
//
// The worst case: processes that are cut off while others still reach the store start their shares beside the others'
// whole budget, together less than one budget more; the same holds for processes that did not notice the outage, until those
// that did have reported. More than n processes start more than the limits. Without this option such calls are refused with
// ErrStore; cached tokens are served either way.
func WithFailOpenToLocalShare(n int) Option {
	return func(o *options) { o.processes, o.sharing = n, true }
}

// checkShare finds what keeps a share of the limits from being one.
func (o *options) checkShare() {
	if !o.sharing {
		return
	}
	const field = "WithFailOpenToLocalShare"
	most := min(o.RateLimit.MaxRequestsPerHour, o.RateLimit.MaxRequestsPerDay)
	if o.processes < 1 || o.processes > most {
		o.mistake(field, fmt.Sprint(o.processes), fmt.Sprintf("from 1 to %d, the smaller of the limits per hour and per day", most))
	}
}
