// Package statefile keeps one small document in one file, for any number of
// processes on one machine that are started and killed at will.
//
// A commit writes the whole document, with a header and a checksum, to a
// temporary file, makes it durable, renames it over the data file and makes
// the folder durable. The data file is therefore always a whole old or a whole
// new document. Writers exclude each other with a lock on PATH.lock, which also
// holds the generation: the revision and lineage of the last commit. A data
// file that does not reach that generation was damaged, deleted, rolled back
// or exchanged; it is set aside under a new name, reported through OnEvent, and
// the lineage that follows has another Epoch.
//
// What the file alone cannot notice: that the data file and the lock file went
// away together, for instance with their folder. A File that had read an
// earlier revision notices that too.
package statefile

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// MaxData is the size in bytes of the largest document that a file takes.
const MaxData = 4 << 20

// DefaultLockTimeout is how long View and Update wait for the lock while nobody
// commits, unless Options.LockTimeout says otherwise.
const DefaultLockTimeout = 2 * time.Second

// Snapshot is one committed state of the document.
//
// Rev 0 means never written. Otherwise, no Data or an Epoch other than the one
// seen before means that commits may have been lost.
type Snapshot struct {
	Data  []byte // not to be changed: Update returns the bytes that its function got, or those that it returned, and the next call may give them again
	Rev   uint64 // grows with each commit, also across a loss
	Epoch string // "" for the lineage that has never lost anything
}

// Options of Open. The zero value is ready to use.
type Options struct {
	Name         string        // the document's name; a file of another name is refused with a NameError
	LockTimeout  time.Duration // the longest wait for the lock in which nobody commits; zero means DefaultLockTimeout
	Shared       bool          // the users of the folder's group share the state: 0660, the folder's group
	AllowNetwork bool          // accept a folder on a network file system, whose locks and renames may not hold
	OnEvent      func(Event)   // called after the locks are released, on the goroutine that noticed; may be nil

	// For tests.
	noFileSync, noFolderSync bool                         // the power-cut test's controls, which must lose
	noLinks                  bool                         // as on a file system without hard links
	hook                     func(step) error             // called before each step; an error is that step's failure
	networkFS                func(string) (string, error) // in place of networkFS
	nameLimit                func(string) int             // in place of nameLimit

	inspecting bool // nothing is written: any name and any owner will do
}

// File is a handle on one state file. Its methods are safe for concurrent use,
// and several Files on one path, in one process or many, exclude each other.
// No goroutine runs and no lock is held between calls.
type File struct {
	path, folder, base, lockPath string

	opts   Options
	turn   chan struct{} // holds one element: the right to take the file's lock
	closed chan struct{}
	close  sync.Once

	checked atomic.Bool             // the folder's file system has been accepted
	swept   atomic.Bool             // left-over temporary files have been removed
	watched atomic.Pointer[lockRef] // the lock file, open for reading the generation
	yieldTo atomic.Int64            // no new lock before this instant: another process was waiting

	mu   sync.Mutex // guards seen
	seen mark       // the highest generation this File has read or written

	known atomic.Pointer[written] // the last commit of this File, until another is seen
}

