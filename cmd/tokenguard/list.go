package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

func listCommand() *cobra.Command {
	var server, prefix string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [FOLDER]",
		Short: "List the states in a folder or on a server",
		Long: `List shows every state in your state folder, in FOLDER, or in the Redis or Valkey of --redis: what was started in the last
24 hours, how many tokens are usable, and which limits are closed until when. Nothing is changed. Of a state that has a
problem, tokenguard inspect says more.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage("list shows one folder; %d given", len(args))
			case len(args) == 1 && server != "":
				return usage("list shows a folder or a server (--redis), not both")
			case prefix != "" && server == "":
				return usage("--prefix is of the keys in Redis: it needs --redis")
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var states []listed
			var err error
			if server != "" {
				states, err = onServer(cmd.Context(), server, prefix)
			} else {
				states, err = inFolder(cmd.Context(), args)
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd, states)
			} else {
				err = show(cmd, states)
			}
			if err == nil && slices.ContainsFunc(states, func(s listed) bool { return s.Problem != "" }) {
				err = &exitError{code: exitFault}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	serverFlags(cmd, &server, &prefix)
	return cmd
}

// listed is one state in short.
type listed struct {
	Name     string    `json:"name"`
	Path     string    `json:"path,omitempty"`
	Revision uint64    `json:"revision"`
	Starts   int       `json:"starts_in_24h"`
	Usable   int       `json:"usable_tokens"`
	Closed   string    `json:"closed_by,omitempty"` // the limit that opens last
	Until    time.Time `json:"closed_until,omitzero"`
	Problem  string    `json:"problem,omitempty"`
}

func short(r inspected) listed {
	s := listed{Name: r.Name, Path: r.Path, Revision: r.Revision, Problem: r.Problem}
	for _, a := range r.Attempts {
		if r.At.Sub(a.End) < 24*time.Hour {
			s.Starts++
		}
	}
	for _, t := range r.Tokens {
		if t.State == "usable" || t.State == "suspect" { // in doubt for some operations, and handed to the others
			s.Usable++
		}
	}
	for _, g := range r.Closed {
		if g.Until.After(s.Until) {
			s.Closed, s.Until = string(g.Reason), g.Until
		}
	}
	return s
}

// inFolder looks at the files of a folder that are states, or ought to be by their name.
func inFolder(ctx context.Context, args []string) ([]listed, error) {
	folder := ""
	if len(args) == 1 {
		folder = args[0]
	} else {
		path, err := tokenguard.DefaultStateFile("default")
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		folder = filepath.Dir(path)
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) && len(args) == 0 {
		err = nil // nobody has kept a state yet
	}
	if err != nil {
		return nil, &exitError{exitFault, whole(err)}
	}
	states := []listed{}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		ours := strings.HasSuffix(e.Name(), ".state")
		if !e.Type().IsRegular() || !ours && !isState(path) {
			continue
		}
		r, err := inspectFile(ctx, path)
		s := short(r)
		if s.Path = path; err != nil {
			s.Problem = err.Error()
		}
		if s.Name == "" {
			s.Name = strings.TrimSuffix(e.Name(), ".state")
		}
		states = append(states, s)
	}
	return states, nil
}

// isState reports whether a file under another name begins as a state does, and is none that was set aside or is
// being written.
func isState(path string) bool {
	const magic = "tokenguard-state "
	if base := filepath.Base(path); strings.Contains(base, ".set-aside-") || strings.Contains(base, ".tmp-") || strings.HasSuffix(base, ".lock") {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	start := make([]byte, len(magic))
	n, _ := f.Read(start)
	return string(start[:n]) == magic
}

// onServer looks at every key that is named as redisstore names its documents.
func onServer(ctx context.Context, server, prefix string) ([]listed, error) {
	client, store, err := dial(server, prefix)
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = store.Close(), client.Close() }()
	if prefix == "" {
		prefix = "tokenguard:"
	}
	literal := strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "^", `\^`, `\`, `\\`).Replace(prefix)
	var names []string
	keys := client.Scan(ctx, 0, literal+"{*}", 1000).Iterator()
	for keys.Next(ctx) {
		name := strings.TrimPrefix(keys.Val(), prefix+"{")
		names = append(names, strings.TrimSuffix(name, "}"))
	}
	if err := keys.Err(); err != nil {
		return nil, &exitError{exitStore, fmt.Errorf("tokenguard: list the keys of %s: %w", client.Options().Addr, err)}
	}
	slices.Sort(names)
	states := []listed{}
	for _, name := range slices.Compact(names) { // a scan may bring a key twice
		r, err := inspectStore(ctx, store, name)
		s := short(r)
		if s.Name, s.Path = name, ""; err != nil {
			s.Problem = err.Error()
		}
		states = append(states, s)
	}
	return states, nil
}

func show(cmd *cobra.Command, states []listed) error {
	out := cmd.OutOrStdout()
	if len(states) == 0 {
		_, err := fmt.Fprintln(out, "there is no state")
		return err
	}
	colour := painter(out)
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTARTED IN 24H\tUSABLE TOKENS\tACQUISITIONS")
	for _, s := range states {
		gate := "open"
		switch {
		case s.Problem != "":
			gate = "PROBLEM: " + oneLine(s.Problem)
		case s.Closed != "":
			gate = fmt.Sprintf("closed until %s by %s", s.Until.UTC().Format(time.RFC3339), s.Closed)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", oneLine(s.Name), s.Starts, s.Usable, gate)
	}
	_ = t.Flush()
	for line := range strings.Lines(asFlags(b.String())) {
		if strings.Contains(line, "  PROBLEM: ") {
			line = colour.bad(strings.TrimRight(line, "\n")) + "\n"
		}
		if _, err := fmt.Fprint(out, line); err != nil {
			return err
		}
	}
	return nil
}
