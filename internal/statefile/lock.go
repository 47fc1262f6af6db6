package statefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

// The lock file has two records of 64 bytes of text: the generation, then who
// took the lock last and whether another process waits for it ('w').
const (
	recordSize   = 64
	waiterOffset = 2*recordSize - 2

	pollMin = 200 * time.Microsecond
	pollMax = 5 * time.Millisecond

	settleTries = 20   // looks at a lock file that is empty, pollMax apart
	vanishTries = 1000 // lock files that were made and are gone again
)

// session is the time from lock to release.
type session struct {
	f      *File
	lock   *os.File
	gen    mark        // as in the lock file when it was locked
	data   *os.File    // nil: there is no data file
	was    fs.FileInfo // of the data file
	events *[]Event
}

// patience bounds a wait: it lasts while commits go by, for then the process that holds
// the lock gives it back and this File's turn comes, and ends once nobody has
// committed for the timeout.
type patience struct {
	f    *File
	seen mark
	ends time.Time
}

func (f *File) patience() *patience {
	p := &patience{f: f, ends: time.Now().Add(f.opts.LockTimeout)}
	p.seen, _ = f.generation()
	return p
}

func (p *patience) over() bool {
	if time.Now().Before(p.ends) {
		return false
	}
	gen, err := p.f.generation()
	if err != nil || gen == p.seen {
		return true
	}
	p.seen, p.ends = gen, time.Now().Add(p.f.opts.LockTimeout)
	return false
}

// take waits for this File's turn; the caller gives it back.
func (f *File) take(ctx context.Context, p *patience) error {
	for {
		timer := time.NewTimer(time.Until(p.ends))
		select {
		case <-f.turn:
			timer.Stop()
			return nil
		case <-f.closed:
			timer.Stop()
			return ErrClosed
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			if p.over() {
				return &BusyError{Path: f.path, PID: os.Getpid(), Waited: f.opts.LockTimeout}
			}
		}
	}
}

// lock takes the lock file's lock and, where the system can, that of the data
// file: a process that removes the lock file from under its holder still meets the
// holder there. Each counts only if the path still leads to what was locked.
func (f *File) lock(ctx context.Context, p *patience) (s *session, err error) {
	if wait := time.Until(time.Unix(0, f.yieldTo.Swap(0))); wait > 0 {
		if err := f.sleep(ctx, min(wait, pollMax)); err != nil {
			return nil, err
		}
	}
	s = &session{f: f}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	s.lock, err = f.openLock(ctx)
	if err != nil {
		return s, err
	}
	if err := f.waitFor(ctx, s.lock, s.lock, p); err != nil {
		return s, err
	}
	if !sameFile(s.lock, f.lockPath) {
		return s, errStolen
	}
	if err := s.register(); err != nil {
		return s, describe(f.path, "write the lock file", err)
	}
	s.data, err = f.openData()
	if err != nil || s.data == nil {
		return s, err
	}
	if s.was, err = s.data.Stat(); err != nil {
		return s, describe(f.path, "look at it", err)
	}
	if !lockData {
		return s, nil
	}
	if err := f.waitFor(ctx, s.data, s.lock, p); err != nil {
		return s, err
	}
	if !sameFile(s.data, f.path) {
		return s, errStolen
	}
	return s, nil
}