// Open returns a handle on the state file at path, whose base name has at most
// 195 bytes. It reads and writes nothing: the folder (0700) and the files (0600)
// are made by the first Update, with Options.Shared as 2770 and 0660. Files that
// exist keep their mode and group.
func Open(path string, opts Options) (*File, error) {
	if path == "" {
		return nil, errors.New("tokenguard: state file: the path is empty")
	}
	if len(opts.Name) > maxName {
		return nil, fmt.Errorf("tokenguard: state file: the name has %d bytes, at most %d are allowed", len(opts.Name), maxName)
	}
	base := filepath.Base(path)
	if len(base) > maxBase {
		return nil, fmt.Errorf("tokenguard: state file %q: its base name has %d bytes, at most %d are allowed, so that the names of the files beside it fit", path, len(base), maxBase)
	}
	if !opts.inspecting && (hasTempName(base) || asideForm.MatchString(base)) {
		return nil, fmt.Errorf("tokenguard: state file %q: its name is one that the library gives to files beside another state file, and removes; use another name", path)
	}
	if opts.LockTimeout < 0 {
		return nil, fmt.Errorf("tokenguard: state file: LockTimeout is %v, must not be negative", opts.LockTimeout)
	}
	if opts.LockTimeout == 0 {
		opts.LockTimeout = DefaultLockTimeout
	}
	if opts.networkFS == nil {
		opts.networkFS = networkFS
	}
	if opts.nameLimit == nil {
		opts.nameLimit = nameLimit
	}
	abs, err := filepath.Abs(path) // a later chdir must not move the state
	if err != nil {
		return nil, describe(path, "find the path", err)
	}
	f := &File{
		path: abs, folder: filepath.Dir(abs), base: filepath.Base(abs), lockPath: abs + lockSuffix,
		opts: opts, turn: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	f.turn <- struct{}{}
	return f, nil
}

// View returns the newest committed document. It takes no lock and writes
// nothing, unless the file turns out to be damaged, deleted, rolled back or
// exchanged: then it recovers as Update does.
func (f *File) View(ctx context.Context) (Snapshot, error) {
	if err := f.ready(ctx); err != nil {
		return Snapshot{}, err
	}
	// A commit renames before it raises the generation, so a document read after
	// the generation must reach it, however many commits go by in between.
	seen := f.lastSeen()
	gen, err := f.generation()
	if err != nil {
		return Snapshot{}, err
	}
	d, err := f.readData()
	if err != nil && !damaged(err, gen, seen) {
		return Snapshot{}, err
	}
	if judge(d, err, gen, seen) == intact {
		f.saw(d.mark())
		if k := f.known.Load(); k != nil && k.mark() != d.mark() {
			f.known.CompareAndSwap(k, nil) // of no use any more
		}
		return d.snapshot(), nil
	}
	return f.Update(ctx, func(Snapshot) ([]byte, error) { return nil, nil })
}

// Update applies fn to the newest document and commits what it returns; the
// commit is durable when Update returns. If fn returns no bytes, nothing is
// written and Update returns the newest snapshot; if it returns an error, nothing
// is written and Update returns that error as it is.
//
// fn runs while the file is locked: it must not use the File, and it may run
// again. A canceled ctx or Close ends the wait for the lock and prevents a write
// that has not begun. Errors: BusyError, VersionError, NameError, ForeignError,
// UntrustedError, RevisionError, SizeError, NetworkError, ErrClosed, and faults of the file system with what to
// do about them. After an error that is ErrOutcomeUnknown the commit may or may not be
// there; after any other error it is not.
func (f *File) Update(ctx context.Context, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	p := f.patience()
	if err := f.take(ctx, p); err != nil {
		return Snapshot{}, err
	}
	var events []Event
	defer func() {
		if f.opts.OnEvent != nil {
			for _, e := range events {
				f.opts.OnEvent(e)
			}
		}
	}()
	defer func() { f.turn <- struct{}{} }()
	for {
		if err := f.ready(ctx); err != nil {
			return Snapshot{}, err
		}
		snap, err := f.attempt(ctx, p, fn, &events)
		if !errors.Is(err, errStolen) {
			return snap, err
		}
		if p.over() {
			return Snapshot{}, describe(f.path, "commit", errors.New("its files are being removed or exchanged all the time"))
		}
	}
}

// attempt is one locked read, decision and commit.
func (f *File) attempt(ctx context.Context, p *patience, fn func(Snapshot) ([]byte, error), events *[]Event) (Snapshot, error) {
	s, err := f.lock(ctx, p)
	if err != nil {
		return Snapshot{}, err
	}
	defer s.release()
	s.events = events
	if f.swept.CompareAndSwap(false, true) {
		f.sweep()
	}
	d, err := s.current()
	if err != nil {
		return Snapshot{}, err
	}
	out, err := fn(d.snapshot())
	if err != nil {
		return Snapshot{}, err
	}
	if len(out) == 0 {
		return d.snapshot(), nil
	}
	if len(out) > MaxData {
		return Snapshot{}, &SizeError{Path: f.path, Size: len(out)}
	}
	if err := f.ready(ctx); err != nil {
		return Snapshot{}, err
	}
	if d.rev >= maxRev {
		return Snapshot{}, &RevisionError{Path: f.path, Rev: d.rev}
	}
	next := document{name: f.opts.Name, lineage: d.lineage, losses: d.losses, rev: d.rev + 1, data: out}
	if next.lineage == "" {
		next.lineage = newLineage()
	}
	if err := s.commit(next); err != nil {
		return Snapshot{}, err
	}
	return next.snapshot(), nil
}

// Generation returns the revision of the newest commit without reading the
// document: a changed value means that View has news. It takes no lock. It may
// lag behind an Update that has not returned, and it does not look at the data
// file, whose loss is noticed by the next View or Update.
func (f *File) Generation(ctx context.Context) (uint64, error) {
	if err := f.ready(ctx); err != nil {
		return 0, err
	}
	seen := f.lastSeen()
	gen, err := f.generation()
	if err != nil {
		return 0, err
	}
	if gen.known() && (gen.lineage == seen.lineage || !seen.known()) {
		f.saw(gen)
		return max(gen.rev, seen.rev), nil
	}
	snap, err := f.View(ctx)
	return snap.Rev, err
}

// Close releases the handle. Calls that wait for the lock return ErrClosed; an
// Update that is already writing ends as it would have.
func (f *File) Close() error {
	f.close.Do(func() { close(f.closed) })
	f.watch(nil)
	f.known.Store(nil)
	return nil
}

func (f *File) ready(ctx context.Context) error {
	select {
	case <-f.closed:
		return ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.checked.Load() {
		return nil
	}
	folder := existing(f.folder)
	if !f.opts.AllowNetwork {
		fs, err := f.opts.networkFS(folder)
		if err != nil {
			return describe(f.path, "look at the file system", err)
		}
		if fs != "" {
			return &NetworkError{Path: f.path, FS: fs}
		}
	}
	if most := f.opts.nameLimit(folder) - maxSuffix; len(f.base) > most && !f.opts.inspecting {
		return fmt.Errorf("tokenguard: state file %q: its base name has %d bytes, this file system allows %d with the names of the files beside it; use a shorter one", f.path, len(f.base), most)
	}
	// Only a folder that exists stays on the file system that was looked at.
	if folder == f.folder {
		f.checked.Store(true)
	}
	return nil
}

func (f *File) lastSeen() mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// saw notes what was read or written. Revisions grow across lineages, so the
// highest one is also the newest.
func (f *File) saw(m mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.rev > f.seen.rev {
		f.seen = m
	}
}
