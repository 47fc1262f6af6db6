package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Explain a state file: what is charged, which gate is closed until when, and why",
		Long: "Inspect reads a state file without changing it or disturbing whoever uses it. Tokens are shown by their IDs alone. " +
			"It exits with 1 if the file is damaged, lost, or of a newer version.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("inspect needs the name of one state file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := tokenguard.Inspect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetIndent("", "  ")
				if err := encoder.Encode(report); err != nil {
					return err
				}
			} else {
				fmt.Fprint(out, report)
			}
			if report.Problem != "" {
				return &exitError{code: exitFault}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
