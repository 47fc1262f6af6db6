package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	Base   string        // base name of the state file
	PID    int           // the process that took the lock last; 0 if unknown
	Waited time.Duration // the timeout
}

func (e *BusyError) Error() string {
	switch e.PID {
	case 0:
		return fmt.Sprintf("tokenguard: state file %q: waited %v for its lock, which another process holds", e.Base, e.Waited)
	case os.Getpid():
		return fmt.Sprintf("tokenguard: state file %q: waited %v for its lock, which this process itself holds", e.Base, e.Waited)
	}
	return fmt.Sprintf("tokenguard: state file %q: waited %v for its lock, which process %d holds; if that process is stopped or hangs, continue or end it", e.Base, e.Waited, e.PID)
}

// VersionError says that a newer version of the library wrote the file. It is
// never overwritten.
type VersionError struct {
	Base    string
	Version int // of the file's format
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: has format version %d, this program knows up to %d; update the program or use another file", e.Base, e.Version, formatVersion)
}

// ForeignError says that the file is none of this library's: it holds nothing
// that the library writes, and no generation says that it ever did. It is never
// touched. Where a generation is known, the file counts as damaged.
type ForeignError struct {
	Base string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: is not a state file of this library, and no lock file beside it says that it was; use another path", e.Base)
}

func (e *ForeignError) Unwrap() error { return errDamaged }

// damaged reports whether err is a loss to recover from.
func damaged(err error, gen, seen mark) bool {
	var foreign *ForeignError
	return errors.Is(err, errDamaged) && (gen.known() || seen.known() || !errors.As(err, &foreign))
}

// NameError says that the file holds a document of another name.
type NameError struct {
	Base      string
	Want, Got string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: holds the document %q, not %q; use another file or the file's name", e.Base, e.Got, e.Want)
}

// SizeError says that a document was larger than MaxData; nothing was written.
type SizeError struct {
	Base string
	Size int // in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: the document has %d bytes, at most %d are allowed", e.Base, e.Size, MaxData)
}

// NetworkError says that the folder lies on a network file system and
// Options.AllowNetwork is not set.
type NetworkError struct {
	Base string
	FS   string // the kind of file system
}

func (e *NetworkError) Error() string {
	return fmt.Sprintf("tokenguard: state file %q: its folder is on a network file system (%s), where locks may not hold between machines; use a local folder, or allow it explicitly", e.Base, e.FS)
}

// describe adds the base name and what to do, and drops the absolute path that
// the os package's errors carry.
func describe(base, op string, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("tokenguard: state file %q: cannot %s: %w%s", base, op, err, advice(err))
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
	case errors.Is(err, syscall.EIO):
		return "; the disk reports an error: check it"
	}
	return ""
}

// unknown marks the failure of a step after which the commit may be there.
func unknown(err error) error { return fmt.Errorf("%w; %w", err, ErrOutcomeUnknown) }
