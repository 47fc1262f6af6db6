package statefile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
)

// claim says what the content of the file in the lock file's place proves.
type claim int

const (
	claimOurs    claim = iota // one of its two records is whole
	claimRemains              // empty, or cut short, as damage leaves a lock file: proves nothing by itself
	claimForeign
)

var holderForm = regexp.MustCompile(`^locked by process [0-9]+ *[-w]\n$`)

// claimLock reads what proves that the library wrote the lock file. Any file that
// happens to be called so may be somebody's only copy of something.
func claimLock(lock *os.File) (claim, error) {
	b := make([]byte, 2*recordSize+1)
	n, err := lock.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return claimForeign, err
	}
	return claimOf(b[:n]), nil
}

func claimOf(b []byte) claim {
	if len(b) > 2*recordSize {
		return claimForeign
	}
	if len(b) >= recordSize {
		if _, ok := parseMark(b[:recordSize]); ok {
			return claimOurs
		}
	}
	if len(b) == 2*recordSize && holderForm.Match(b[recordSize:]) {
		return claimOurs
	}
	if len(bytes.Trim(b, "\x00")) == 0 || strings.HasPrefix(lockMagic, string(b[:min(len(b), len(lockMagic))])) {
		return claimRemains
	}
	return claimForeign
}

// dataIsOurs reports whether there is a data file that the library wrote, under
// whatever name and in whatever version. It vouches for remains of a lock file.
func (f *File) dataIsOurs() bool {
	file, _, err := openRegular(f.path, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer file.Close()
	_, err = f.decodeData(file)
	var newer *VersionError
	var other *NameError
	if err == nil || errors.As(err, &newer) || errors.As(err, &other) {
		return true
	}
	b := make([]byte, len(firstLine))
	_, err = file.ReadAt(b, 0)
	return err == nil && string(b) == firstLine
}
