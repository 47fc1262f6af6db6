//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// owners are the user and group of a file.
type owners struct{ user, group int }

func ownersOf(info fs.FileInfo) (owners, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owners{}, false
	}
	return owners{int(st.Uid), int(st.Gid)}, true
}

// fit gives a new file the mode and group of like, the file that it replaces: a
// state that was opened to a group must not be closed by the next commit. Files
// that root writes keep their owner or take the folder's, so that one command run
// as root does not lock the service out.
func (f *File) fit(file *os.File, like fs.FileInfo) error {
	folder, err := os.Stat(f.folder)
	if err != nil {
		return err
	}
	made, err := file.Stat()
	if err != nil {
		return err
	}
	in, ok := ownersOf(folder)
	has, ok2 := ownersOf(made)
	if !ok || !ok2 {
		return nil
	}
	mode, want := fs.FileMode(0o600), has
	if os.Geteuid() == 0 {
		want = in
	}
	if like != nil {
		if was, ok := ownersOf(like); ok {
			mode, want.group = like.Mode().Perm(), was.group
			if os.Geteuid() == 0 {
				want.user = was.user
			}
		}
	}
	if f.opts.Shared {
		mode |= 0o660
		want.group = in.group
	}
	return apply(file, mode, has, want)
}

// share opens a lock file that was made without Options.Shared to the group. Only
// its owner can; for anybody else opening it has failed already or it is open.
func (f *File) share(file *os.File, info fs.FileInfo) {
	if !f.opts.Shared {
		return
	}
	folder, err := os.Stat(f.folder)
	if err != nil {
		return
	}
	in, ok := ownersOf(folder)
	has, ok2 := ownersOf(info)
	if mode := info.Mode().Perm(); ok && ok2 && (has.group != in.group || mode&0o660 != 0o660) {
		_ = apply(file, mode|0o660, has, owners{has.user, in.group})
	}
}

// apply fails if the file would be open to a group that it is not meant for. An
// owner that cannot be set is left: root may lack the right to, as in a container.
func apply(file *os.File, mode fs.FileMode, has, want owners) error {
	if want.user != has.user && file.Chown(want.user, -1) != nil {
		want.user = has.user
	}
	if want.group != has.group {
		if file.Chown(-1, want.group) != nil && mode&0o070 != 0 {
			return fmt.Errorf("its mode is %04o for group %d, and this user is not of that group", mode, want.group)
		}
	}
	return file.Chmod(mode)
}

// untrusted says why the file may be somebody else's doing; "": it cannot. Who may
// write to the folder can put any file there, but not one that this user or root
// owns, unless such a file may be written to by others as well.
func untrusted(file, folder fs.FileInfo, shared bool) string {
	has, ok := ownersOf(file)
	in, ok2 := ownersOf(folder)
	if !ok || !ok2 {
		return ""
	}
	me := os.Geteuid()
	others := fs.FileMode(0o022)
	if shared {
		others = 0o002
	}
	// Root serves the folder's owner; a group that shares the state, each member.
	trustsOwner := me == 0 || in.user == me || in.user == 0 || shared
	if folder.Mode().Perm()&others == 0 && trustsOwner {
		return ""
	}
	switch {
	case has.user != me && has.user != 0 && (me != 0 || has.user != in.user):
		return fmt.Sprintf("belongs to user %d, and others may write to its folder (mode %04o, user %d)", has.user, folder.Mode().Perm(), in.user)
	case file.Mode().Perm()&others != 0:
		return fmt.Sprintf("has mode %04o, and others may write to its folder (mode %04o, user %d)", file.Mode().Perm(), folder.Mode().Perm(), in.user)
	}
	return ""
}

// give hands a folder that root has just made to the owner of the one above it. It
// must be empty still: a user who may write above it could have put another in its
// place.
func give(made *os.File, above fs.FileInfo) error {
	to, ok := ownersOf(above)
	info, err := made.Stat()
	if err != nil {
		return err
	}
	has, ok2 := ownersOf(info)
	if os.Geteuid() != 0 || !ok || !ok2 || to == has {
		return nil
	}
	if names, err := made.Readdirnames(1); len(names) > 0 || has.user != 0 {
		return errors.Join(errors.New("it is not the one that was just made"), err)
	}
	if err := made.Chown(to.user, to.group); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
