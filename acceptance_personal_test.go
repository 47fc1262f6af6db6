package tokenguard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// "falling back to anonymous stands in the verdict, never silent": whatever the fallback is for.
func TestAcceptPersonalFallbackIsNeverSilent(t *testing.T) {
	mine := tokenguard.NewToken("personal-secret", time.Time{})
	other := mine
	other = other.WithScope("other")
	works := func(context.Context) (tokenguard.Token, error) { return mine, nil }
	for name, test := range map[string]struct {
		source func(context.Context) (tokenguard.Token, error)
		used   bool // the personal token was served before
		req    tokenguard.Request
	}{
		"this caller's was refused for quota":    {works, true, with(outOfQuota, mine)},
		"this caller's was refused just now":     {works, true, with(unauthorized, mine)},
		"the function fails":                     {func(context.Context) (tokenguard.Token, error) { return tokenguard.Token{}, errors.New("no") }, false, plain},
		"the function gives nothing":             {func(context.Context) (tokenguard.Token, error) { return tokenguard.Token{}, nil }, false, plain},
		"the function panics":                    {func(context.Context) (tokenguard.Token, error) { panic("no") }, false, plain},
		"the personal token is of another scope": {func(context.Context) (tokenguard.Token, error) { return other, nil }, false, plain},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, tokenguard.WithPersonalToken(test.source))
			require.NoError(t, u.Adopt(t.Context(), tokenguard.NewTokenIn("anonymous-secret", time.Hour)))
			if test.used {
				u.served(tokenguard.ReasonPersonal, plain)
			}
			grant := u.served(cached, test.req)
			assert.Equal(t, tokenguard.Anonymous, grant.Token.Kind())
			assert.Contains(t, grant.Verdict().Detail, "personal token")
			assert.Contains(t, grant.Verdict().Detail, "anonymous")
		})
	}
}

// A report comes first, also in Explain: who says that the personal token is invalid may have an anonymous one.
func TestAcceptExplainOfAReportAboutThePersonalToken(t *testing.T) {
	u := newUser(t, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
		return tokenguard.NewToken("personal-secret", time.Time{}), nil
	}))
	mine := u.served(tokenguard.ReasonPersonal, plain).Token
	u.clock.move(time.Minute)
	e, err := u.Explain(t.Context(), with(unauthorized, mine))
	require.NoError(t, err)
	assert.Equal(t, tokenguard.AnswerStart, e.Verdict.Answer, e.Verdict.Detail)
	u.served(acquired, with(unauthorized, mine))
}

// A rate_limited is about the key of the token that it was reported of.
func TestAcceptPauseOfAPersonalTokensScope(t *testing.T) {
	mine := tokenguard.NewToken("personal-secret", time.Time{})
	mine = mine.WithScope("mine")
	u := newUser(t, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) { return mine, nil }))
	u.served(tokenguard.ReasonPersonal, scoped("mine"))
	u.report(tokenguard.Outcome{TokenID: mine.ID(), Failure: tooFast})
	u.served(acquired, plain)
	e, err := u.Explain(t.Context(), scoped("mine"))
	require.NoError(t, err)
	assert.Equal(t, tokenguard.ReasonUpstreamRateLimited, e.Steps[3].Reason)
}
