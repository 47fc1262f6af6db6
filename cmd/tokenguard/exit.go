package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

// Exit codes, of sysexits.h where one fits.
const (
	exitFault    = 1  // what was looked at has faults, is not there, or cannot be read
	exitUsage    = 64 // EX_USAGE
	exitFailed   = 69 // EX_UNAVAILABLE: COMMAND was run and failed
	exitSystem   = 71 // EX_OSERR: COMMAND could not be started for want of something of the system's
	exitStore    = 74 // EX_IOERR: the state cannot be read or written
	exitWait     = 75 // EX_TEMPFAIL: refused, waiting helps
	exitRefused  = 77 // EX_NOPERM: refused, waiting alone does not help
	exitExceeded = 99 // --fail-on holds

	exitNotExecutable = 126 // as shells say it
	exitNotFound      = 127
	exitInterrupted   = 130 // by a signal
)

// exitError ends the program with a code. A nil err says nothing: all was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf("tokenguard: "+format, args...)}
}

// storeError is what a guard or a store could not be opened or used for: a mistake in what was asked for is one of usage.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*tokenguard.ConfigError](err); ok || errors.Is(err, tokenguard.ErrRequest) {
		return &exitError{exitUsage, err}
	}
	return &exitError{exitStore, err}
}

// keepConventions gives each error of a command its code: what cobra refuses before a command runs is wrong usage.
func keepConventions(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if _, ok := errors.AsType[*exitError](err); err == nil || ok {
				return err
			}
			return usage("%w (see %s --help)", err, c.CommandPath())
		}
	}
	if runs := cmd.RunE; runs != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			err := runs(c, args)
			if _, ok := errors.AsType[*exitError](err); err == nil || ok {
				return err
			}
			return &exitError{exitFault, err}
		}
	}
	for _, c := range cmd.Commands() {
		keepConventions(c)
	}
}

// tell says how the program ends, and returns its exit code.
func tell(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	code, said := exitUsage, err // what is left is what cobra refused
	if e, ok := errors.AsType[*exitError](err); ok {
		code, said = e.code, e.err
	}
	if said != nil {
		text := asFlags(said.Error())
		if !strings.HasPrefix(text, "tokenguard: ") {
			text = "tokenguard: " + text
		}
		fmt.Fprintln(w, text)
	}
	return code
}

// flagNames are what this command's users know the library's options by.
var flagNames = strings.NewReplacer("WithStateFile", "--state", "WithSharedStateFile", "--state with --shared", "WithName", "--name",
	"WithStore", "--redis", "WithRenewalLimits", "--timeout", "WithRenewal", "--renew", "WithPrefix", "--prefix", "WithRequestTimeout", "--timeout", "WithConfig", "--config",
	"WithRateLimits", "--config", "WithCache", "--config", "WithDedup", "--config", "WithManager", "--config", "WithPredictor", "--config",
	"WithRefreshAhead", "refresh_ahead", "WithEncryption", "--key-file", "Request.Scope", "--scope", "Outcome.ResetAt", "--reset-at")

// asFlags names flags where the library names its options, and the program once.
func asFlags(text string) string {
	return strings.ReplaceAll(flagNames.Replace(text), ": tokenguard: ", ": ")
}
