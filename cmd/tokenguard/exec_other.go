//go:build !unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// dieOf ends this program.
func dieOf(os.Signal) { os.Exit(exitInterrupted) }

// runGroup runs the command. Here only the command itself ends with its context, not what it started.
func runGroup(_ context.Context, cmd *exec.Cmd) error { return cmd.Run() }

// become runs the program and ends as it does.
func become(args, environ []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, environ
	err := cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{code: ended.ExitCode()}
	}
	if err != nil {
		return cannotBecome(args[0], err)
	}
	return nil
}
