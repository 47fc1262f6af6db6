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

// A machine that is suspended while a token is on its way, and whose wall clock is set meanwhile: the token ends when the
// upstream ends it, or earlier by what the fetch took, at every door, in each form in which its end is stated, and however
// values are kept.
func TestAFetchAcrossASuspend(t *testing.T) {
	never := func(context.Context, Request) (Token, error) { return Token{}, errors.New("nobody is to ask") }
	doors := map[string]func(*testing.T, *laptop, func() Token, ...Option) *Guard{
		"acquisition": func(t *testing.T, l *laptop, give func() Token, opts ...Option) *Guard {
			g := l.open(t, func(context.Context, Request) (Token, error) { return give(), nil }, opts...)
			_, _ = g.Token(t.Context())
			return g
		},
		"late answer": func(t *testing.T, l *laptop, give func() Token, opts ...Option) *Guard {
			g := l.open(t, func(context.Context, Request) (Token, error) { time.Sleep(time.Minute); return give(), nil }, opts...)
			_, err := g.Token(t.Context())
			require.Error(t, err)
			time.Sleep(2 * time.Minute)
			return g
		},
		"personal": func(t *testing.T, l *laptop, give func() Token, opts ...Option) *Guard {
			g := l.open(t, never, append(opts, WithPersonalToken(func(context.Context) (Token, error) { return give(), nil }))...)
			_, _ = g.Token(t.Context())
			return g
		},
		"Adopt": func(t *testing.T, l *laptop, give func() Token, opts ...Option) *Guard {
			g := l.open(t, never, opts...)
			require.NoError(t, g.Adopt(t.Context(), give()))
			return g
		},
		"renewal": func(t *testing.T, l *laptop, give func() Token, opts ...Option) *Guard {
			renewed := false
			g := l.open(t, giveAccount, append(opts, WithRenewal(func(context.Context, Token) (Token, error) {
				if renewed {
					return Token{}, Failed(Failure{StatusCode: 503})
				}
				renewed = true
				return give(), nil
			}))...)
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(2 * time.Minute)
			_, _ = g.Token(t.Context())
			return g
		},
	}
	for door, come := range doors {
		for _, private := range []bool{false, true} {
			for _, form := range []string{"lifetime", "instant", "dated instant"} {
				for _, step := range []time.Duration{0, -2 * time.Hour, 2 * time.Hour} {
					if form == "instant" && (step < 0 || door == "Adopt" && step > 0) {
						continue // it is read by a clock that is wrong, and nothing says so; or it has expired by that
					}
					t.Run(fmt.Sprint(door, ", not kept: ", private, ", ", form, ", step ", step), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							l := &laptop{begin: time.Now()}
							var ends time.Time // by the truth
							give := func() Token {
								if !ends.IsZero() {
									return Token{} // once
								}
								made := l.now() // the upstream makes it, and the machine is suspended before it hears of that
								ends = made.Add(time.Hour)
								lifetime := NewTokenIn("value", time.Hour)
								l.suspend(20 * time.Minute)
								l.step.Store(int64(step))
								switch form {
								case "lifetime":
									if door == "Adopt" {
										b := *lifetime.read()
										b.made.mono = b.made.mono.Add(-20 * time.Minute) // as its boot clock would say
										return b.token()
									}
									return NewTokenIn("value", time.Hour)
								case "instant":
									return NewToken("value", ends)
								}
								dated := NewToken("value", ends).WithDate(http.Header{"Date": {made.UTC().Format(http.TimeFormat)}})
								if door == "Adopt" {
									b := *dated.read()
									b.answered.at.mono = b.answered.at.mono.Add(-20 * time.Minute)
									return b.token()
								}
								return dated
							}
							opts := []Option{WithFreshness(0)}
							if private {
								opts = append(opts, WithoutTokenPersistence())
							}
							g := come(t, l, give, opts...)
							served := 0
							for l.now().Before(ends.Add(30 * time.Minute)) {
								token, err := g.Token(t.Context())
								if err == nil && token.Value() == "value" {
									served++
									assert.True(t, l.now().Before(ends), "handed out %v after its end", l.now().Sub(ends))
								}
								if t.Failed() {
									return
								}
								time.Sleep(time.Minute)
							}
							want := 35
							if form == "instant" && step > 0 { // the wall clock ends it early
								want = 0
							}
							assert.GreaterOrEqual(t, served, want, "minutes")
						})
					})
				}
			}
		}
	}
}
