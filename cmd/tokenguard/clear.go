package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

func clearCommand() *cobra.Command {
	var p place
	var what tokenguard.Clear
	var all, asJSON bool
	var config string
	cmd := &cobra.Command{
		Use:   "clear [FILE]",
		Short: "Lift what an operator may lift: a backoff, a Retry-After, a suspicion",
		Long: `Clear lifts standing refusals of a state: --backoff forgets the failures in a row and opens the keys that a failed
acquisition closed, for instance one that failed by a mistake in a command; --retry-after opens what an upstream's Retry-After closed;
--suspicion forgets what was reported of a token's quota (- reads the token from standard input); --identity forgets an
account that is gone, with its token, so that its key may acquire anew. It says what was lifted and what remains. A
charged attempt is never given back, so the limits per hour and day and the spacing still hold; a token that was rejected
stays so.`,
		Example: `  tokenguard clear --name my-api --backoff
  tokenguard clear --all /var/lib/my-api/tokens.state
  tokenguard clear --name my-api --redis redis://localhost:6379/0 --suspicion tk_0123456789abcdef`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				what.Suspicion, what.Backoff, what.RetryAfter = "*", true, true
			}
			if what == (tokenguard.Clear{}) {
				return usage("clear needs what to lift: --backoff, --retry-after, --suspicion ID, --identity ID, or --all")
			}
			if s := what.Suspicion; s != "" && s != "*" && s != "-" && !isTokenID(s) {
				return usage("--suspicion: want the ID of a token (tk_ and 16 hex digits, as inspect shows it), * for all, or - to read the token from standard input")
			}
			if id := what.Identity; id != "" && !isTokenID(id) && !isTokenID("tk_"+strings.TrimPrefix(id, "id_")) {
				return usage("--identity: want the ID of an account, id_ and 16 hex digits as inspect shows it, or of its token")
			}
			return p.fileArg(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := readConfig(cmd, config)
			if err != nil {
				return err
			}
			if what.Suspicion == "-" {
				if what.Suspicion, err = tokenOf(cmd, "--suspicion", "-"); err != nil {
					return err
				}
			}
			if err := p.open(); err != nil {
				return err
			}
			defer p.close()
			done, err := lift(cmd, &p, what, settings)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, done)
			}
			return done.show(cmd, &p)
		},
	}
	p.writerFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&what.Backoff, "backoff", false, "forget the failures in a row, and open the keys that a failed acquisition closed")
	flags.BoolVar(&what.RetryAfter, "retry-after", false, "open what an upstream's Retry-After closed")
	flags.StringVar(&what.Suspicion, "suspicion", "", "forget what was reported of a token's quota: its `ID`, - to read the token from standard input, or * for all tokens")
	flags.BoolVar(&all, "all", false, "all three, of all tokens")
	flags.StringVar(&config, "config", "", "configuration `FILE` of the guards, in JSON (default: the library's)")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	flags.StringVar(&what.Identity, "identity", "", "forget an account that is gone: its `ID`, or that of its token, as inspect shows them")
	completeWords(cmd, "suspicion", "*", "-", "tk_")
	completeWords(cmd, "identity", "id_", "tk_")
	complete(cmd, "config", "json", "jsonc")
	return cmd
}

// lifted is what clear did.
type lifted struct {
	Lifted []string `json:"lifted"`       // what stood before and does not stand now
	Stands []string `json:"still_stands"` // what does
}

// lift clears, and compares the state before and after.
func lift(cmd *cobra.Command, p *place, what tokenguard.Clear, config tokenguard.Config) (done lifted, err error) {
	before, err := p.standing(cmd.Context())
	if err != nil {
		return done, err
	}
	g, err := p.guard(before, tokenguard.WithConfig(config))
	if err != nil {
		return done, err
	}
	err = g.Clear(cmd.Context(), what)
	if cerr := g.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return done, storeError(err)
	}
	after, err := p.look(cmd.Context())
	if err != nil {
		return done, err
	}
	now := map[string]bool{}
	done.Lifted, done.Stands = []string{}, []string{}
	for _, s := range standing(after, what.Identity != "") {
		now[s] = true
		done.Stands = append(done.Stands, s)
	}
	for _, s := range standing(before, what.Identity != "") {
		if !now[s] {
			done.Lifted = append(done.Lifted, s)
		}
	}
	return done, nil
}

// standing lists what keeps acquisitions from starting, and what is held against tokens; accounts: also those that can be
// renewed.
func standing(r inspected, accounts bool) (out []string) {
	for _, g := range r.Closed {
		line := fmt.Sprintf("%s%s, closed until %s", g.Reason, ofScope(g.Scope), g.Until.UTC().Format(time.RFC3339))
		if !slices.Contains(out, line) { // a ban closes the guard and its own key, alike
			out = append(out, line)
		}
	}
	if r.Failure != "" {
		out = append(out, "failures: "+r.Failure)
	}
	for _, t := range r.Tokens {
		if t.State == "suspect" || t.State == "spent" || t.State == "rejected" {
			out = append(out, fmt.Sprintf("token %s%s is %s", t.ID, ofScope(t.Scope), t.State))
		}
	}
	for _, a := range r.Accounts {
		if accounts && !strings.HasPrefix(a.State, "ended") {
			out = append(out, fmt.Sprintf("account %s%s: %s", a.ID, ofScope(a.Scope), a.State))
		}
	}
	return out
}

func ofScope(scope string) string {
	if scope == "" {
		return ""
	}
	return fmt.Sprintf(" of scope %q", scope)
}

func (l lifted) show(cmd *cobra.Command, p *place) error {
	colour := painter(cmd.OutOrStdout())
	var b strings.Builder
	fmt.Fprintln(&b, p)
	for _, s := range l.Lifted {
		fmt.Fprintln(&b, colour.good("  lifted: "+oneLine(s)))
	}
	if len(l.Lifted) == 0 {
		fmt.Fprintln(&b, "  there was nothing to lift")
	}
	for _, s := range l.Stands {
		fmt.Fprintln(&b, "  remains: "+oneLine(s))
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}
