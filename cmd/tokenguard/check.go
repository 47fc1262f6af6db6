package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check CONFIG...",
		Short: "Find every fault of a configuration, with line and column",
		Long:  "Check reads configurations in JSON (- is standard input) and prints each fault as FILE:LINE:COLUMN. It exits with 1 if there is one.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("check needs the name of a configuration file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			faults := 0
			for _, name := range args {
				found, err := check(cmd, name)
				if err != nil {
					return err
				}
				faults += found
			}
			if faults > 0 {
				return &exitError{code: exitFault}
			}
			return nil
		},
	}
}

// check prints the faults of one file, or that there is none.
func check(cmd *cobra.Command, name string) (faults int, err error) {
	data, err := readFile(cmd, name)
	if err != nil {
		return 0, err
	}
	out := cmd.OutOrStdout()
	config, err := tokenguard.ParseConfig(data)
	if err == nil {
		set, err := json.Marshal(config)
		fmt.Fprintf(out, "%s: ok: %s\n", name, set)
		return 0, err
	}
	mistakes := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		mistakes = joined.Unwrap()
	}
	for _, mistake := range mistakes {
		if e, ok := errors.AsType[*tokenguard.ConfigError](mistake); ok {
			fmt.Fprintf(out, "%s:%d:%d: %s is %s, must be %s\n", name, e.Line, e.Column, e.Field, e.Value, e.Bound)
		} else {
			fmt.Fprintf(out, "%s: %v\n", name, mistake)
		}
	}
	return len(mistakes), nil
}

// readFile reads a file; - is standard input.
func readFile(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("tokenguard: %w", err)
	}
	return data, nil
}

// readConfig reads the configuration of --config; an empty name means the defaults.
func readConfig(cmd *cobra.Command, name string) (tokenguard.Config, error) {
	if name == "" {
		return tokenguard.Config{}, nil
	}
	data, err := readFile(cmd, name)
	if err != nil {
		return tokenguard.Config{}, err
	}
	config, err := tokenguard.ParseConfig(data)
	if err != nil {
		err = fmt.Errorf("%w (in %s: tokenguard check %s shows all faults)", err, name, name)
	}
	return config, err
}
