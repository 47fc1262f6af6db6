package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	var p place
	cmd := &cobra.Command{
		SuggestFor: []string{"explain", "show", "status"},
		Use:        "inspect [FILE]",
		Short:      "Explain a state: what is charged, which limits are closed until when, and why",
		Long: `Inspect reads a state without changing it or disturbing the guards on it: a FILE, else the one in your state folder under
--name, or the one under --name in the Redis or Valkey of --redis. Tokens are shown by their IDs alone.`,
		Example: `  tokenguard inspect --name my-api
  tokenguard inspect /var/lib/my-api/tokens.state
  tokenguard inspect --name my-api --redis redis://localhost:6379/0`,
		Args: p.fileArg,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.open(); err != nil {
				return err
			}
			defer p.close()
			report, err := p.look(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd, report)
			} else {
				err = showState(cmd, report)
			}
			if err == nil && (report.Problem != "" || !report.Exists) {
				err = &exitError{code: exitFault}
			}
			return err
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// showState prints the report; on a terminal, closed gates and problems in colour.
func showState(cmd *cobra.Command, r inspected) error {
	out := cmd.OutOrStdout()
	colour := painter(out)
	for line := range strings.Lines(asFlags(r.String())) {
		text := strings.TrimRight(line, "\n")
		switch said := strings.TrimSpace(text); {
		case strings.HasPrefix(said, "PROBLEM"):
			text = colour.bad(text)
		case strings.HasPrefix(said, "closed until"):
			text = colour.bad(text)
		case strings.HasPrefix(said, "no limit is closed"):
			text = colour.good(text)
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return nil
}
