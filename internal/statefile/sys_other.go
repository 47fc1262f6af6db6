//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package statefile

import (
	"errors"
	"io/fs"
	"os"
)

const lockData = false

func openNoFollow(path string, flag int) (*os.File, error) { return os.OpenFile(path, flag, 0o600) }

// tryLock refuses: without a lock between processes no promise would hold.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func unlock(*os.File) {}

func replace(from, to string) error { return os.Rename(from, to) }

func syncFolder(string) error { return nil }

func give(*os.File, fs.FileInfo) error { return nil }

func syncRoot(*os.Root) error { return nil }

func (f *File) fit(*os.File, fs.FileInfo) error { return nil }

func (f *File) share(*os.File, fs.FileInfo) {}

func untrusted(file, folder fs.FileInfo, shared bool) string { return "" }

func diskFull(error) bool { return false }
