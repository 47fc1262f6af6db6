package tokenguard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// While a renewal is under way its account lives, though its refresh token expires meanwhile: it may be the last that it was
// good for, and nothing is acquired beside it.
func TestRefreshTokenExpiresDuringItsRenewal(t *testing.T) {
	for name, c := range map[string]struct {
		rotation tokenguardtest.Rotation
		err      error
		signUps  int
	}{
		"rotated": {tokenguardtest.RotateStrict, nil, 1},
		"failed":  {tokenguardtest.RotateStrict, tokenguard.Failed(serverDown), 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPresenting(t, c.rotation)
				p.up.Lifetime, p.up.RefreshLifetime = 5*time.Minute, time.Hour
				slow := true
				then := func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
					if slow {
						slow = false
						time.Sleep(8 * time.Second)
						if c.err != nil {
							return tokenguard.Token{}, c.err
						}
					}
					return token, err
				}
				g, other := p.open(then), p.open(then)
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(time.Hour - 2*time.Second)
				for range 4 {
					go func() { _, _ = g.Token(context.Background()) }()
					time.Sleep(time.Second)
					_, _ = other.Token(t.Context())
				}
				time.Sleep(5 * time.Minute)
				_, err = other.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, c.signUps, p.up.Counts().Issued)
				require.NoError(t, g.Close())
				require.NoError(t, other.Close())
			})
		})
	}
}
