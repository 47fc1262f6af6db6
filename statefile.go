package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tokenguard/tokenguard/internal/statefile"
)

// fileStore is a state file as a Store: one path, one name.
type fileStore struct{ file *statefile.File }

func openStateFile(o *options, notice func(string)) (Store, error) {
	path := o.statePath
	if path == "" {
		var err error
		if path, err = DefaultStateFile(o.name); err != nil {
			return nil, err
		}
	}
	file, err := statefile.Open(path, statefile.Options{Name: o.name, Shared: o.stateShared, OnEvent: func(e statefile.Event) { notice(stateEvent(e)) }})
	if err != nil {
		return nil, err
	}
	return &fileStore{file}, nil
}

// stateEvent tells an operator what happened to the file and where it is stored now.
func stateEvent(e statefile.Event) string {
	text := fmt.Sprintf("state file %s: %s", e.Path, e.Kind)
	if e.Aside != "" {
		text += fmt.Sprintf(": set aside as %s in the same folder", e.Aside)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// DefaultStateFile returns the path that WithStateFile means by an empty one, for a guard of this name. The file need not
// be there.
func DefaultStateFile(name string) (string, error) {
	if !validName(name) {
		return "", invalidName(name)
	}
	dir, err := stateDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name+".state"), nil
}

// stateDir is the user's folder for state, where scripts, tests and services of one user meet.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tokenguard"), nil
	}
	var dir string
	var err error
	switch runtime.GOOS {
	case "windows", "darwin", "ios", "plan9":
		dir, err = os.UserConfigDir() // %AppData%, ~/Library/Application Support
	default:
		if dir, err = os.UserHomeDir(); err == nil {
			dir = filepath.Join(dir, ".local", "state")
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoStateDir, err)
	}
	return filepath.Join(dir, "tokenguard"), nil
}

var errNoStateDir = errors.New("tokenguard: no folder for state files is known here: give WithStateFile a path")

func (s *fileStore) View(ctx context.Context, _ string) (Snapshot, error) {
	snap, err := s.file.View(ctx)
	return fileSnapshot(snap), err
}

func (s *fileStore) Update(ctx context.Context, _ string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	snap, err := s.file.Update(ctx, func(snap statefile.Snapshot) ([]byte, error) {
		return fn(fileSnapshot(snap))
	})
	return fileSnapshot(snap), err
}

// firstEpoch names the lineage of a file that has never lost anything. It has a name from the start, so that the very
// first document already says which lineage it is of.
const firstEpoch = "first"

func fileSnapshot(snap statefile.Snapshot) Snapshot {
	if snap.Epoch == "" {
		snap.Epoch = firstEpoch
	}
	return Snapshot{Data: snap.Data, Rev: snap.Rev, Epoch: snap.Epoch}
}

// Revision is the cheap look: a few bytes of the lock file.
func (s *fileStore) Revision(ctx context.Context, _ string) (uint64, error) {
	return s.file.Generation(ctx)
}

func (s *fileStore) Close() error { return s.file.Close() }
