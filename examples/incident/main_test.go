package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

var update = flag.Bool("update", false, "write docs/incident.txt and docs/incident.svg anew")

func trace(t *testing.T) []call {
	t.Helper()
	calls, err := readTrace("../../testdata/incident-97.jsonl")
	require.NoError(t, err)
	return calls
}

func TestOneAcquisitionServesAll(t *testing.T) {
	calls := trace(t)
	require.Len(t, calls, 97)
	r, err := guarded("tokenguard", calls, 0, t.TempDir())
	require.NoError(t, err)
	assert.Len(t, r.up.issued, 1)
	assert.Equal(t, 97, r.working())
	assert.Len(t, noGuard(calls, 0).up.issued, 97)
	// A cache in each process: 59 manual runs, 8 starts of servers, and the first call of each server that was not one.
	assert.Len(t, processCache(calls, 0).up.issued, 68)
}

// With 40 uses a token, the defaults keep a young token whatever is said of it; Moderate() replaces it once a second
// refusal confirms the first.
func TestScarceTokens(t *testing.T) {
	calls := trace(t)
	for name, c := range map[string]struct {
		config                tokenguard.Config
		acquisitions, atLeast int
	}{
		"defaults": {tokenguard.Conservative(), 2, 56},
		"moderate": {tokenguard.Moderate(), 3, 95},
	} {
		r, err := guarded(name, calls, scarce, t.TempDir(), tokenguard.WithConfig(c.config))
		require.NoError(t, err)
		assert.Len(t, r.up.issued, c.acquisitions, name)
		assert.GreaterOrEqual(t, r.working(), c.atLeast, name)
		working, acquisitions := planner(calls, scarce, c.config.RateLimit)
		assert.LessOrEqual(t, r.working(), working, name)
		assert.Equal(t, []int{97, 3}, []int{working, acquisitions}, name)
	}
}

// A candidate beside the defaults says at most what Moderate() would gain, over all the processes and their restarts: the
// quota of a token that the candidate alone has is not used up by anybody.
func TestCandidateForecastsModerate(t *testing.T) {
	calls := trace(t)
	defaults, err := guarded("defaults", calls, scarce, t.TempDir())
	require.NoError(t, err)
	moderate, err := guarded("moderate", calls, scarce, t.TempDir(), tokenguard.WithConfig(tokenguard.Moderate()))
	require.NoError(t, err)

	gained := 0
	judged, err := guarded("judged", calls, scarce, t.TempDir(), tokenguard.WithCandidate(tokenguard.Moderate()),
		tokenguard.WithObserver(func(e tokenguard.Event) {
			if e.Kind == tokenguard.EventCandidate {
				require.Equal(t, tokenguard.AnswerServe, e.Verdict.Answer)
				gained += 1 + e.Repeats
			}
		}))
	require.NoError(t, err)
	assert.Equal(t, defaults.answers, judged.answers, "nobody notices")
	assert.Equal(t, []int{39, 39}, []int{moderate.working() - defaults.working(), gained})
}

func TestPlannerKeepsTheLimits(t *testing.T) {
	calls := trace(t)
	working, acquisitions := planner(calls, 1, tokenguard.Conservative().RateLimit)
	assert.Equal(t, acquisitions, working, "each token has one use")
	assert.Equal(t, 3, acquisitions, "an hour holds 3 starts, and the afternoon is shorter")
}

// The documentation shows what the example prints.
func TestDocumented(t *testing.T) {
	var out bytes.Buffer
	svg := filepath.Join(t.TempDir(), "incident.svg")
	require.NoError(t, show(&out, "../../testdata/incident-97.jsonl", svg))
	picture, err := os.ReadFile(svg)
	require.NoError(t, err)
	text := strings.ReplaceAll(out.String(), svg, "incident.svg")
	for name, got := range map[string]string{"incident.txt": text, "incident.svg": string(picture)} {
		path := filepath.Join("../../docs", name)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(want), got, "run: go test ./examples/incident -update")
	}
	dec := xml.NewDecoder(bytes.NewReader(picture))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
}

func TestTraceMistakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	for text, want := range map[string]string{
		"":               "no calls",
		"{":              ":1:",
		`{"at":"never"}`: ":1:",
		"{\"at\":\"2025-09-25T14:36:03Z\"}\n{\"at\":\"2025-09-25T14:36:02Z\"}": "is before the line above",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := readTrace(path)
		assert.ErrorContains(t, err, want)
	}
}
