package statefile

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// Report is what Inspect found. Its document may hold secrets.
type Report struct {
	Path    string
	Exists  bool        // the data file is there
	Size    int64       // of the data file, in bytes
	Mode    fs.FileMode // of the data file
	ModTime time.Time   // of the data file: the last commit, on the wall clock

	// Lost is the event that the next View or Update will report, "" if it will
	// find the file in order. Problem says more about it, or why the file cannot
	// be used at all, as with a VersionError.
	Lost    EventKind
	Problem error

	Version  int      // of the format; 0 if it cannot be told
	Name     string   // of the document
	Snapshot Snapshot // the document, if it is whole
	Losses   int      // how many losses were noticed so far, at least

	Generation uint64 // the last commit according to the lock file; 0 if that is unknown
	Locked     bool   // the lock was held at this moment
	LockedBy   int    // the process that took the lock last; 0 if that is unknown

	SetAside  []string // base names of lost files that were kept, oldest first
	Temporary []string // base names of unfinished writes, of a live writer or a dead one
}

// Inspect looks at the state file at path, of whatever name, without changing
// anything. The error says that it could not look.
func Inspect(path string) (Report, error) {
	f, err := Open(path, Options{inspecting: true})
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	r := Report{Path: f.path, SetAside: f.siblings(isAside), Temporary: f.siblings(isTemp)}
	gen, err := f.generation()
	if err != nil {
		return r, err
	}
	r.Generation = gen.rev
	if ref := f.watched.Load(); ref != nil {
		r.LockedBy = holder(ref.file)
		free, err := tryLock(ref.file)
		if free {
			unlock(ref.file)
		}
		r.Locked = err == nil && !free
	}
	var d document
	if d, err = f.inspectData(&r); err != nil && !errors.Is(err, errDamaged) {
		return r, err
	}
	if r.Version <= formatVersion && (err == nil || damaged(err, gen, mark{})) {
		r.Lost = judge(d, err, gen, mark{})
	}
	return r, nil
}

func (f *File) inspectData(r *Report) (document, error) {
	file, info, err := openRegular(f.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return document{}, nil
	}
	if err != nil {
		return document{}, describe(f.path, "open it", err)
	}
	defer file.Close()
	r.Exists, r.Size, r.Mode, r.ModTime = true, info.Size(), info.Mode(), info.ModTime()
	d, err := f.decodeData(file)
	var newer *VersionError
	var other *NameError
	switch {
	case errors.As(err, &newer):
		r.Version, r.Problem = newer.Version, err
		return document{}, nil
	case errors.As(err, &other): // any name will do here
		err = nil
	case err != nil:
		r.Problem = err
		return document{}, err
	}
	r.Version, r.Name, r.Snapshot, r.Losses = formatVersion, d.name, d.snapshot(), d.losses
	return d, nil
}
