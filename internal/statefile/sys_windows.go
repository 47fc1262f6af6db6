package statefile

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

const (
	lockData = false // an open file cannot be replaced

	lockOffsetHigh = 0x40000000 // far past the records: a lock forbids others to read its range

	lockfileFailImmediately = 1
	lockfileExclusive       = 2
	movefileReplaceExisting = 1
	movefileWriteThrough    = 8
	driveRemote             = 4
	errorSharingViolation   = syscall.Errno(32)
	errorLockViolation      = syscall.Errno(33)
	errorHandleDiskFull     = syscall.Errno(39)
	errorDiskFull           = syscall.Errno(112)
	replaceTimeout          = 2 * time.Second
	openTimeout             = 100 * time.Millisecond
)

var (
	kernel32         = syscall.NewLazyDLL("kernel32.dll")
	procLockFileEx   = kernel32.NewProc("LockFileEx")
	procUnlockFileEx = kernel32.NewProc("UnlockFileEx")
	procMoveFileEx   = kernel32.NewProc("MoveFileExW")
	procGetDriveType = kernel32.NewProc("GetDriveTypeW")
)

// openNoFollow refuses a link, and waits out a rename that is just replacing the
// file.
func openNoFollow(path string, flag int) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
	}
	for deadline := time.Now().Add(openTimeout); ; {
		file, err := os.OpenFile(path, flag, 0o600)
		if err == nil || !inUse(err) || time.Now().After(deadline) {
			return file, err
		}
		time.Sleep(pollMin + rand.N(pollMax-pollMin))
	}
}

// inUse says whether the failure may come from another open handle. Windows
// answers "access denied" for that, too.
func inUse(err error) bool {
	return errors.Is(err, syscall.ERROR_ACCESS_DENIED) || errors.Is(err, errorSharingViolation)
}

func tryLock(file *os.File) (bool, error) {
	at := syscall.Overlapped{OffsetHigh: lockOffsetHigh}
	r, _, err := procLockFileEx.Call(file.Fd(), lockfileExclusive|lockfileFailImmediately, 0, 1, 0, uintptr(unsafe.Pointer(&at)))
	switch {
	case r != 0:
		return true, nil
	case err == errorLockViolation, err == syscall.ERROR_IO_PENDING:
		return false, nil
	}
	return false, err
}

func unlock(file *os.File) {
	at := syscall.Overlapped{OffsetHigh: lockOffsetHigh}
	procUnlockFileEx.Call(file.Fd(), 0, 1, 0, uintptr(unsafe.Pointer(&at)))
}

// replace waits for readers and virus scanners to close the file. The
// write-through flag stands in for the sync of a folder.
func replace(from, to string) error {
	source, err := syscall.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	target, err := syscall.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(replaceTimeout); ; {
		r, _, err := procMoveFileEx.Call(uintptr(unsafe.Pointer(source)), uintptr(unsafe.Pointer(target)), movefileReplaceExisting|movefileWriteThrough)
		if r != 0 {
			return nil
		}
		if !inUse(err) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pollMin + rand.N(pollMax-pollMin))
	}
}

func syncFolder(string) error { return nil }

func give(*os.File, fs.FileInfo) error { return nil }

func syncRoot(*os.Root) error { return nil }

// Modes mean nothing here; the folder's access list is what protects the file.

func (f *File) fit(*os.File, fs.FileInfo) error { return nil }

func (f *File) share(*os.File, fs.FileInfo) {}

func untrusted(file, folder fs.FileInfo, shared bool) string { return "" }

func diskFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleDiskFull)
}

func networkFS(folder string) (string, error) {
	root, err := syscall.UTF16PtrFromString(filepath.VolumeName(folder) + `\`)
	if err != nil {
		return "", err
	}
	if kind, _, _ := procGetDriveType.Call(uintptr(unsafe.Pointer(root))); kind == driveRemote {
		return "remote drive", nil
	}
	return "", nil
}
