package tokenguard_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// An answer whose value cannot be used is a mistake that acquires nothing. The refresh token that it brings has replaced the
// one that was presented, all the same: the next renewal presents that one.
func TestRenewalAnswersThatCannotBeUsed(t *testing.T) {
	brings := func(to, from tokenguard.Token) tokenguard.Token {
		return to.WithRefreshToken(from.RefreshToken(), time.Time{})
	}
	for name, answer := range map[string]func(old, token tokenguard.Token) tokenguard.Token{
		"no value": func(_, token tokenguard.Token) tokenguard.Token {
			return brings(tokenguard.NewToken("", time.Time{}), token)
		},
		"expired": func(_, token tokenguard.Token) tokenguard.Token {
			return brings(tokenguard.NewToken(token.Value(), time.Now().Add(-time.Hour)), token)
		},
		"in no header": func(_, token tokenguard.Token) tokenguard.Token {
			return brings(tokenguard.NewTokenIn("two\nlines", time.Hour), token)
		},
		"a second": func(_, token tokenguard.Token) tokenguard.Token {
			return brings(tokenguard.NewTokenIn(token.Value(), 3600), token)
		},
		"too large": func(_, token tokenguard.Token) tokenguard.Token {
			return brings(tokenguard.NewTokenIn(strings.Repeat("x", 70<<10), time.Hour), token)
		},
		"the old one": func(old, token tokenguard.Token) tokenguard.Token {
			return brings(tokenguard.NewTokenIn(old.Value(), time.Hour), token)
		},
	} {
		for kind, opts := range map[string][]tokenguard.Option{
			"plain":     nil,
			"encrypted": {tokenguard.WithEncryption([]byte("0123456789abcdef0123456789abcdef"))},
			"not kept":  {tokenguard.WithoutTokenPersistence()},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPresenting(t, tokenguardtest.RotateStrict)
					p.opts = opts
					var old tokenguard.Token
					spoils := true
					g := p.open(func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
						if spoils {
							spoils = false
							return answer(old, token), err
						}
						return token, err
					})
					var err error
					old, err = g.Token(t.Context())
					require.NoError(t, err)
					require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: old.ID()}))
					time.Sleep(time.Minute)
					require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: old.ID(), Failure: unauthorized}))
					_, _ = g.Token(t.Context())
					require.False(t, spoils)
					s := g.Stats().Renewals.Identities[0]
					assert.Equal(t, []any{"closed", tokenguard.ClassClientError, 0}, []any{s.State, s.Class, s.Renewals})
					if kind != "not kept" {
						require.NoError(t, g.Close())
						g = p.open(nil)
					}
					time.Sleep(2 * time.Hour)
					got, err := g.Token(t.Context())
					require.NoError(t, err)
					assert.NotEqual(t, old.ID(), got.ID())
					assert.Equal(t, old.Identity(), got.Identity())
					assert.Equal(t, 1, p.up.Counts().Issued)
					assert.Zero(t, p.again())
					require.NoError(t, g.Close())
				})
			})
		}
	}
}

// The refresh token of another account is not presented for this one.
func TestRenewalAnswersOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenting(t, tokenguardtest.RotateNever)
		spoils := true
		g := p.open(func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
			if spoils {
				spoils = false
				return tokenguard.NewTokenIn("of another", time.Hour).WithAccount("another").WithRefreshToken("of another, too", time.Time{}), err
			}
			return token, err
		})
		first, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(56 * time.Minute)
		got, err := g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, first.ID(), got.ID())
		time.Sleep(2 * time.Hour)
		got, err = g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, first.Identity(), got.Identity())
		assert.Equal(t, 1, p.up.Counts().Issued)
		require.NoError(t, g.Close())
	})
}

// A process that stood still between the answer and its commit, for longer than the value lasts, goes on with the refresh
// token that it brought: as soon as after any failure, since that is no mistake of its caller's. Also one whose function
// came back so late.
func TestRenewalAnswersThatEndOnTheirWay(t *testing.T) {
	for _, standsStill := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPresenting(t, tokenguardtest.RotateStrict)
			began, slow := time.Now(), true
			var passed atomic.Int64 // while the process stood still, as the machine's clocks say
			g := p.open(func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
				if slow {
					if slow = false; standsStill {
						passed.Add(int64(3 * time.Hour))
					} else {
						time.Sleep(3 * time.Hour)
					}
				}
				return token, err
			})
			g.SimulateClock(func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }, "boot",
				func() int64 { return int64(time.Since(began)) + passed.Load() + int64(time.Hour) })
			first, err := g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Hour)
			_, err = g.Token(t.Context())
			require.Error(t, err)
			if !standsStill {
				time.Sleep(3 * time.Hour)
			}
			time.Sleep(5 * time.Second)
			got, err := g.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, first.Identity(), got.Identity())
			assert.Equal(t, 1, p.up.Counts().Issued)
			assert.Zero(t, p.again())
			require.NoError(t, g.Close())
		})
	}
}

// An upstream may give a value again for as long as it lasts. An operation that it keeps refusing causes no more than that,
// while another works.
func TestRenewalGivesTheSameValueAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		renewals, starts := 0, 0
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			starts++
			return tokenguard.NewTokenIn("the value", 24*time.Hour).WithRefreshToken("what renews it", time.Time{}), nil
		}, tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
			renewals++
			return tokenguard.NewTokenIn("the value", 24*time.Hour), nil
		}))
		require.NoError(t, err)
		for range 4 * 60 {
			grant, err := g.Acquire(t.Context(), tokenguard.Request{Caller: "chat"})
			require.NoError(t, err)
			require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Caller: "chat"}))
			if grant, err = g.Acquire(t.Context(), tokenguard.Request{Caller: "profile"}); err == nil {
				require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Caller: "profile", Failure: unauthorized}))
			}
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 1, starts)
		assert.LessOrEqual(t, renewals, 2)
		assert.NotEqual(t, "closed", g.Stats().Renewals.Identities[0].State)
		require.NoError(t, g.Close())
	})
}

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
