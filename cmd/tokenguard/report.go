package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

// reported is what report takes.
type reported struct {
	place
	outcome, message, token, config string
	latency                         time.Duration
	remaining, limit                int64
	resetAt                         string
	json                            bool
}

func reportCommand() *cobra.Command {
	var r reported
	cmd := &cobra.Command{
		Use:   "report ok|quota|auth|status=N --token ID [--name NAME | FILE]",
		Short: "Say how a call made with a token ended",
		Long: `Report tells the guards that share a state how a call made with one of their tokens ended, from a script that makes the
call itself. It acquires nothing. It says what is then known of the token. If there is no state, or the state does not
know the token, nothing is recorded.`,
		Example: `  tokenguard report ok --name my-api --token tk_0123456789abcdef --latency 230ms
  printf %s "$token" | tokenguard report status=429 --message "$body" --name my-api --token -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return usage("report needs one outcome: ok, quota, auth or status=N")
			}
			r.outcome = args[0]
			switch {
			case r.token == "":
				return usage("report needs the token: --token ID, or --token - and the token on standard input")
			case r.latency < 0:
				return usage("--latency %v: want 0 or more", r.latency)
			case r.limit < 0 || r.remaining < 0 || r.remaining > r.limit:
				return usage("--remaining %d, --limit %d: want --remaining from 0 to --limit", r.remaining, r.limit)
			}
			return r.fileArg(cmd, args[1:])
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return outcomes, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	r.writerFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&r.token, "token", "", "that the call was made with: its `ID`, or - to read the token from standard input")
	flags.StringVar(&r.message, "message", "", "what the upstream answered")
	flags.DurationVar(&r.latency, "latency", 0, "how long the call took")
	flags.Int64Var(&r.remaining, "remaining", 0, "calls that the upstream says are left, of --limit")
	flags.Int64Var(&r.limit, "limit", 0, "calls that the upstream's quota allows; 0: not stated")
	flags.StringVar(&r.resetAt, "reset-at", "", "when the upstream says the quota is full again: RFC 3339, or a duration from now")
	flags.StringVar(&r.config, "config", "", "configuration `FILE` of the guards, in JSON (default: the library's)")
	flags.BoolVar(&r.json, "json", false, "print JSON")
	for _, flag := range []string{"token", "message", "latency", "remaining", "limit", "reset-at"} {
		completeWords(cmd, flag)
	}
	complete(cmd, "config", "json", "jsonc")
	return cmd
}

func (r *reported) run(cmd *cobra.Command) error {
	o := tokenguard.Outcome{Latency: r.latency, Remaining: r.remaining, Limit: r.limit}
	var err error
	if o.Failure, err = outcome("report", r.outcome, r.message); err != nil {
		return err
	}
	if o.ResetAt, err = instantOrIn(r.resetAt); err != nil {
		return err
	}
	token, err := r.record(cmd, "--token", o)
	if err != nil {
		return err
	}
	class := tokenguard.Classify(o.Failure)
	if r.json {
		return writeJSON(cmd, struct {
			Class tokenguard.Class `json:"class,omitempty"`
			Token inspectedToken   `json:"token"`
		}{class, *token})
	}
	said := "success"
	if class != "" {
		said = string(class)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "recorded: %s; token %s is %s\n", said, token.ID, token.State)
	return err
}

// record reports how a call with the token that a flag names ended, and returns what is then known of the token.
func (r *reported) record(cmd *cobra.Command, flag string, o tokenguard.Outcome) (token *inspectedToken, err error) {
	if o.TokenID, err = tokenOf(cmd, flag, r.token); err != nil {
		return nil, err
	}
	config, err := readConfig(cmd, r.config)
	if err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	defer r.close()
	before, err := r.standing(cmd.Context())
	if err != nil {
		return nil, err
	}
	if find(before, o.TokenID) == nil {
		return nil, &exitError{exitFault, fmt.Errorf("tokenguard: %s knows no token %s: nothing was recorded", &r.place, o.TokenID)}
	}
	g, err := r.guard(before, tokenguard.WithConfig(config))
	if err != nil {
		return nil, err
	}
	err = g.Report(cmd.Context(), o)
	if cerr := g.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, storeError(err)
	}
	after, err := r.look(cmd.Context())
	if err != nil {
		return nil, err
	}
	if token = find(after, o.TokenID); token == nil {
		return nil, &exitError{exitFault, fmt.Errorf("tokenguard: %s does not know token %s any longer", &r.place, o.TokenID)}
	}
	return token, nil
}

// find is what the state knows of a token; nil: nothing.
func find(r inspected, id string) *inspectedToken {
	for i := range r.Tokens {
		if r.Tokens[i].ID == id {
			return &r.Tokens[i]
		}
	}
	return nil
}

// instantOrIn reads an instant, or a duration from now; "" is the zero instant.
func instantOrIn(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usage("--reset-at %q: want an instant such as 2026-01-02T15:04:05Z, or a duration from now such as 90m", s)
	}
	return t, nil
}
