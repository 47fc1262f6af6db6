package tokenguardtest

import (
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

func TestScenarios(t *testing.T) { RunScenarios(t, os.DirFS("../testdata/scenarios")) }

func TestParseScenarioNamesTheMistake(t *testing.T) {
	for in, says := range map[string]string{
		`{`:                             "unexpected EOF",
		`{"steps": [{"do": "open"}]}`:   "name is missing",
		`{"name": "x"}`:                 "steps are missing",
		`{"name": "x", "step": []}`:     `unknown field "step"`,
		`{"name": "x", "steps": []} {}`: "more than one JSON value",
		`{"name": "x", "given": {"store": "disk"}, "steps": [{"do": "open"}]}`:                 `given.store: "disk"`,
		`{"name": "x", "given": {"config": {"cache": {"tll": 1}}}, "steps": [{"do": "open"}]}`: "cache.tll",
		`{"name": "x", "upstream": [{"lifetime": 5}], "steps": [{"do": "open"}]}`:              `a duration is a string such as "5m", not 5`,
		`{"name": "x", "steps": [{"do": "open"}, {"do": "jump"}]}`:                             `step 2: do: "jump" is none of acquire, adopt`,
		`{"name": "x", "steps": [{"do": "advance", "with": {"scope": "y"}}]}`:                  `step 1: with: "scope" is no argument of advance`,
		`{"name": "x", "steps": [{"do": "acquire", "want": {"is": ["ErrOdd"]}}]}`:              `step 1: want.is: no error is named "ErrOdd"`,
		`{"name": "x", "steps": [{"do": "acquire", "want": {"retry_at": "5m"}}]}`:              `"5m" is neither "none"`,
		`{"name": "x", "steps": [{"do": "acquire", "want": {"retry_in": "5m"}}]}`:              `unknown field "retry_in"`,
		`{"name": "x", "steps": [{"do": "acquire", "with": {"failure": {"code": 429}}}]}`:      `unknown field "code"`,
	} {
		_, err := parseScenario([]byte(in))
		require.ErrorContains(t, err, says, in)
	}
}

func TestInstants(t *testing.T) {
	for in, want := range map[when]time.Time{
		"": {}, "none": {}, "+5m": noon.Add(5 * time.Minute), "-1h": noon.Add(-time.Hour),
		"2026-03-01T13:00:00+01:00": noon,
	} {
		require.True(t, want.Equal(in.time(noon)), string(in))
	}
}

func TestReplyInJSON(t *testing.T) {
	got := reply{Status: 429, Header: map[string]string{"Retry-After": "5"}, Message: "slow down", Took: span(time.Second)}.reply(noon)
	require.Equal(t, Reply{Took: time.Second, Failure: tokenguard.Failure{
		StatusCode: 429, Header: map[string][]string{"Retry-After": {"5"}}, Message: "slow down",
	}}, got)
	got = reply{Token: "a", Expiry: "+1h", Panic: "oh"}.reply(noon)
	require.Equal(t, Reply{Value: "a", Expiry: noon.Add(time.Hour), Panic: "oh"}, got)
}
