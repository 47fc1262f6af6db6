//go:build unix

package main

import (
	"fmt"
	"os/exec"
	"syscall"
)

// become replaces this process by the program.
func become(args, environ []string) error {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, environ)
	}
	return &exitError{127, fmt.Errorf("tokenguard: run %s: %w", args[0], err)}
}
