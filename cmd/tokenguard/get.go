package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

// access is what get and exec share: whose token, from which state, and what to say about the last one.
type access struct {
	place
	scope, caller, config    string
	lifetime, timeout, wait  time.Duration
	json, verbose            bool
	renew                    string
	report, message, failing string
	keyFile                  string
}

func (a *access) flags(cmd *cobra.Command) {
	a.name = "default"
	a.writerFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&a.scope, "scope", "", "what the token must be good for")
	flags.StringVar(&a.caller, "caller", "", "the operation that asks, for the dedup filter and the events (default: the user and the command)")
	flags.StringVar(&a.config, "config", "", "configuration `FILE` in JSON (default: the library's)")
	flags.DurationVar(&a.lifetime, "lifetime", 0, "of the token, if COMMAND does not state it (default: not stated, cache.cache_ttl decides)")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "for COMMAND; up to 1h")
	flags.DurationVar(&a.wait, "wait", 0, "wait at most this long for a limit to open")
	flags.BoolVar(&a.json, "json", false, `COMMAND prints {"access_token": ..., "expires_in": SECONDS, "refresh_token": ...}`)
	flags.StringVar(&a.renew, "renew", "", "with --json: `PROGRAM` that renews the token of the account, with its arguments after spaces: it reads the last answer on standard input and prints the next")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say on standard error where the token came from, and why")
	flags.StringVar(&a.report, "report", "", "how the call made with --failing ended: `ok|quota|auth|status=N`")
	flags.StringVar(&a.message, "message", "", "what the upstream answered, with --report")
	flags.StringVar(&a.failing, "failing", "", "the token of --report: its `ID`, or - to read the token from standard input")
	flags.StringVar(&a.keyFile, "key-file", "", "`FILE` with the keys of the guards' encryption, the newest first: a line each, 32 bytes in base64 or hex")
	complete(cmd, "key-file")
	complete(cmd, "config", "json", "jsonc")
	completeWords(cmd, "report", outcomes...)
	completeWords(cmd, "failing", "-")
	for _, flag := range []string{"lifetime", "timeout", "wait"} {
		completeWords(cmd, flag, "30s", "10m", "1h")
	}
	for _, flag := range []string{"scope", "caller", "message", "renew"} {
		completeWords(cmd, flag)
	}
}

func getCommand() *cobra.Command {
	var a access
	cmd := &cobra.Command{
		Use:   "get [flags] -- COMMAND [ARG...]",
		Short: "Print a token, running COMMAND to fetch one only if the guard allows",
		Long: `Get prints a usable token. Where none is known it runs COMMAND, whose standard output is the token, if the limits
allow. Scripts, services and terminals that use the same name share tokens and limits.

Where COMMAND signs up for an account, let --renew keep it: its output is then read with --json, refresh_token too, and
as long as the account lives only PROGRAM is run. It gets the last access_token, refresh_token and identity as JSON on
standard input, and prints what COMMAND does; what it leaves out stays as it was.

When a call made with the token fails, say so with --report, and get another one if that is justified. --report
without COMMAND only reports.`,
		Example: `  token=$(tokenguard get --name my-api -- ./fetch-token) || exit
  token=$(printf %s "$token" | tokenguard get --name my-api --report quota --failing - -- ./fetch-token)
  tokenguard get --name my-guest --json --renew ./refresh -- ./sign-up
  tokenguard get --name my-api --json --wait 10m -- curl -fsS https://api.example/token`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && a.report == "" {
				return usage("get needs the command that fetches a token: tokenguard get -- COMMAND")
			}
			token, err := a.token(cmd, args)
			if err != nil || len(args) == 0 {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), token.Value()); err != nil {
				return &exitError{exitStore, fmt.Errorf("tokenguard: the token cannot be written to standard output: %w; it is kept for the next call", err)}
			}
			return nil
		},
	}
	a.flags(cmd)
	return cmd
}

