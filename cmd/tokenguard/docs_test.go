package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An instant that a command takes from the clock differs from run to run; those of logs do not, and end in -07:00.
var instants = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)`)

// So do the names of attempts, and the size of a file that holds instants.
var random = regexp.MustCompile(`attempt [0-9a-f]{12}|\d+ bytes`)

// Each line that starts with "$ " in a console block of docs/command.md is run, in a folder with the files of
// testdata/docs; what follows must be what it prints. UPDATE=1 writes the document anew.
func TestDocumented(t *testing.T) {
	const path = "../../docs/command.md"
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/docs")))
	trace, err := os.ReadFile("../../testdata/incident-97.jsonl")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "incident-97.jsonl"), trace, 0o600))

	var out strings.Builder
	inside, runs := false, 0
	for line := range strings.Lines(string(doc)) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console\n"
		case inside && strings.HasPrefix(line, "$ "):
			out.WriteString(line)
			out.WriteString(shell(t, dir, line[2:]))
			runs++
			continue
		case inside:
			continue
		}
		out.WriteString(line)
	}
	assert.Greater(t, runs, 8)
	normal := func(s string) string {
		return random.ReplaceAllString(instants.ReplaceAllString(s, "INSTANT"), "RANDOM")
	}
	if os.Getenv("UPDATE") != "" && normal(string(doc)) != normal(out.String()) {
		require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o644))
		return
	}
	assert.Equal(t, normal(string(doc)), normal(out.String()), "run: UPDATE=1 go test -run TestDocumented .")
}

// shell runs a line as a person would and returns what the terminal shows.
func shell(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	var shown bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &shown, &shown
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "USER=you", "TZ=UTC")
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v", line, err)
	}
	home := strings.NewReplacer(filepath.Join(dir, "state"), "~/.local/state", dir, "~")
	return home.Replace(shown.String())
}
