package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// tested is one scenario on one store.
type tested struct {
	Scenario string   `json:"scenario"` // its file; empty for what is wrong with the folder
	Store    string   `json:"store,omitempty"`
	Result   string   `json:"result"` // pass, fail or skip
	Seconds  float64  `json:"seconds"`
	Output   []string `json:"output"` // why it failed
}

// testJSON has this program run the scenarios once more, and reads what the testing package prints: that package ends its
// process, and prints no JSON by itself.
func testJSON(cmd *cobra.Command, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("tokenguard: %w", err)
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	child := exec.CommandContext(ctx, self, "test", "--verbose", "--", dir)
	child.Args[0] = os.Args[0]
	child.Stderr = cmd.ErrOrStderr()
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		return fmt.Errorf("tokenguard: %w", err)
	}
	all, err := readTests(out)
	ended := child.Wait()
	if _, failed := errors.AsType[*exec.ExitError](ended); err == nil && !failed {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("tokenguard: %w", err)
	}
	if err := writeJSON(cmd, all); err != nil {
		return err
	}
	if ended != nil {
		return &exitError{code: exitFault}
	}
	return nil
}

var (
	testBegins = regexp.MustCompile(`^=== (RUN|NAME) +scenarios/?(.*)$`)
	testEnds   = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): scenarios/?(.*) \((.*)s\)$`)
)

// readTests reads what the testing package prints of the scenarios.
func readTests(in io.Reader) ([]*tested, error) {
	all, named := []*tested{}, map[string]*tested{}
	find := func(name string) *tested {
		t := named[name]
		if t == nil {
			t = &tested{Output: []string{}, Result: "fail"} // until its end is told
			if name != "" {
				t.Scenario, t.Store = path.Dir(name), path.Base(name)
				all = append(all, t)
			}
			named[name] = t
		}
		return t
	}
	now := find("") // the folder
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := testBegins.FindStringSubmatch(line); m != nil {
			now = find(m[2])
		} else if m := testEnds.FindStringSubmatch(line); m != nil {
			t := find(m[2])
			t.Result = strings.ToLower(m[1])
			t.Seconds, _ = strconv.ParseFloat(m[3], 64)
			now = find("")
		} else if said := strings.TrimSpace(line); said != "" && said != "PASS" && said != "FAIL" {
			now.Output = append(now.Output, said)
		}
	}
	if folder := find(""); len(folder.Output) > 0 {
		all = append(all, folder)
	}
	return all, lines.Err()
}