// token acquires a token through the guard, or only reports if there is no command.
func (a *access) token(cmd *cobra.Command, command []string) (token tokenguard.Token, err error) {
	failure, err := a.failure()
	if err != nil {
		return token, err
	}
	if err := a.checkTimes(); err != nil {
		return token, err
	}
	if len(command) == 0 {
		return token, a.justReport(cmd, failure)
	}
	name := command[0] // as it was given
	if command, err = ready(command); err != nil {
		return token, err
	}
	spare, err := hold()
	if err != nil {
		return token, err
	}
	defer spare.free()
	options, err := a.renewal(spare)
	if err != nil {
		return token, err
	}
	if err := a.check(cmd); err != nil {
		return token, err
	}
	keys, err := readKeys(a.keyFile)
	if err != nil {
		return token, err
	}
	if len(keys) > 0 {
		options = append(options, tokenguard.WithEncryption(keys...))
	}
	if a.failing, err = tokenOf(cmd, "--failing", a.failing); err != nil {
		return token, err
	}
	config, err := readConfig(cmd, a.config)
	if err != nil {
		return token, err
	}
	if a.caller == "" {
		a.caller = os.Getenv("USER") + " " + name
	}
	f := &fetch{command: command, lifetime: a.lifetime, json: a.json, renews: a.renew != "", spare: spare}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	if err := a.open(); err != nil {
		return token, err
	}
	defer a.close()
	g, err := tokenguard.New(f.request, append(options, tokenguard.WithName(a.name), a.option(), tokenguard.WithClassifier(classOf),
		tokenguard.WithConfig(config), tokenguard.WithRequestTimeout(a.timeout), tokenguard.WithFreshness(0))...)
	if err != nil {
		return token, storeError(err)
	}
	defer func() {
		if cerr := g.Close(); err == nil && cerr != nil {
			err = &exitError{exitStore, cerr}
		}
	}()
	if a.report != "" && failure.IsZero() {
		if err := g.Report(ctx, tokenguard.Outcome{TokenID: a.failing, Failure: failure}); err != nil {
			return token, storeError(err)
		}
	}
	req := tokenguard.Request{Scope: a.scope, Caller: a.caller, Failure: failure}
	if !failure.IsZero() {
		req.Failing = a.failing
	}
	if err := a.opens(ctx, g, req); err != nil {
		return token, err
	}
	ask := g.Acquire
	if a.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.wait)
		defer cancel()
		ask = g.Wait
	}
	grant, err := ask(ctx, req)
	if a.verbose && err == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "tokenguard: %s: %s\n", origins[grant.Source], asFlags(grant.Verdict().Detail))
	}
	return grant.Token, a.exitFor(err)
}

// origins say where a token came from.
var origins = map[tokenguard.Source]string{
	tokenguard.SourceRequest: "the command returned a new token",
	tokenguard.SourceCache:   "the token was there, the command was not run",
	tokenguard.SourceRenewal: "the token of the account was renewed, the command was not run",
	tokenguard.SourceShared:  "another process acquired the token, the command was not run",
}

// exitFor gives the answer its exit code and says what to do.
func (a *access) exitFor(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, tokenguard.ErrRequest) {
		return &exitError{exitUsage, err}
	}
	code, hint := exitFault, ""
	if failed, ok := errors.AsType[*tokenguard.RequestError](err); ok {
		// Not the command's own words: it has said them, and they may hold a token.
		said := failed.Err
		if e, ok := errors.AsType[*commandError](err); ok {
			said = e
		}
		err, code = fmt.Errorf("tokenguard: the command failed (%s): %w", failed.Class, said), exitFailed
		if !failed.RetryAt.IsZero() {
			hint = "; the next attempt may start at " + failed.RetryAt.Format(time.RFC3339)
		}
	} else if refused, ok := errors.AsType[*tokenguard.RefusedError](err); ok {
		code = exitRefused
		switch {
		case errors.Is(err, tokenguard.ErrStore):
			code = exitStore
		case errors.Is(err, context.DeadlineExceeded):
			code, hint = exitWait, "; that is longer than --wait"
		case !refused.Verdict.RetryAt.IsZero():
			code, hint = exitWait, "; or wait with --wait"
			if refused.Verdict.Reason == tokenguard.ReasonBackoff {
				hint += fmt.Sprintf("; tokenguard inspect %s shows what failed; once that is fixed, tokenguard clear --backoff %[1]s lifts this", a.flagged())
			}
		}
		err = refused
	} else if errors.Is(err, context.DeadlineExceeded) {
		code, err = exitWait, errors.New("tokenguard: another acquisition is in progress for longer than --wait; ask again")
	} else if errors.Is(err, context.Canceled) {
		code, err = exitInterrupted, errors.New("tokenguard: interrupted; a token that the command still prints is kept")
	}
	return &exitError{code, fmt.Errorf("%w%s", err, hint)}
}

// checkTimes refuses durations that would otherwise be taken for others.
func (a *access) checkTimes() error {
	switch {
	case a.lifetime != 0 && a.lifetime < time.Second:
		return usage("--lifetime %v: want 1s or more, or 0 for one that is not stated", a.lifetime)
	case a.timeout <= 0:
		return usage("--timeout %v: want above 0, up to 1h", a.timeout)
	case a.wait < 0:
		return usage("--wait %v: want above 0, or 0 for no wait", a.wait)
	}
	return nil
}

// justReport is get without COMMAND.
func (a *access) justReport(cmd *cobra.Command, failure tokenguard.Failure) error {
	if a.failing == "" {
		return usage("--report %s without COMMAND says nothing: name the token with --failing ID, or --failing - and the token on standard input", a.report)
	}
	r := reported{place: a.place, token: a.failing, config: a.config}
	if err := r.check(cmd); err != nil {
		return err
	}
	_, err := r.record(cmd, "--failing", tokenguard.Outcome{Failure: failure})
	return err
}

// failure is what --report says.
func (a *access) failure() (f tokenguard.Failure, err error) {
	switch {
	case a.report == "" && (a.failing != "" || a.message != ""):
		return f, usage("--failing and --message need --report ok|quota|auth|status=N")
	case a.report == "":
		return f, nil
	case a.failing == "" && (a.report == "ok" || a.report == "quota" || a.report == "auth"):
		return f, usage("--report %s says something about a token: name it with --failing ID, or --failing - and the token on standard input", a.report)
	}
	return outcome("--report", a.report, a.message)
}
