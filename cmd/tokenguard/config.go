package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/tailscale/hujson"

	"github.com/tokenguard/tokenguard"
)

// readFile reads a file; - is standard input.
func readFile(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	data, err := os.ReadFile(name)
	return data, whole(err)
}

// whole names the whole path of the file that an error is about: a relative one says little in a log.
func whole(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		if path, err := filepath.Abs(e.Path); err == nil {
			e.Path = path
		}
	}
	return fmt.Errorf("tokenguard: %w", err)
}

// parseConfig reads a configuration that may hold comments and commas at the end of a list. Blanks take their place, so
// that lines and columns stay. What is no JSON even so is left to the library's own error.
func parseConfig(data []byte) (tokenguard.Config, error) {
	if plain, err := hujson.Standardize(data); err == nil {
		data = plain
	}
	return tokenguard.ParseConfig(data)
}

// readConfig reads the configuration of --config; an empty name means the defaults.
func readConfig(cmd *cobra.Command, name string) (tokenguard.Config, error) {
	if name == "" {
		return tokenguard.Config{}, nil
	}
	data, err := readFile(cmd, name)
	if err != nil {
		return tokenguard.Config{}, &exitError{exitUsage, fmt.Errorf("%w (--config)", err)}
	}
	config, err := parseConfig(data)
	if err != nil {
		err = &exitError{exitUsage, fmt.Errorf("%w (in %s: tokenguard check %s shows all faults)", err, name, name)}
	}
	return config, err
}

// faults are the mistakes of a configuration, one by one.
func faults(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// asFault is a mistake of a configuration.
func asFault(err error) (finding, bool) {
	e, ok := errors.AsType[*tokenguard.ConfigError](err)
	if !ok {
		return finding{Text: err.Error()}, false
	}
	return finding{Line: e.Line, Column: e.Column, Field: e.Field, Text: fmt.Sprintf("%s is %s, must be %s", e.Field, e.Value, e.Bound)}, true
}
