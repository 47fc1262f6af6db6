package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("tokenguard: state file: the handle is closed")

	// ErrOutcomeUnknown marks an Update whose last steps failed: the commit may
	// or may not be there, now or after a power cut. Treat it as done.
	ErrOutcomeUnknown = errors.New("it is unknown whether the commit was stored")

	// errStolen: a file was removed or exchanged in spite of the lock.
	errStolen = errors.New("removed or exchanged while in use")
)

// BusyError says that somebody kept the lock for longer than the timeout and
// committed nothing.
type BusyError struct {
	Path   string        // of the state file
	PID    int           // the process that took the lock last; 0 if unknown
	Waited time.Duration // the timeout
}

func (e *BusyError) Error() string {
	switch e.PID {
	case 0:
		return fmt.Sprintf("tokenguard: state file %q: waited %v for its lock, which another process holds", e.Path, e.Waited)
	case os.Getpid():
		return fmt.Sprintf("tokenguard: state file %q: waited %v for its lock, which this process itself holds", e.Path, e.Waited)
	}
	return fmt.Sprintf("tokenguard: state file %q: waited %v for its lock, which process %d holds; if that process is stopped or hangs, continue or end it", e.Path, e.Waited, e.PID)
}

// VersionError says that a newer version of the library wrote the file. It is
// never overwritten.
type VersionError struct {
	Path    string
	Version int // of the file's format
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: has format version %d, this program knows up to %d; update the program or use another file", e.Path, e.Version, formatVersion)
}

// ForeignError says that a file is none of this library's: it holds nothing that
// the library writes, and for a data file no generation says that it ever did. It
// is never touched. Where a generation is known, the data file counts as damaged.
type ForeignError struct {
	Path string // of the data file or of the lock file

	lock bool // the data file is another state's lock file, and moving it would let two in
}

func (e *ForeignError) Error() string {
	if e.lock {
		return fmt.Sprintf("tokenguard: state file %q: is the lock file of another state file; use another path", e.Path)
	}
	if strings.HasSuffix(e.Path, lockSuffix) {
		return fmt.Sprintf("tokenguard: state file %q: is not a lock file of this library, which would have this name beside %q; use another path, or remove the file if nothing else needs it",
			e.Path, strings.TrimSuffix(e.Path, lockSuffix))
	}
	return fmt.Sprintf("tokenguard: state file %q: is not a state file of this library, and no lock file beside it says that it was; use another path", e.Path)
}

func (e *ForeignError) Unwrap() error { return errDamaged }

// UntrustedError says that the file may have been put in its place by somebody
// else: others may write to the folder, and the file is another user's or open to
// their writing. It is neither read nor written.
type UntrustedError struct {
	Path string // of the data file or of the lock file
	Why  string
}

func (e *UntrustedError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: %s, so somebody else may have put it there; use a folder that only this user may write to, or, where the users of one group share the state, set the option for a shared group", e.Path, e.Why)
}

// damaged reports whether err is a loss to recover from.
func damaged(err error, gen, seen mark) bool {
	var foreign *ForeignError
	if errors.As(err, &foreign) {
		return !foreign.lock && (gen.known() || seen.known())
	}
	return errors.Is(err, errDamaged)
}

// NameError says that the file holds a document of another name.
type NameError struct {
	Path      string
	Want, Got string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: holds the document %q, not %q; use another file or the file's name", e.Path, e.Got, e.Want)
}

// RevisionError says that the file claims a revision that no number of commits
// leads to, and that leaves no room for the next one.
type RevisionError struct {
	Path string
	Rev  uint64
}

func (e *RevisionError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: has revision %d, and none can follow; end all processes that use it and remove it and its lock file", e.Path, e.Rev)
}

// SizeError says that a document was larger than MaxData; nothing was written.
type SizeError struct {
	Path string
	Size int // in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: the document has %d bytes, at most %d are allowed", e.Path, e.Size, MaxData)
}

// NetworkError says that the folder is on a network file system and
// Options.AllowNetwork is not set.
type NetworkError struct {
	Path string
	FS   string // the kind of file system
}

func (e *NetworkError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: its folder is on a network file system (%s), where locks may not hold between machines; use a local folder, or allow it explicitly", e.Path, e.FS)
}

// describe adds the state file's path and what to do, and drops the path that the
// os package's errors carry.
func describe(path, op string, err error) error {
	if untrusted := (*UntrustedError)(nil); errors.As(err, &untrusted) {
		return err
	}
	var inner *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &inner):
		err = inner.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("tokenguard: state file %q: cannot %s: %w%s", path, op, err, advice(err))
}

func advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), diskFull(err):
		return "; free some space, the next call tries again"
	case errors.Is(err, syscall.EROFS):
		return "; the file system is mounted read-only: mount it writable or use another path"
	case errors.Is(err, fs.ErrPermission):
		return "; give this user read and write permission on the file and its folder, or use another path"
	case errors.Is(err, syscall.ELOOP):
		return "; it is a symbolic link, which is not followed: remove it or use the path that it points to"
	case errors.Is(err, syscall.EBUSY):
		return "; it is mounted by itself, as a single file given to a container is, and so cannot be replaced: mount its folder instead"
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "; this file system takes only shorter names: use a shorter one"
	case errors.Is(err, syscall.EIO):
		return "; the disk reports an error: check it"
	}
	return ""
}

// unknown marks the failure of a step after which the commit may be there.
func unknown(err error) error { return fmt.Errorf("%w; %w", err, ErrOutcomeUnknown) }
