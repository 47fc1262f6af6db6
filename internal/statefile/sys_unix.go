//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package statefile

import (
	"os"
	"syscall"
)

// The data file can be locked, too: replacing it does not mind.
const lockData = true

// openNoFollow refuses a link. Opening a pipe that is in the way must not wait
// for a writer, hence O_NONBLOCK.
func openNoFollow(path string, flag int) (*os.File, error) {
	return os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
}

// tryLock takes an flock, which belongs to the open file: two Files in one
// process exclude each other, and no other close gives it back.
func tryLock(file *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch err {
		case nil:
			return true, nil
		case syscall.EWOULDBLOCK:
			return false, nil
		case syscall.EINTR:
		default:
			return false, err
		}
	}
}

// unlock does not leave it to Close: a child that is just being forked holds a
// copy of the descriptor.
func unlock(file *os.File) { syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }

func replace(from, to string) error { return os.Rename(from, to) }

func syncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return syncAndClose(dir)
}

func syncRoot(folder *os.Root) error {
	dir, err := folder.Open(".")
	if err != nil {
		return err
	}
	return syncAndClose(dir)
}

func syncAndClose(dir *os.File) error {
	err := dir.Sync()
	if closeErr := dir.Close(); err == nil {
		err = closeErr
	}
	return err
}

func diskFull(error) bool { return false }
