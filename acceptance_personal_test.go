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
	other.Scope = "other"
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
			assert.Equal(t, tokenguard.Anonymous, grant.Token.Kind)
			assert.Contains(t, grant.Verdict.Detail, "personal token")
			assert.Contains(t, grant.Verdict.Detail, "anonymous")
		})
	}
}
