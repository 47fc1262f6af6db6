package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	maxAside = 8 // set-aside files that are kept; the oldest go first

	maxNames = 1000 // that are tried for one

	// A revision that only a damaged header claims counts below this.
	maxClaimed = 1 << 48
)

// EventKind says what was noticed. The first four mean that commits may have
// been lost; the Epoch has changed.
type EventKind string

const (
	EventDamaged              EventKind = "damaged"                // the file's checksum or form is wrong; its content is gone
	EventDeleted              EventKind = "deleted"                // the file is gone
	EventRolledBack           EventKind = "rolled_back"            // the file is whole but older than the last commit; its content is kept
	EventReplaced             EventKind = "replaced"               // the file is whole but of another lineage; its content is kept
	EventGenerationNotWritten EventKind = "generation_not_written" // a commit is durable, but the lock file could not take its revision

	intact EventKind = ""
)

// Event is something that an operator should hear about.
type Event struct {
	Kind  EventKind
	Path  string // of the state file
	Aside string // base name under which the file now lies; "" if there was none
	Rev   uint64 // the revision from here on
	Err   error  // what was found, if there is more to say
}

// judge says whether what was read can be the newest commit, given the
// generation and the last sight that were taken before it was read.
func judge(d document, err error, gen, seen mark) EventKind {
	switch {
	case err != nil:
		return EventDamaged
	case d.rev == 0 && (gen.known() || seen.known()):
		return EventDeleted
	case d.rev == 0:
		return intact
	case gen.known() && gen.lineage != d.lineage:
		return EventReplaced
	// Another lineage that admits a loss shows it by its Epoch.
	case seen.known() && seen.lineage != d.lineage && d.losses == 0:
		return EventReplaced
	case d.rev < gen.rev, d.rev < seen.rev:
		return EventRolledBack
	}
	return intact
}

// current reads the newest document and recovers from a loss.
func (s *session) current() (document, error) {
	f := s.f
	seen := f.lastSeen()
	var d document
	var err error
	if s.data != nil {
		if k := f.known.Load(); k != nil && k.isIn(s.data, s.was.Size()) {
			d = k.document
		} else {
			d, err = f.decodeData(s.data)
		}
		if !lockData { // an open file could not be replaced
			s.data.Close()
			s.data = nil
		}
	}
	if err != nil && !damaged(err, s.gen, seen) {
		return document{}, err
	}
	if kind := judge(d, err, s.gen, seen); kind != intact {
		return s.recover(kind, d, err, max(s.gen.rev, seen.rev))
	}
	if d.rev > s.gen.rev { // the last writer died before it wrote the generation
		if err := s.setMark(d.mark()); err != nil {
			return document{}, describe(f.path, "write the lock file", err)
		}
	}
	f.saw(d.mark())
	return d, nil
}

// recover starts a new lineage after a loss. The generation goes first: a
// process that dies here leaves a file which the next one finds lost as well.
func (s *session) recover(kind EventKind, d document, found error, rev uint64) (document, error) {
	next := document{name: s.f.opts.Name, lineage: newLineage(), losses: 1}
	if kind == EventRolledBack || kind == EventReplaced {
		next.data = d.data
		next.losses += d.losses
		rev = max(rev, d.rev)
	} else if rev == 0 && d.rev < maxClaimed {
		rev = d.rev
	}
	if rev >= maxRev {
		return document{}, &RevisionError{Path: s.f.path, Rev: rev}
	}
	next.rev = rev + 1
	if err := s.setMark(next.mark()); err != nil {
		return document{}, describe(s.f.path, "write the lock file", err)
	}
	aside := ""
	if kind != EventDeleted {
		var err error
		if aside, err = s.setAside(kind, next.rev); err != nil {
			return document{}, err
		}
	}
	if err := s.commit(next); err != nil {
		return document{}, err
	}
	s.event(Event{Kind: kind, Aside: aside, Rev: next.rev, Err: found})
	s.pruneAside(aside)
	return next, nil
}

// setAside gives the data file a second name, or where there are no links a new
// one, and returns its base. Names sort by revision, since the clock may step.
func (s *session) setAside(kind EventKind, rev uint64) (string, error) {
	f := s.f
	if err := f.at(stepAside); err != nil {
		return "", describe(f.path, "set it aside", err)
	}
	at := time.Now().UTC().Format("20060102T150405Z")
	for range maxNames {
		aside := fmt.Sprintf("%s%s%012d-%s-%s", f.path, asideInfix, rev, at, kind)
		rev++
		err := f.link(f.path, aside)
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			err = f.moveTo(aside)
		}
		switch {
		case errors.Is(err, fs.ErrExist): // a file of this name is left to its owner
			continue
		case errors.Is(err, fs.ErrNotExist):
			return "", errStolen
		case err != nil:
			return "", describe(f.path, "set it aside", err)
		}
		return filepath.Base(aside), nil
	}
	return "", describe(f.path, "set it aside", errors.New("every name for that is taken"))
}

// moveTo renames the data file where there are no links. The empty file that takes
// the name first keeps the rename from replacing anything.
func (f *File) moveTo(aside string) error {
	file, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	file.Close()
	if err := replace(f.path, aside); err != nil {
		os.Remove(aside)
		return err
	}
	return nil
}

func (s *session) event(e Event) {
	e.Path = s.f.path
	*s.events = append(*s.events, e)
}
