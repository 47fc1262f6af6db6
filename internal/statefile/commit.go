package statefile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// step names a point of an Update at which a process can die or a call can fail.
type step string

const (
	stepOpenLock   step = "open lock file"
	stepMakeLock   step = "make lock file"
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
	like := s.was
	if like == nil { // deleted; the lock file has what it had
		like, _ = s.lock.Stat()
	}
	parts := d.parts()
	temp, err := f.writeTemp(parts, like, f.at)
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
		err = describe(f.path, "replace it", err)
		if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) { // nothing happened, and nothing will
			return err
		}
		return unknown(err)
	}
	err = f.at(stepSyncFolder)
	if err == nil && !f.opts.noFolderSync {
		err = syncFolder(f.folder)
	}
	if err != nil {
		return unknown(describe(f.path, "make its folder durable", err))
	}
	// The commit stands. A generation that stays behind is caught up by the next
	// commit; until then a loss of this one would go unnoticed, so it is said.
	if err := s.setMark(d.mark()); err != nil {
		s.event(Event{Kind: EventGenerationNotWritten, Rev: d.rev, Err: describe(f.path, "write the lock file", err)})
	}
	f.saw(d.mark())
	f.known.Store(&written{d, parts})
	return nil
}

// written is a document and all of the file that holds it.
type written struct {
	document
	parts [][]byte
}

const compared = 64 << 10 // bytes at a time

// isIn reports whether a file of this size is what was written, byte for byte. To know that takes a third of the time of a
// checksum, and no room for the document.
func (w *written) isIn(file *os.File, size int64) bool {
	length := 0
	for _, part := range w.parts {
		length += len(part)
	}
	if size != int64(length) {
		return false
	}
	room, at := make([]byte, min(length, compared)), int64(0)
	for _, part := range w.parts {
		for len(part) > 0 {
			n := min(len(part), len(room))
			if read, err := file.ReadAt(room[:n], at); read < n || err != nil && err != io.EOF || !bytes.Equal(room[:n], part[:n]) {
				return false
			}
			part, at = part[n:], at+int64(n)
		}
	}
	return true
}

// writeTemp returns the name of a durable temporary file with these parts. It has
// the mode and group of like, the file that it is to replace or to be beside;
// nil if there is none.
func (f *File) writeTemp(parts [][]byte, like fs.FileInfo, at func(step) error) (string, error) {
	name := filepath.Join(f.folder, tempName(f.base))
	fail := func(op string, err error) (string, error) { return "", describe(f.path, op, err) }
	if err := at(stepCreate); err != nil {
		return fail("create a temporary file", err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // the folder went away
			return "", errStolen
		}
		return fail("create a temporary file", err)
	}
	op := "give a temporary file the mode and group of the state"
	if err = f.fit(file, like); err == nil {
		op = "write a temporary file"
		err = at(stepWrite)
	}
	for _, part := range parts {
		if err == nil {
			_, err = file.Write(part)
		}
	}
	if err == nil {
		err = at(stepSyncFile)
	}
	if err == nil && !f.opts.noFileSync {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(name)
		return fail(op, err)
	}
	return name, nil
}

// place gives the temporary file the data file's name. It replaces the file that
// was there when the lock was taken and no other one, which is another program's
// or the first commit of a process whose lock file was removed.
func (s *session) place(temp string) error {
	there, err := os.Lstat(s.f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.f.settle(temp, s.f.path)
	case err != nil:
		return err
	case s.was == nil || !os.SameFile(s.was, there):
		return fs.ErrExist
	}
	return replace(temp, s.f.path)
}

// settle gives a temporary file a name that nothing may have yet. Where there are
// no links it takes the name with an empty file first, for a rename would replace
// what came there in between.
func (f *File) settle(temp, name string) error {
	err := f.link(temp, name)
	if err == nil {
		os.Remove(temp)
		return nil
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	file.Close()
	if err := replace(temp, name); err != nil {
		os.Remove(name)
		return err
	}
	return nil
}

// link fails with neither fs.ErrExist nor fs.ErrNotExist where there are no links.
func (f *File) link(from, to string) error {
	if f.opts.noLinks {
		return errors.ErrUnsupported
	}
	return os.Link(from, to)
}

// openRegular opens a file that is no link, device, pipe or folder.
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

// openTrusted opens a regular file that nobody else can have put there.
func (f *File) openTrusted(path string, flag int) (*os.File, fs.FileInfo, error) {
	file, info, err := openRegular(path, flag)
	if err != nil || f.opts.inspecting {
		return file, info, err
	}
	folder, err := os.Stat(f.folder)
	if err == nil {
		if why := untrusted(info, folder, f.opts.Shared); why != "" {
			err = &UntrustedError{Path: path, Why: why}
		}
	}
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// openData opens the data file; nil if there is none.
func (f *File) openData() (*os.File, error) {
	file, _, err := f.openTrusted(f.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, describe(f.path, "open it", err)
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
		return document{}, describe(f.path, "read it", err)
	}
	b := make([]byte, min(info.Size(), maxHeader+MaxData+1))
	n, err := file.ReadAt(b, 0)
	b = b[:n]
	if err != nil && err != io.EOF {
		return document{}, describe(f.path, "read it", err)
	}
	if claimOf(b) == claimOurs {
		return document{}, &ForeignError{Path: f.path, lock: true}
	}
	d, err := decode(b)
	var newer *VersionError
	if errors.As(err, &newer) {
		newer.Path = f.path
	}
	var foreign *ForeignError
	if errors.As(err, &foreign) {
		foreign.Path = f.path
	}
	if err == nil && d.name != f.opts.Name {
		err = &NameError{Path: f.path, Want: f.opts.Name, Got: d.name}
	}
	return d, err
}
