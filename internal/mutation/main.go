// Command mutation plants one fault after another in the rules, each of them the breach of one rule or bound, and runs
// the tests that are beside the rule. A fault that no test notices is a rule that nobody holds: it is named, and the
// command fails. The working tree is not touched: faults are overlays.
//
//	go run ./internal/mutation [-j 2] [-run REGEXP]
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// fault is one breach: a text that occurs once in the file, and what is there instead.
type fault struct {
	file, old, new string
	rule           string // that it breaks, in words
}

// apply returns the file's text with the fault in it.
func (f *fault) apply(source string) (string, error) {
	if n := strings.Count(source, f.old); n != 1 {
		return "", fmt.Errorf("%s: %q occurs %d times, want once (%s)", f.file, f.old, n, f.rule)
	}
	if f.old == f.new {
		return "", fmt.Errorf("%s: %q stays as it is (%s)", f.file, f.old, f.rule)
	}
	return strings.Replace(source, f.old, f.new, 1), nil
}

func (f *fault) survived() string {
	return fmt.Sprintf("SURVIVED %s: %s\n\t- %s\n\t+ %s", f.file, f.rule, f.old, f.new)
}

// timeout is far beyond what the tests of a package take: a fault may make a rule loop.
const timeout = 3 * time.Minute

var errNotBuilt = errors.New("does not build")

// caught runs the tests of the package in dir over the overlay, if there is one, and reports whether they fail.
func caught(ctx context.Context, dir, overlay string) (failed bool, output []byte, err error) {
	args := []string{"test", "-count=1", "-failfast", "-vet=off", "-timeout", timeout.String(), "-ldflags=-s -w"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	output, err = exec.CommandContext(ctx, "go", append(args, "./"+dir)...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false, output, nil
	case ctx.Err() != nil:
		return false, output, ctx.Err()
	case !errors.As(err, &exit):
		return false, output, err
	case bytes.Contains(output, []byte("[build failed]")), bytes.Contains(output, []byte("[setup failed]")):
		return false, output, errNotBuilt
	}
	return true, output, nil
}

// plant writes the fault's file and its overlay into dir.
func plant(f *fault, dir string) (overlay string, err error) {
	path, err := filepath.Abs(f.file)
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text, err := f.apply(string(source))
	if err != nil {
		return "", err
	}
	planted, overlay := filepath.Join(dir, "fault.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: planted}})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(planted, []byte(text), 0o600), os.WriteFile(overlay, list, 0o600))
}

// try plants the fault and returns what is wrong if no test notices it.
func try(ctx context.Context, f *fault) (problem string, err error) {
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := plant(f, dir)
	if err != nil {
		return err.Error(), nil
	}
	failed, output, err := caught(ctx, filepath.Dir(f.file), overlay)
	switch {
	case errors.Is(err, errNotBuilt):
		return fmt.Sprintf("%s: %q %v:\n%s", f.file, f.new, err, output), nil
	case err != nil:
		return "", err
	case !failed:
		return f.survived(), nil
	}
	return "", nil
}

func run(ctx context.Context, list []fault, parallel int) error {
	begun := time.Now()
	var dirs []string
	for i := range list {
		dirs = append(dirs, filepath.Dir(list[i].file))
	}
	slices.Sort(dirs)
	packages := map[string]*together{}
	for _, dir := range slices.Compact(dirs) {
		into, err := os.MkdirTemp("", "mutation")
		if err != nil {
			return err
		}
		defer os.RemoveAll(into)
		t, err := build(ctx, list, dir, into)
		if err != nil {
			return err
		}
		failed, output, err := t.caught(ctx, 0) // else every fault would look caught
		if err != nil || failed {
			return fmt.Errorf("the tests of %s fail without a fault: %w\n%s", dir, cmp.Or(err, errors.New("see below")), output)
		}
		packages[dir] = t
	}
	problems := make([]string, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range list {
		group.Go(func() (err error) {
			f := &list[i]
			t := packages[filepath.Dir(f.file)]
			if !t.woven[i+1] {
				problems[i], err = try(ctx, f)
				return err
			}
			failed, _, err := t.caught(ctx, i+1)
			if err == nil && !failed {
				problems[i] = f.survived()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	problems = slices.DeleteFunc(problems, func(s string) bool { return s == "" })
	for _, p := range problems {
		fmt.Println(p)
	}
	fmt.Printf("%d faults planted, %d caught, in %v\n", len(list), len(list)-len(problems), time.Since(begun).Round(time.Second))
	if len(problems) > 0 {
		return fmt.Errorf("%d faults were not caught", len(problems))
	}
	return nil
}

func main() {
	parallel := flag.Int("j", 2, "faults tried at the same time")
	only := flag.String("run", "", "only faults whose file or rule matches")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err == nil && *parallel < 1 {
		err = fmt.Errorf("-j is %d, want at least 1", *parallel)
	}
	if err == nil {
		list := slices.DeleteFunc(slices.Concat(ledgerFaults, decideFaults, replicaFaults), func(f fault) bool { return !match.MatchString(f.file + ": " + f.rule) })
		err = run(context.Background(), list, *parallel)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}
