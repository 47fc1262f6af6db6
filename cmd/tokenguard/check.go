package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

// finding is one thing that is wrong or odd in a configuration.
type finding struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Warning bool   `json:"warning,omitempty"` // it can be used, but hardly as it is meant
	Text    string `json:"text"`
}

// checked is what check found in one file.
type checked struct {
	File     string            `json:"file"`
	Findings []finding         `json:"findings"`
	Config   tokenguard.Config `json:"config"` // what is set; empty if there is a fault
	faults   int
	warnings int
}

func checkCommand() *cobra.Command {
	var asJSON, strict bool
	cmd := &cobra.Command{
		Use:   "check CONFIG...",
		Short: "Find every fault of a configuration, with line and column",
		Long: `Check reads configurations in JSON, which may hold comments and trailing commas (- is standard input), and prints each
fault as FILE:LINE:COLUMN. It warns of settings that do not go together, such as a limit per hour above the one per day.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("check needs the name of a configuration file")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []string{"json", "jsonc"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			all := []checked{}
			var unread []error
			bad := false
			for _, name := range args {
				data, err := readFile(cmd, name)
				if err != nil { // the other files have faults, too
					unread = append(unread, err)
					continue
				}
				c := check(name, data)
				bad = bad || c.faults > 0 || strict && c.warnings > 0
				if all = append(all, c); asJSON {
					continue
				}
				if err := c.show(cmd); err != nil {
					return err
				}
			}
			if asJSON {
				if err := writeJSON(cmd, all); err != nil {
					return err
				}
			}
			if err := errors.Join(unread...); err != nil {
				return err
			}
			if bad {
				return &exitError{code: exitFault}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&strict, "strict", false, "a warning is a fault, too")
	return cmd
}

// check finds the faults of one file, or what does not go together in it.
func check(name string, data []byte) checked {
	c := checked{File: name, Findings: []finding{}}
	config, err := parseConfig(data)
	for _, mistake := range faults(err) {
		f, _ := asFault(mistake)
		c.Findings = append(c.Findings, f)
		c.faults++
	}
	if c.faults > 0 {
		return c
	}
	c.Config = config
	for _, f := range lint(data, config) {
		f.Warning = true
		c.Findings = append(c.Findings, f)
		c.warnings++
	}
	return c
}

func (c checked) show(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	colour := painter(out)
	for _, f := range c.Findings {
		place, what := c.File, f.Text
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d:%d", c.File, f.Line, f.Column)
		}
		if f.Warning {
			what = "warning: " + what
		} else {
			what = colour.bad(what)
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n", place, what); err != nil {
			return err
		}
	}
	if c.faults > 0 {
		return nil
	}
	set, err := json.Marshal(c.Config)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s: %s: %s\n", c.File, colour.good("ok"), set)
	}
	return err
}
