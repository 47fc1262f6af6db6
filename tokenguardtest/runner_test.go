package tokenguardtest

import (
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// complaints runs one scenario on the memory store and returns what the runner says against it.
func complaints(t *testing.T, text string, opts ...tokenguard.Option) string {
	s, err := parseScenario([]byte(text))
	require.NoError(t, err)
	said := &spy{TB: t}
	synctest.Test(t, func(t *testing.T) { newRun(said, "x.json", s, "memory", "", opts).run() })
	require.LessOrEqual(t, len(said.failures), 1, "the first failing step ends the scenario")
	return strings.Join(said.failures, "\n")
}

func TestRunnerSaysWhatIsWrong(t *testing.T) {
	const given = `{"name": "n", "upstream": [{"token": "a", "lifetime": "1m"}], "steps": [{"do": "acquire"}, `
	refusal := `{"do": "advance", "with": {"by": "2m"}}, {"do": "acquire", "want": `
	for in, says := range map[string]string{
		`{"do": "acquire", "want": {"token": "b"}}]}`:                                                    `want  token "b", got "a"`,
		`{"do": "acquire", "want": {"source": "request"}}]}`:                                             `want  source request, got cache`,
		`{"do": "acquire", "want": {"step": "gate"}}]}`:                                                  `want  step gate, got cache`,
		`{"do": "acquire", "want": {"reason": "joined"}}]}`:                                              `want  reason joined, got cached`,
		`{"do": "acquire", "want": {"answer": "refuse"}}]}`:                                              `want  answer refuse, got serve`,
		`{"do": "acquire", "want": {"class": "transient"}}]}`:                                            `want  class transient, got`,
		`{"do": "acquire", "want": {"detail": "no such"}}]}`:                                             `want  detail with "no such"`,
		`{"do": "acquire", "want": {"upstream": 7}}]}`:                                                   `want  upstream called 7 times so far, got 1`,
		`{"do": "acquire", "want": {"personal": 1}}]}`:                                                   `want  personal token fetched 1 times so far, got 0`,
		`{"do": "acquire", "want": {"now": "+1s"}}]}`:                                                    `want  now +1s, got +0s`,
		`{"do": "acquire", "want": {"is": ["ErrClosed"]}}]}`:                                             `want  error is [ErrClosed], got []`,
		`{"do": "explain", "want": {"steps": {"cache": "expired"}}}]}`:                                   `want  steps.cache expired, got dedup: pass`,
		`{"do": "acquire", "calls": 2, "want": {"sources": {"request": 2}}}]}`:                           `want  sources map[request:2], got map[cache:2]`,
		`{"do": "acquire", "calls": 2, "want": {"reasons": {"joined": 2}}}]}`:                            `want  reasons map[joined:2], got map[cached:2]`,
		refusal + `{"token": "a"}}]}`:                                                                    `want  error none, got tokenguard: refused: min_interval (limiter)`,
		refusal + `{"is": ["ErrBackoff"]}}]}`:                                                            `want  error is [ErrBackoff], got [ErrRateLimited]`,
		refusal + `{"is": ["ErrRateLimited"], "until": "+6m"}}]}`:                                        `want  until +6m, got +5m0s`,
		refusal + `{"is": ["ErrRateLimited"], "retry_at": "none"}}]}`:                                    `want  retry_at none, got +5m0s`,
		refusal + `{"is": ["ErrRateLimited"], "cause": "x"}}]}`:                                          `want  cause with "x", got <nil>`,
		`{"do": "advance", "with": {"by": "5m"}}, {"do": "acquire", "want": {"is": ["RequestError"]}}]}`: `the upstream was called 2 times, the scenario has 1 replies`,
		`{"do": "join", "with": {"job": "j"}}]}`:                                                         `no job "j" runs`,
		`{"do": "acquire", "as": "j"}]}`:                                                                 `a job was never joined`,
		`{"do": "crash", "process": "p"}]}`:                                                              `process "p" does not run`,
	} {
		got := complaints(t, given+in)
		require.Contains(t, got, says, in)
		require.Contains(t, got, "x.json", in)
	}
	got := complaints(t, given+refusal+`{"reason": "backoff", "is": ["ErrRateLimited"]}}]}`)
	require.True(t, strings.HasPrefix(got, "x.json: step 3 of 3 (n) at +2m0s\n"), got)
	require.Contains(t, got, `{"do":"acquire","want":{"reason":"backoff","is":["ErrRateLimited"]}}`)
	require.Contains(t, got, "got   refuse limiter/min_interval, until +5m0s, retry at +5m0s")
	require.Empty(t, complaints(t, given+refusal+`{"reason": "min_interval", "is": ["ErrRateLimited"]}}]}`))
}

func TestRunnerPassesOptionsOn(t *testing.T) {
	const text = `{"name": "n", "upstream": [{"token": "a", "lifetime": "1m"}, {"token": "b"}],
		"steps": [{"do": "acquire"}, {"do": "advance", "with": {"by": "2m"}}, {"do": "acquire", "want": {"token": "b"}}]}`
	require.NotEmpty(t, complaints(t, text))
	require.Empty(t, complaints(t, text, tokenguard.WithConfig(tokenguard.Moderate())))
}

func TestRunScenariosSkipsWhatIsDisputed(t *testing.T) {
	good := &fstest.MapFile{Data: []byte(`{"name": "n", "steps": [{"do": "open", "want": {"upstream": 0}}]}`)}
	bad := &fstest.MapFile{Data: []byte(`{"name": "n", "steps": [{"do": "acquire", "want": {"token": "b"}}]}`)}
	RunScenarios(t, fstest.MapFS{"a/good.json": good, "disputed/bad.json": bad, "README.md": bad})
}
