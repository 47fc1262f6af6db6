package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// lockMagic starts the first record of the lock file, the generation.
const lockMagic = "tokenguard-lock "

// mark is a generation: the revision and lineage of a commit.
type mark struct {
	rev     uint64
	lineage string
}

func (m mark) known() bool { return m.rev > 0 }

func (m mark) encode() []byte {
	lineage := m.lineage
	if lineage == "" {
		lineage = strings.Repeat("0", 16)
	}
	s := fmt.Sprintf("%s%016x %s", lockMagic, m.rev, lineage)
	return fmt.Appendf(nil, "%-63s\n", fmt.Sprintf("%s %08x", s, crc32.Checksum([]byte(s), castagnoli)))
}

// parseMark reports whether encode wrote b, which the half of a record is not.
func parseMark(b []byte) (mark, bool) {
	const revAt, lineageAt, sumAt = len(lockMagic), len(lockMagic) + 17, len(lockMagic) + 34
	if len(b) != recordSize || !bytes.HasPrefix(b, []byte(lockMagic)) {
		return mark{}, false
	}
	rev, err := strconv.ParseUint(string(b[revAt:revAt+16]), 16, 64)
	if err != nil {
		return mark{}, false
	}
	sum, err := strconv.ParseUint(string(b[sumAt:sumAt+8]), 16, 32)
	if err != nil || rev > maxRev || uint32(sum) != crc32.Checksum(b[:sumAt-1], castagnoli) {
		return mark{}, false
	}
	return mark{rev, string(b[lineageAt : lineageAt+16])}, true
}

// readMark reads the generation. A record that is being written may be read as
// unknown; that only costs the reader a closer look.
func readMark(f *os.File) (mark, error) {
	var b [recordSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return mark{}, err
	}
	m, _ := parseMark(b[:])
	return m, nil
}

// lockRef is the lock file held open for reading, with its identity.
type lockRef struct {
	file *os.File
	info fs.FileInfo
}

func (f *File) watch(next *lockRef) {
	if old := f.watched.Swap(next); old != nil {
		old.file.Close()
	}
}

// generation reads the generation from the lock file; unknown if there is none.
func (f *File) generation() (mark, error) {
	info, err := os.Lstat(f.lockPath)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, nil
	}
	if err != nil {
		return mark{}, describe(f.path, "look at the lock file", err)
	}
	ref := f.watched.Load()
	if ref == nil || !os.SameFile(ref.info, info) {
		file, info, err := f.openTrusted(f.lockPath, os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			return mark{}, nil
		}
		if err != nil {
			return mark{}, describe(f.path, "open the lock file", err)
		}
		ref = &lockRef{file, info}
		f.watch(ref)
		select {
		case <-f.closed: // Close may have run before the swap
			f.watch(nil)
		default:
		}
	}
	m, err := readMark(ref.file)
	if errors.Is(err, fs.ErrClosed) { // another call exchanged it, or Close ran
		return mark{}, nil
	}
	if err != nil {
		return mark{}, describe(f.path, "read the lock file", err)
	}
	if !m.known() {
		switch c, err := claimLock(ref.file); {
		case errors.Is(err, fs.ErrClosed):
		case err != nil:
			return mark{}, describe(f.path, "read the lock file", err)
		case c == claimForeign:
			return mark{}, &ForeignError{Path: f.lockPath}
		}
	}
	return m, nil
}
