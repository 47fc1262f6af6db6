package tokenguard_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
)

// Explain, and a look at the file from outside, list what each operation has said of a token.
func TestEvidenceIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("a value of some length", time.Hour), nil
	}, tokenguard.WithStateFile(path))
	require.NoError(t, err)
	defer g.Close()
	grant, err := g.Acquire(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	id, now := grant.Token.ID(), time.Now()
	report := func(caller string, ago time.Duration, f tokenguard.Failure) {
		if !f.IsZero() {
			f.At = now.Add(-ago)
		}
		require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: id, Caller: caller, Failure: f}))
	}
	report("health", 0, tokenguard.Failure{})
	report("chat", 0, usedUp)
	reset := usedUp
	reset.Header = map[string][]string{"X-RateLimit-Reset-After": {"7200"}, "X-RateLimit-Remaining": {"0"}, "X-RateLimit-Limit": {"10"}}
	report("feed", 0, reset)
	explained, err := g.Explain(t.Context(), tokenguard.Request{Caller: "chat"})
	require.NoError(t, err)
	by := map[string]tokenguard.OperationEvidence{}
	for _, e := range explained.Evidence {
		require.Equal(t, id, e.TokenID)
		by[e.Operation] = e
	}
	require.Len(t, by, 3)
	assert.Equal(t, 1, by["health"].Uses)
	assert.WithinDuration(t, now, by["health"].Success, time.Second)
	assert.Zero(t, by["health"].Quota)
	assert.WithinDuration(t, now, by["chat"].Quota.First, time.Second)
	assert.Equal(t, 1, by["chat"].Count)
	assert.False(t, by["chat"].Spent)
	assert.True(t, by["feed"].Spent, "the upstream states that nothing remains")
	assert.WithinDuration(t, now.Add(2*time.Hour), by["feed"].Reset, 2*time.Second)
	assert.False(t, by["feed"].Assumed)

	report("other", 0, tokenguard.Failure{StatusCode: 401, Message: "invalid token"}) // takes the successes along
	seen, err := inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.Len(t, seen.Tokens, 1)
	require.Len(t, seen.Tokens[0].Evidence, 4)
	text := seen.String()
	for _, part := range []string{`"health": successes: 1, the last`, `"chat": quota in doubt, refused `, `"feed": quota spent, refused `, "; stated reset ", `"other": refused in its first 10 s`} {
		assert.Contains(t, text, part)
	}
	data, err := json.Marshal(seen)
	require.NoError(t, err)
	assert.NotContains(t, strings.ToLower(string(data)), grant.Token.Value())
}
