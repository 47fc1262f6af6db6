package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ready checks, before anything is charged, what would be the caller's own mistake: that the command is there, may be
// run, and has its interpreter. It returns the command as it is to be run.
func ready(command []string) ([]string, error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, cannotRun(command[0], err)
	}
	if runtime.GOOS == "windows" {
		return command, nil
	}
	start := make([]byte, 512)
	f, err := os.Open(path)
	if err != nil { // may be run all the same, but not read
		return command, nil
	}
	n, _ := f.Read(start)
	_ = f.Close()
	start = start[:n]
	line, script := bytes.CutPrefix(start, []byte("#!"))
	switch {
	case script:
		line, _, _ = bytes.Cut(line, []byte("\n"))
		words := strings.Fields(string(line))
		if len(words) == 0 {
			return nil, cannotRun(command[0], errors.New("its first line names no interpreter"))
		}
		for i, word := range words { // the interpreter, and what env is to find
			if i == 1 && (filepath.Base(words[0]) != "env" || strings.HasPrefix(word, "-") || strings.Contains(word, "=")) || i > 1 {
				break
			}
			if _, err := exec.LookPath(word); err != nil {
				return nil, cannotRun(command[0], fmt.Errorf("its interpreter %s: %w", word, cause(err)))
			}
		}
	case n == 0 || !bytes.Contains(start, []byte{0}):
		// Neither a program nor a script that says whose: shells hand such a file to sh.
		return append([]string{"/bin/sh", path}, command[1:]...), nil
	}
	return command, nil
}

// cannotRun says why a command cannot be run, with the code that shells give.
func cannotRun(name string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	if errors.Is(err, exec.ErrDot) {
		err = fmt.Errorf("it is in the current folder only: write ./%s", name)
	}
	return &exitError{code, fmt.Errorf("tokenguard: cannot run %s: %w; nothing was charged", name, cause(err))}
}

// cannotBecome is a PROGRAM that was ready before the token was fetched and is not now.
func cannotBecome(name string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	return &exitError{code, fmt.Errorf("tokenguard: run %s: %w; the token is kept for the next call", name, cause(err))}
}

// cause is what err says without the name that was said already.
func cause(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err
}

// spawnFiles is how many files a start opens at most: the pipes of the command's output and errors, the one over which
// its start is reported, its handle and a terminal.
const spawnFiles = 10

// reserve holds files open for a start, so that a process at its limit finds out before anything is charged.
type reserve []*os.File

func hold() (r reserve, err error) {
	for range spawnFiles {
		f, err := os.Open(os.DevNull)
		if err != nil {
			r.free()
			return nil, &exitError{exitSystem, fmt.Errorf("tokenguard: no command can be started: %w; nothing was charged", err)}
		}
		r = append(r, f)
	}
	return r, nil
}

func (r reserve) free() {
	for _, f := range r {
		_ = f.Close()
	}
}
