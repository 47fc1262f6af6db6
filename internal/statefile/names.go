package statefile

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// The files beside the state file. Other programs have files of such names, too
// (a lock file of a package manager, notes beside a draft), so a name alone
// proves nothing but for temporary files, whose names hold a checksum.
const (
	lockSuffix = ".lock"
	tempInfix  = ".tmp-"
	asideInfix = ".set-aside-"

	// The longest name is that of a set-aside file: a revision of 20 digits, an
	// instant of 16 characters, and the longest reason.
	maxSuffix = len(asideInfix) + 20 + 1 + 16 + 1 + len(EventRolledBack)
	maxFile   = 255 // bytes of a file's name on the usual file systems
	maxBase   = maxFile - maxSuffix
)

// tempName returns a new name for a temporary file of base. The checksum in it
// tells it from whatever another program calls base.tmp-something.
func tempName(base string) string {
	id := newLineage()
	return base + tempInfix + id + "-" + tempSum(base, id)
}

func tempSum(base, id string) string {
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(base+tempInfix+id), castagnoli))
}

// isTemp reports whether name was made by tempName for base.
func isTemp(base, name string) bool {
	rest, ok := strings.CutPrefix(name, base+tempInfix)
	id, sum, cut := strings.Cut(rest, "-")
	return ok && cut && len(id) == 2*lineageSize && sum == tempSum(base, id)
}

// hasTempName reports whether name was made by tempName for some base.
func hasTempName(name string) bool {
	at := strings.LastIndex(name, tempInfix)
	return at > 0 && isTemp(name[:at], name)
}

var asideForm = regexp.MustCompile(`^(.+)` + regexp.QuoteMeta(asideInfix) + `[0-9]{12,20}-[0-9]{8}T[0-9]{6}Z-(damaged|rolled_back|replaced)$`)

// isAside reports whether name has the form of a set-aside file of base.
func isAside(base, name string) bool {
	m := asideForm.FindStringSubmatch(name)
	return m != nil && m[1] == base
}

// siblings lists, sorted, the files in the folder whose names are of one form.
func (f *File) siblings(form func(base, name string) bool) []string {
	entries, err := os.ReadDir(f.folder)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if form(f.base, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// sweep removes the temporary files of processes that died. Under the lock no
// other process writes one; if the lock was stolen, that one starts again.
func (f *File) sweep() {
	for _, name := range f.siblings(isTemp) {
		os.Remove(filepath.Join(f.folder, name))
	}
}

// pruneAside keeps the newest set-aside files, among them the one just made. It
// never removes what another program wrote over the state file: that content is
// not the library's, wherever it was moved.
func (s *session) pruneAside(made string) {
	names := s.f.siblings(isAside)
	for _, name := range names[:max(0, len(names)-maxAside)] {
		if path := filepath.Join(s.f.folder, name); name != made && !foreignAt(path) {
			os.Remove(path)
		}
	}
}

// foreignAt reports whether the file at path cannot be what is left of a state
// file. One that cannot be read may be anybody's.
func foreignAt(path string) bool {
	file, _, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return true
	}
	defer file.Close()
	b := make([]byte, maxHeader)
	n, err := file.ReadAt(b, 0)
	return err != nil && err != io.EOF || foreign(b[:n])
}
