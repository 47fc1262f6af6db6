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

// "or the upstream states that nothing remains, it is spent": by whichever way it states that.
func TestStatedEmpty(t *testing.T) {
	header := func(pairs ...string) tokenguard.Outcome {
		f := outOfQuota
		f.Header = map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			f.Header[pairs[i]] = pairs[i+1 : i+2]
		}
		return tokenguard.Outcome{Failure: f}
	}
	for name, test := range map[string]struct {
		outcome tokenguard.Outcome
		spent   bool
	}{
		"remaining alone":               {header("X-Ratelimit-Remaining", "0"), true},
		"in lower case":                 {header("x-ratelimit-remaining-requests", "0"), true},
		"with its limit":                {header("RateLimit-Limit", "50", "RateLimit-Remaining", "0"), true},
		"the structured field":          {header("RateLimit", `"day";r=0;t=86400`), true},
		"one remains":                   {header("X-Ratelimit-Remaining", "1"), false},
		"a limit alone":                 {header("X-Ratelimit-Limit", "50"), false},
		"as an outcome":                 {tokenguard.Outcome{Failure: outOfQuota, Limit: 50}, true},
		"as an outcome, one remains":    {tokenguard.Outcome{Failure: outOfQuota, Limit: 50, Remaining: 1}, false},
		"remaining counts with a limit": {tokenguard.Outcome{Failure: outOfQuota}, false},
		"another class says nothing":    {tokenguard.Outcome{Failure: serverDown, Limit: 50}, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			test.outcome.TokenID = u.served(acquired, plain).Token.ID()
			u.clock.move(time.Minute)
			u.report(test.outcome)
			if test.spent {
				u.refused(tokenguard.ReasonTokenTooNew, plain)
			} else {
				u.served(cached, plain)
			}
		})
	}
}

// Row 1: until Failure.At + Retry-After, 60 s if none. When a quota is full again is another matter.
func TestPauseIsTheRetryAfter(t *testing.T) {
	for name, test := range map[string]struct {
		retryAfter string
		outcome    tokenguard.Outcome
		reset      time.Duration
		want       time.Duration
	}{
		"a sooner reset":                       {retryAfter: "600", reset: time.Second, want: 600 * time.Second},
		"a later reset":                        {retryAfter: "600", reset: time.Hour, want: 600 * time.Second},
		"none stated":                          {reset: time.Hour, want: time.Minute},
		"none stated, of a window in use":      {outcome: tokenguard.Outcome{Limit: 9, Remaining: 1}, reset: time.Hour, want: time.Minute},
		"none stated, of a window that is out": {outcome: tokenguard.Outcome{Limit: 9}, reset: time.Hour, want: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.up.lifetime = 30 * time.Second
			o := test.outcome
			o.TokenID = u.served(acquired, plain).Token.ID()
			o.Failure, o.ResetAt = tooFast, u.now().Add(test.reset)
			if test.retryAfter != "" {
				o.Failure.Header = map[string][]string{"Retry-After": {test.retryAfter}}
			}
			u.report(o)
			u.clock.move(31 * time.Second)
			refusal := u.refused(tokenguard.ReasonUpstreamRateLimited, plain)
			assert.Equal(t, oddStart.Add(test.want), refusal.Verdict.Until)
		})
	}
}

// Clear drops a Retry-After for good: who waited for it brings the same report again, and is served.
func TestClearOutlivesTheSameReport(t *testing.T) {
	u := newUser(t)
	f := tooFast
	f.At, f.Header = u.now(), map[string][]string{"Retry-After": {"600"}}
	u.clock.move(time.Second)
	u.refused(tokenguard.ReasonUpstreamRateLimited, tokenguard.Request{Failure: f})
	u.clock.move(time.Second)
	assert.NoError(t, u.Clear(t.Context(), tokenguard.Clear{RetryAfter: true}))
	token := u.served(acquired, tokenguard.Request{Failure: f}).Token
	u.clock.move(time.Second)
	u.served(cached, with(f, token))
	f.At = u.now()
	u.refused(tokenguard.ReasonUpstreamRateLimited, with(f, token)) // this one is new
}

// Clear opens a scope that closed because a new token was refused before it ever worked.
func TestClearOpensAScopeWhoseTokensNeverWorked(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	refusal := u.refused(tokenguard.ReasonBackoff, with(unauthorized, token))
	assert.Equal(t, u.now().Add(10*time.Minute), refusal.Verdict.Until)
	assert.NoError(t, u.Clear(t.Context(), tokenguard.Clear{Backoff: true}))
	assert.NotEqual(t, token.ID(), u.served(acquired, with(unauthorized, token)).Token.ID())
}

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
