package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func testCommand() *cobra.Command {
	var verbose, asJSON bool
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Run scenario files",
		Long: `Test runs every scenario (*.json) in DIR and its folders against real guards, on a clock of its own: a wait of a day
takes no time.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("test needs one folder of scenarios; %d given", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := holdsScenarios(args[0]); err != nil {
				return err
			}
			if asJSON {
				return testJSON(cmd, args[0])
			}
			return test(args[0], verbose)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "name every scenario")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// holdsScenarios says in this program's words what the testing package would say in its own.
func holdsScenarios(dir string) error {
	found := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if found = found || err == nil && !e.IsDir() && filepath.Ext(path) == ".json"; found {
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		return whole(err)
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
		return whole(err)
	}
	if !found {
		if path, err := filepath.Abs(dir); err == nil {
			dir = path
		}
		return fmt.Errorf("tokenguard: %s holds no scenario: want files *.json in it or in its folders", dir)
	}
	return nil
}

// test runs the scenarios under the testing package, which their bubbles need, and ends the program: with 1 if one failed.
func test(dir string, verbose bool) error {
	testing.Init()
	args := []string{}
	if verbose {
		args = append(args, "-test.v")
	}
	if err := flag.CommandLine.Parse(args); err != nil {
		return err
	}
	scenarios := testing.InternalTest{Name: "scenarios", F: func(t *testing.T) { tokenguardtest.RunScenarios(t, os.DirFS(dir)) }}
	everything := func(string, string) (bool, error) { return true, nil }
	testing.Main(everything, []testing.InternalTest{scenarios}, nil, nil) // ends the program
	return nil
}
