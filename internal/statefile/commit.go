package statefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const tempInfix = ".tmp-"

// step names a point of an Update at which a process can die or a call can fail.
type step string

const (
	stepOpenLock   step = "open lock file"
	stepLock       step = "lock"
	stepCreate     step = "create temporary file"
	stepWrite      step = "write temporary file"
	stepSyncFile   step = "sync temporary file"
	stepRename     step = "rename"
	stepSyncFolder step = "sync folder"
	stepMark       step = "write generation"
	stepAside      step = "set aside"
)

func (f *File) at(s step) error {
	if f.opts.hook == nil {
		return nil
	}
	return f.opts.hook(s)
}

// commit makes d the newest document, durably.
func (s *session) commit(d document) error {
	f := s.f
	temp, err := s.writeTemp(d.encode())
	if err != nil {
		return err
	}
	err = f.at(stepRename)
	if err == nil {
		err = s.place(temp)
	}
	if err != nil {
		os.Remove(temp)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return errStolen
		}
		return unknown(describe(f.base, "replace it", err))
	}
	err = f.at(stepSyncFolder)
	if err == nil && !f.opts.noFolderSync {
		err = syncFolder(f.folder)
	}
	if err != nil {
		return unknown(describe(f.base, "make its folder durable", err))
	}
	// The commit stands. A generation that stays behind is caught up by the next
	// commit; until then a loss of this one would go unnoticed, so it is said.
	if err := s.setMark(d.mark()); err != nil {
		s.event(Event{Kind: EventGenerationNotWritten, Rev: d.rev, Err: describe(f.base, "write the lock file", err)})
	}
	f.saw(d.mark())
	return nil
}

// writeTemp returns the name of a durable temporary file with these bytes.
func (s *session) writeTemp(b []byte) (string, error) {
	f := s.f
	name := f.path + tempInfix + newLineage()
	fail := func(op string, err error) (string, error) { return "", describe(f.base, op, err) }
	if err := f.at(stepCreate); err != nil {
		return fail("create a temporary file", err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // the folder went away
			return "", errStolen
		}
		return fail("create a temporary file", err)
	}
	s.inheritOwner(file)
	err = f.at(stepWrite)
	if err == nil {
		_, err = file.Write(b)
	}
	if err == nil {
		err = f.at(stepSyncFile)
	}
	if err == nil && !f.opts.noFileSync {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(name)
		return fail("write a temporary file", err)
	}
	return name, nil
}

// place gives the temporary file the data file's name. Where the data file is
// what writers lock, one that does not exist yet excludes nobody, so the
// first commit must not replace another's.
func (s *session) place(temp string) error {
	if lockData && s.data == nil {
		err := s.f.link(temp, s.f.path)
		if err == nil {
			os.Remove(temp)
			return nil
		}
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return replace(temp, s.f.path)
}

// link fails with neither fs.ErrExist nor fs.ErrNotExist where there are no links.
func (f *File) link(from, to string) error {
	if f.opts.noLinks {
		return errors.ErrUnsupported
	}
	return os.Link(from, to)
}

// inheritOwner lets a state file that root writes keep its owner, so that one
// command run as root does not lock the service out. Root without the right to
// do that writes as itself.
func (s *session) inheritOwner(file *os.File) {
	if os.Geteuid() != 0 {
		return
	}
	like, err := os.Stat(s.f.folder)
	if s.data != nil {
		like, err = s.data.Stat()
	}
	if err == nil {
		chownLike(file, like)
	}
}

// makeFolder makes the folder and every missing one above it, durably.
func (f *File) makeFolder() error {
	var missing []string
	for dir := f.folder; dir != existing(dir); dir = filepath.Dir(dir) {
		missing = append(missing, dir)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		err := os.Mkdir(missing[i], 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return describe(f.base, "make its folder", err)
		}
		if !f.opts.noFolderSync {
			if err := syncFolder(filepath.Dir(missing[i])); err != nil {
				return describe(f.base, "make its folder durable", err)
			}
		}
	}
	return nil
}

// existing returns dir or the nearest folder above it that exists.
func existing(dir string) string {
	for {
		parent := filepath.Dir(dir)
		if _, err := os.Stat(dir); err == nil || parent == dir {
			return dir
		}
		dir = parent
	}
}

// sweep removes the temporary files of processes that died. Under the lock no
// other process writes one; if the lock was stolen, that one starts again.
func (f *File) sweep() {
	for _, name := range f.siblings(tempInfix) {
		os.Remove(filepath.Join(f.folder, name))
	}
}

// siblings lists, sorted, the files in the folder named base + infix + anything.
func (f *File) siblings(infix string) []string {
	entries, err := os.ReadDir(f.folder)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), f.base+infix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// openRegular opens a file that is no link, device, pipe or folder. A file that
// it creates gets mode 0600.
func openRegular(path string, flag int) (*os.File, fs.FileInfo, error) {
	file, err := openNoFollow(path, flag)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

func sameFile(file *os.File, path string) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(held, there)
}

// openData opens the data file; nil if there is none.
func (f *File) openData() (*os.File, error) {
	file, _, err := openRegular(f.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, describe(f.base, "open it", err)
	}
	return file, nil
}

func (f *File) readData() (document, error) {
	file, err := f.openData()
	if err != nil || file == nil {
		return document{}, err
	}
	defer file.Close()
	return f.decodeData(file)
}

// decodeData reads a whole data file; the zero document is one that is not there.
func (f *File) decodeData(file *os.File) (document, error) {
	info, err := file.Stat()
	if err != nil {
		return document{}, describe(f.base, "read it", err)
	}
	b := make([]byte, min(info.Size(), maxHeader+MaxData+1))
	n, err := file.ReadAt(b, 0)
	b = b[:n]
	if err != nil && err != io.EOF {
		return document{}, describe(f.base, "read it", err)
	}
	d, err := decode(b)
	var newer *VersionError
	if errors.As(err, &newer) {
		newer.Base = f.base
	}
	var foreign *ForeignError
	if errors.As(err, &foreign) {
		foreign.Base = f.base
	}
	if err == nil && d.name != f.opts.Name {
		err = &NameError{Base: f.base, Want: f.opts.Name, Got: d.name}
	}
	return d, err
}
