package tokenguard_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard"
)

// "or the upstream states that nothing remains, it is spent": by whichever way it states that.
func TestAcceptStatedEmpty(t *testing.T) {
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
func TestAcceptPauseIsTheRetryAfter(t *testing.T) {
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
func TestAcceptClearOutlivesTheSameReport(t *testing.T) {
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
func TestAcceptClearOpensAScopeWhoseTokensNeverWorked(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	refusal := u.refused(tokenguard.ReasonBackoff, with(unauthorized, token))
	assert.Equal(t, u.now().Add(10*time.Minute), refusal.Verdict.Until)
	assert.NoError(t, u.Clear(t.Context(), tokenguard.Clear{Backoff: true}))
	assert.NotEqual(t, token.ID(), u.served(acquired, with(unauthorized, token)).Token.ID())
}