// openLock opens the lock file, or makes it. A file of that name which is not
// provably the library's is left alone: waiting for the lock writes into it.
func (f *File) openLock(ctx context.Context) (*os.File, error) {
	if err := f.at(stepOpenLock); err != nil {
		return nil, describe(f.path, "open the lock file", err)
	}
	for made, looked := 0, 0; ; {
		file, info, err := f.openTrusted(f.lockPath, os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) && made < vanishTries {
			if made++; made > settleTries && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err := f.makeLock(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, describe(f.path, "open the lock file", err)
		}
		c, err := claimLock(file)
		if err == nil && (c == claimOurs || c == claimRemains && f.dataIsOurs()) {
			f.share(file, info)
			return file, nil
		}
		file.Close()
		if err != nil {
			return nil, describe(f.path, "read the lock file", err)
		}
		// Where there are no links, one that is just being made is empty for an instant.
		if looked++; c == claimForeign || looked > settleTries {
			return nil, &ForeignError{Path: f.lockPath}
		}
		if err := f.sleep(ctx, pollMax); err != nil {
			return nil, err
		}
	}
}

// makeLock makes a whole lock file, unless another process does. It is durable
// before it has its name: remains of one are not provably the library's.
func (f *File) makeLock() error {
	if err := f.makeFolder(); err != nil {
		return err
	}
	data, err := os.Lstat(f.path)
	if err != nil || !data.Mode().IsRegular() {
		data = nil
	}
	temp, err := f.writeTemp([][]byte{mark{}.encode(), holderRecord()}, data, func(step) error { return nil })
	if errors.Is(err, errStolen) { // the folder went away; the caller looks again
		return nil
	}
	if err != nil {
		return err
	}
	if err = f.at(stepMakeLock); err == nil {
		err = f.settle(temp, f.lockPath)
	}
	if err != nil {
		os.Remove(temp)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return describe(f.path, "make the lock file", err)
	}
	return nil
}

func holderRecord() []byte {
	return fmt.Appendf(nil, "%-61s -\n", fmt.Sprintf("locked by process %d", os.Getpid()))
}

// waitFor polls: a blocking lock could not be left when ctx ends.
func (f *File) waitFor(ctx context.Context, file, lock *os.File, p *patience) error {
	for {
		err := f.at(stepLock)
		ok := false
		if err == nil {
			ok, err = tryLock(file)
		}
		if err != nil {
			return describe(f.path, "lock it", err)
		}
		if ok {
			return nil
		}
		lock.WriteAt([]byte{'w'}, waiterOffset) // a hint only
		if p.over() {
			return &BusyError{Path: f.path, PID: holder(lock), Waited: f.opts.LockTimeout}
		}
		if err := f.sleep(ctx, pollMin+rand.N(pollMax-pollMin)); err != nil {
			return err
		}
	}
}

func (f *File) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// register writes who holds the lock, and both records where a lock file was cut
// short, so that a full disk is found out here and not after the commit.
func (s *session) register() error {
	gen, err := readMark(s.lock)
	if err != nil {
		return err
	}
	s.gen = gen
	record := holderRecord()
	if info, err := s.lock.Stat(); err != nil {
		return err
	} else if info.Size() != 2*recordSize {
		_, err := s.lock.WriteAt(append(gen.encode(), record...), 0)
		return err
	}
	_, err = s.lock.WriteAt(record, recordSize)
	return err
}

// setMark raises the generation.
func (s *session) setMark(m mark) error {
	if err := s.f.at(stepMark); err != nil {
		return err
	}
	if _, err := s.lock.WriteAt(m.encode(), 0); err != nil {
		return err
	}
	s.gen = m
	return nil
}

// holder reads the process that took the lock last; 0 if that is unknown.
func holder(lock *os.File) int {
	var b [recordSize]byte
	if _, err := lock.ReadAt(b[:], recordSize); err != nil {
		return 0
	}
	var pid int
	if _, err := fmt.Sscanf(string(b[:]), "locked by process %d", &pid); err != nil {
		return 0
	}
	return pid
}

// release gives the locks back. If another process waited, this File's next
// lock comes a moment later: without that, a busy process starves the others.
func (s *session) release() {
	if s.data != nil {
		unlock(s.data)
		s.data.Close()
		s.data = nil
	}
	if s.lock != nil {
		var b [1]byte
		if _, err := s.lock.ReadAt(b[:], waiterOffset); err == nil && b[0] == 'w' {
			s.f.yieldTo.Store(time.Now().Add(pollMin + rand.N(pollMax-pollMin)).UnixNano())
		}
		unlock(s.lock)
		s.lock.Close()
		s.lock = nil
	}
}
