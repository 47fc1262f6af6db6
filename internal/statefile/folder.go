package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeFolder makes the folder and every missing one above it, durably. Folders
// that root makes are the user's whose folder they are in. Each is opened
// relative to the one above it: where that user may write, a link could be put in
// the way.
func (f *File) makeFolder() error {
	if _, err := os.Stat(f.folder); err == nil {
		return nil
	}
	above := existing(f.folder)
	rest, err := filepath.Rel(above, f.folder)
	if err != nil {
		return describe(f.path, "make its folder", err)
	}
	root, err := os.OpenRoot(above)
	if err != nil {
		return describe(f.path, "make its folder", err)
	}
	defer func() { root.Close() }()
	for _, name := range splitPath(rest) {
		next, err := f.makeOne(root, name)
		if err != nil {
			return err
		}
		root.Close()
		root = next
	}
	return nil
}

func (f *File) makeOne(above *os.Root, name string) (*os.Root, error) {
	err := above.Mkdir(name, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, describe(f.path, "make its folder", err)
	}
	next, err := above.OpenRoot(name)
	if err != nil {
		return nil, describe(f.path, "make its folder", err)
	}
	if made {
		err = f.furnish(above, next)
	}
	if err == nil && !f.opts.noFolderSync {
		if err = syncRoot(above); err != nil {
			err = describe(f.path, "make its folder durable", err)
		}
	}
	if err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// furnish sets owner and mode of a new folder.
func (f *File) furnish(above, made *os.Root) error {
	dir, err := made.Open(".")
	if err != nil {
		return describe(f.path, "make its folder", err)
	}
	defer dir.Close()
	info, err := above.Stat(".")
	if err == nil {
		err = give(dir, info)
	}
	if err == nil && f.opts.Shared { // whatever the umask; setgid, so that what is made in it is the group's
		err = dir.Chmod(0o770 | fs.ModeSetgid)
	}
	if err != nil {
		return describe(f.path, "make its folder", err)
	}
	return nil
}

func splitPath(path string) []string {
	dir, name := filepath.Split(path)
	if dir = filepath.Clean(dir); dir == "." || dir == path {
		return []string{name}
	}
	return append(splitPath(dir), name)
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
