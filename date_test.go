package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dated is what an upstream answers now, whose clock is so much ahead: a token of an hour by its own clock.
func dated(value string, ahead time.Duration) Token {
	theirs := time.Now().Add(ahead)
	return NewToken(value, theirs.Add(time.Hour)).WithRefreshToken("renews "+value, theirs.Add(2*time.Hour)).
		WithDate(http.Header{"Date": {theirs.UTC().Format(http.TimeFormat)}})
}

// An instant that an upstream states is read by its own clock, at every door by which a token comes in.
func TestExpiryByTheUpstreamsClock(t *testing.T) {
	never := func(context.Context, Request) (Token, error) { return Token{}, errors.New("nobody is to ask") }
	doors := map[string]func(*testing.T, func() Token, ...Option) (*Guard, Token){
		"acquisition": func(t *testing.T, give func() Token, opts ...Option) (*Guard, Token) {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) { return give(), nil }, opts...)
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			return g, token
		},
		"answer after the lease": func(t *testing.T, give func() Token, opts ...Option) (*Guard, Token) {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) {
				time.Sleep(25 * time.Second)
				token := give()
				return token, nil
			}, append(opts, WithRequestTimeout(5*time.Second))...)
			_, err := g.Token(t.Context())
			require.Error(t, err)
			time.Sleep(25 * time.Second)
			synctest.Wait()
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			return g, token
		},
		"personal": func(t *testing.T, give func() Token, opts ...Option) (*Guard, Token) {
			g := newTestGuard(t, never, append(opts, WithPersonalToken(func(context.Context) (Token, error) { return give(), nil }))...)
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			return g, token
		},
		"Adopt": func(t *testing.T, give func() Token, opts ...Option) (*Guard, Token) {
			g := newTestGuard(t, never, opts...)
			require.NoError(t, g.Adopt(t.Context(), give()))
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			return g, token
		},
		"Adopt of a known value": func(t *testing.T, give func() Token, opts ...Option) (*Guard, Token) {
			g := newTestGuard(t, never, opts...)
			require.NoError(t, g.Adopt(t.Context(), NewTokenIn("value", time.Minute)))
			require.NoError(t, g.Adopt(t.Context(), give()))
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			return g, token
		},
		"renewal": func(t *testing.T, give func() Token, opts ...Option) (*Guard, Token) {
			g := newTestGuard(t, giveAccount, append(opts, WithRenewal(func(context.Context, Token) (Token, error) { return give(), nil }))...)
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Minute)
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			return g, token
		},
	}
	for door, come := range doors {
		for _, private := range []bool{false, true} {
			for ahead, left := range map[time.Duration]time.Duration{
				0: time.Hour, 2 * time.Hour: time.Hour, -2 * time.Hour: time.Hour, 23 * time.Hour: time.Hour,
				-23 * time.Hour: time.Hour, 25 * time.Hour: 26 * time.Hour, // no clock that is only set to another zone
			} {
				t.Run(fmt.Sprint(door, " ", private, " ", ahead), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var opts []Option
						if private {
							opts = append(opts, WithoutTokenPersistence())
						}
						var came time.Time
						g, token := come(t, func() Token { came = time.Now(); return dated("value", ahead) }, opts...)
						late := time.Duration(0) // where the clocks differ it may have been made as the fetch began
						if door == "answer after the lease" && ahead != 0 && left == time.Hour {
							late = 25 * time.Second
						}
						assert.Equal(t, left-late, token.Expiry().Sub(came))
						if rec := g.replica.Newest().Doc.Tokens[token.ID()]; rec != nil && rec.Identity != nil {
							assert.Equal(t, left+time.Hour-late, g.meter.Read().Time(rec.Identity.Expiry).Sub(came))
						} else {
							assert.Equal(t, "personal", door)
						}
					})
				})
			}
		}
	}
	t.Run("no Date", func(t *testing.T) {
		token := NewToken("v", time.Now().Add(time.Hour))
		for _, h := range []http.Header{nil, {}, {"Date": {"soon"}}, {"Date": nil}} {
			assert.Equal(t, token.Expiry(), token.WithDate(h).Expiry())
			g := newTestGuard(t, func(context.Context, Request) (Token, error) { return token.WithDate(h), nil })
			got, err := g.Token(t.Context())
			require.NoError(t, err)
			assert.WithinDuration(t, token.Expiry(), got.Expiry(), time.Second)
		}
	})
	t.Run("a lifetime is none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) {
				return NewTokenIn("v", time.Hour).WithDate(http.Header{"date": {time.Now().Add(5 * time.Hour).UTC().Format(http.TimeFormat)}}), nil
			})
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, time.Hour, time.Until(token.Expiry()))
		})
	})
	t.Run("kept by its function", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			kept := dated("v", 3*time.Hour)
			time.Sleep(20 * time.Minute)
			token, err := newTestGuard(t, func(context.Context, Request) (Token, error) { return kept, nil }).Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 40*time.Minute, time.Until(token.Expiry()))
		})
	})
}

func giveAccount(context.Context, Request) (Token, error) {
	return NewTokenIn("first", time.Minute).WithRefreshToken("refresh", time.Time{}), nil
}
