// Tokenguard answers what a guard would have done with a log, checks configurations, and lets shell scripts share the
// limits of services.
//
//	tokenguard replay LOG --config limits.json --what-if max_requests_per_hour=3,5,10
//	tokenguard get --name my-api -- ./fetch-token
//
// docs/command.md shows each command with its output.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, of sysexits.h where one fits.
const (
	exitFault    = 1  // what was checked has faults, or cannot be read
	exitUsage    = 64 // EX_USAGE
	exitFailed   = 69 // EX_UNAVAILABLE: COMMAND was run and failed
	exitStore    = 74 // EX_IOERR: the state cannot be read or written
	exitWait     = 75 // EX_TEMPFAIL: refused, waiting helps
	exitRefused  = 77 // EX_NOPERM: refused, waiting alone does not help
	exitExceeded = 99 // --fail-on holds

	exitInterrupted = 130 // by a signal, as shells say it
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

func main() { os.Exit(run()) }

func run() int {
	// The first signal ends the call in good order, the second one the program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		if e.err != nil {
			fmt.Fprintln(os.Stderr, e.err)
		}
		return e.code
	}
	fmt.Fprintln(os.Stderr, err)
	return exitFault
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "tokenguard",
		Short:         "Acquire metered tokens almost never",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w (see tokenguard %s --help)", err, c.Name())
	})
	cmd.AddCommand(replayCommand(), getCommand(), execCommand(), checkCommand(), inspectCommand(), testCommand(), serveCommand(), demoCommand())
	return cmd
}
