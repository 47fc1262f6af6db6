package tokenguard_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// An account that was replaced because nobody could read it is renewed again once its key is back, and the one that took
// its place, which cannot be read then, keeps nobody from that. Each process renews what it can read.
func TestAKeyThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), tokenguard.NewMemoryStore()
		open := func(key string) *tokenguard.Guard {
			return u.open(t, store, tokenguard.WithEncryption([]byte(strings.Repeat(key, 32))), tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{ReplaceAfter: time.Hour}))
		}
		reason := func(g *tokenguard.Guard) tokenguard.Reason {
			_, err := g.Token(t.Context())
			var refused *tokenguard.RefusedError
			require.ErrorAs(t, err, &refused)
			assert.Contains(t, refused.Verdict.Detail, "does not have the key of its secrets (WithEncryption)")
			assert.NotContains(t, refused.Verdict.Detail, "WithRenewal")
			return refused.Verdict.Reason
		}
		g := open("a")
		first, err := g.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, g.Close())

		time.Sleep(90 * time.Minute)
		g = open("b")
		require.Equal(t, tokenguard.ReasonRenewalElsewhere, reason(g))
		time.Sleep(time.Hour)
		second, err := g.Token(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, first.Identity(), second.Identity())
		require.NoError(t, g.Close())

		time.Sleep(90 * time.Minute) // none was renewed since: neither is replaced
		c := open("c")
		require.Equal(t, tokenguard.ReasonRenewalElsewhere, reason(c))
		time.Sleep(2 * time.Hour)
		require.Equal(t, tokenguard.ReasonRenewalElsewhere, reason(c))
		require.NoError(t, c.Close())

		a, b := open("a"), open("b")
		defer func() { assert.NoError(t, a.Close()); assert.NoError(t, b.Close()) }()
		for range 5 {
			for p, account := range map[*tokenguard.Guard]tokenguard.Token{a: first, b: second} {
				got, err := p.Token(t.Context())
				require.NoError(t, err)
				assert.True(t, u.works(got))
				assert.Equal(t, account.Identity(), got.Identity())
			}
			time.Sleep(61 * time.Minute)
		}
		assert.Equal(t, 2, u.signups)
		assert.Zero(t, u.twice())
		assert.False(t, u.overlap)
	})
}
