package tokenguard

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/bootclock"
)

// A lifetime counts from when the fetch began, at every door by which a token comes in: on its way it grows older.
func TestLifetimeCountsFromTheFetch(t *testing.T) {
	slow := func(context.Context, Request) (Token, error) {
		time.Sleep(25 * time.Second)
		return NewTokenIn("slow", time.Minute), nil
	}
	never := func(context.Context, Request) (Token, error) { return Token{}, context.Canceled }
	doors := map[string]func(*testing.T) Token{
		"acquisition": func(t *testing.T) Token {
			grant, err := newTestGuard(t, slow).Acquire(t.Context(), Request{})
			require.NoError(t, err)
			return grant.Token
		},
		"shadow": func(t *testing.T) Token {
			n := 0
			g := newTestGuard(t, func(ctx context.Context, req Request) (Token, error) {
				if n++; n == 1 {
					return Token{}, Failed(Failure{StatusCode: 503})
				}
				return slow(ctx, req)
			}, WithShadowModeRefusingNothing())
			_, err := g.Acquire(t.Context(), Request{})
			require.Error(t, err)
			grant, err := g.Acquire(t.Context(), Request{})
			require.NoError(t, err)
			require.Equal(t, SourceShadow, grant.Source)
			return grant.Token
		},
		"answer after the lease": func(t *testing.T) Token {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) {
				time.Sleep(25 * time.Second)
				return NewTokenIn("late", time.Minute), nil
			}, WithRequestTimeout(5*time.Second))
			began := time.Now()
			_, err := g.Acquire(t.Context(), Request{})
			require.Error(t, err)
			time.Sleep(time.Until(began.Add(25 * time.Second)))
			synctest.Wait()
			grant, err := g.Acquire(t.Context(), Request{})
			require.NoError(t, err)
			return grant.Token
		},
		"personal": func(t *testing.T) Token {
			g := newTestGuard(t, never, WithPersonalToken(func(ctx context.Context) (Token, error) { return slow(ctx, Request{}) }))
			grant, err := g.Acquire(t.Context(), Request{})
			require.NoError(t, err)
			return grant.Token
		},
		"renewal": func(t *testing.T) Token {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) {
				return NewTokenIn("first", time.Minute).WithRefreshToken("refresh", time.Time{}), nil
			}, WithRenewal(func(ctx context.Context, _ Token) (Token, error) {
				time.Sleep(9 * time.Second)
				return NewTokenIn("renewed", 44*time.Second), nil
			}))
			_, err := g.Acquire(t.Context(), Request{})
			require.NoError(t, err)
			time.Sleep(time.Minute)
			grant, err := g.Acquire(t.Context(), Request{})
			require.NoError(t, err)
			require.Equal(t, TokenID("renewed"), grant.Token.ID())
			return grant.Token
		},
		"Adopt": func(t *testing.T) Token {
			g := newTestGuard(t, never)
			token := NewTokenIn("elsewhere", time.Minute)
			time.Sleep(25 * time.Second)
			require.NoError(t, g.Adopt(t.Context(), token))
			grant, err := g.Acquire(t.Context(), Request{})
			require.NoError(t, err)
			return grant.Token
		},
		"one that the function kept": func(t *testing.T) Token {
			token := NewTokenIn("kept", time.Minute)
			time.Sleep(25 * time.Second)
			grant, err := newTestGuard(t, func(context.Context, Request) (Token, error) { return token, nil }).Acquire(t.Context(), Request{})
			require.NoError(t, err)
			return grant.Token
		},
	}
	for door, come := range doors {
		t.Run(door, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := come(t)
				require.Equal(t, 35*time.Second, time.Until(token.Expiry()))
				require.Equal(t, time.Now(), token.AcquiredAt())
			})
		})
	}
	t.Run("over before it came", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) {
				time.Sleep(25 * time.Second)
				return NewTokenIn("dead", 20*time.Second), nil
			})
			_, err := g.Acquire(t.Context(), Request{})
			require.ErrorContains(t, err, "expired already")
			token := NewTokenIn("dead", 20*time.Second)
			time.Sleep(25 * time.Second)
			require.ErrorIs(t, g.Adopt(t.Context(), token), ErrRequest)
		})
	})
}

// A suspend after NewTokenIn is time in which the token grows older; a wall clock that was set, or the boot clock of another
// machine, is none by itself.
func TestLifetimeCountsASuspend(t *testing.T) {
	if bootclock.Now() == 0 {
		t.Skip("no clock here counts suspends")
	}
	for name, c := range map[string]struct{ boot, wall, left time.Duration }{
		"suspended":                    {40 * time.Minute, 40 * time.Minute, 20 * time.Minute},
		"suspended, the wall set back": {40 * time.Minute, 10 * time.Minute, 50 * time.Minute},
		"the wall set ahead":           {0, 2 * time.Hour, time.Hour},
		"the wall set back":            {0, -2 * time.Hour, time.Hour},
		"on another machine":           {1000 * time.Hour, 0, time.Hour},
		"on one that booted later":     {-1000 * time.Hour, 0, time.Hour},
	} {
		for _, door := range []string{"Adopt", "acquisition", "personal"} {
			t.Run(name+"/"+door, func(t *testing.T) {
				b := *NewTokenIn("of an hour", time.Hour).read()
				b.made.boot -= c.boot
				b.made.wall -= c.wall
				give := func(context.Context) (Token, error) { return b.token(), nil }
				var opts []Option
				if door == "personal" {
					opts = append(opts, WithPersonalToken(give))
				}
				g := newTestGuard(t, func(ctx context.Context, _ Request) (Token, error) { return give(ctx) }, opts...)
				if door == "Adopt" {
					require.NoError(t, g.Adopt(t.Context(), b.token()))
				}
				grant, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				left := grant.Token.Expiry().Sub(grant.Token.AcquiredAt()).Round(time.Minute)
				require.Equal(t, c.left, left)
			})
		}
	}
	t.Run("dead", func(t *testing.T) {
		b := *NewTokenIn("of an hour", time.Hour).read()
		b.made.boot -= 2 * time.Hour
		b.made.wall -= 2 * time.Hour
		require.ErrorContains(t, newTestGuard(t, giveToken("v")).Adopt(t.Context(), b.token()), "expired already")
	})
}

// A user's clock that stands still is not told a few microseconds that went by beside it.
func TestLifetimeIsExactOnAFakeClock(t *testing.T) {
	clock := &modelClock{now: time.Unix(1.8e9, 0)}
	g := newTestGuard(t, giveToken("v"), WithClock(clock))
	require.NoError(t, g.Adopt(t.Context(), NewTokenIn("adopted", time.Hour)))
	grant, err := g.Acquire(t.Context(), Request{})
	require.NoError(t, err)
	require.True(t, clock.now.Add(time.Hour).Equal(grant.Token.Expiry()))
}

// pausedMachine is a machine that its host pauses: every clock stands still, and then the wall clock alone is set.
type pausedMachine struct {
	wall, ticks atomic.Int64
}

func (m *pausedMachine) pass(d time.Duration)  { m.wall.Add(int64(d)); m.ticks.Add(int64(d)) }
func (m *pausedMachine) pause(d time.Duration) { m.wall.Add(int64(d)) }

func (m *pausedMachine) guard(t *testing.T, boot string, fetch RequestFunc, opts ...Option) *Guard {
	g := newTestGuard(t, fetch, append(opts, WithFreshness(0))...)
	g.meter.Simulate(func() time.Time { return time.Unix(0, m.wall.Load()) }, boot, m.ticks.Load)
	return g
}

// A token that ended while the host had paused the machine is not handed out, in no process and in no form in which its
// end was stated; and no limit opens by it.
func TestWallClockEndsTokensOfAPausedMachine(t *testing.T) {
	for _, form := range []string{"lifetime", "instant", "personal", "not stated"} {
		for _, process := range []string{"same", "another", "new"} {
			t.Run(form+"/"+process, func(t *testing.T) {
				m := &pausedMachine{}
				m.wall.Store(1.8e18)
				starts := 0
				token := func() Token {
					starts++
					switch value := fmt.Sprint("value ", starts); form {
					case "instant":
						return NewToken(value, time.Unix(0, m.wall.Load()).Add(time.Hour))
					case "not stated":
						return NewToken(value, time.Time{})
					default:
						return NewTokenIn(value, time.Hour)
					}
				}
				fetch := func(context.Context, Request) (Token, error) { return token(), nil }
				opts := []Option{WithStateFile(filepath.Join(t.TempDir(), "state"))}
				if form == "personal" {
					fetch = func(context.Context, Request) (Token, error) { return Token{}, context.Canceled }
					opts = append(opts, WithPersonalToken(func(context.Context) (Token, error) { return token(), nil }))
				}
				g := m.guard(t, "boot", fetch, opts...)
				other := m.guard(t, "boot", fetch, opts...)
				before, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				_, err = other.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				m.pass(10 * time.Minute)
				_, _ = g.Acquire(t.Context(), Request{}) // the meter is agreed on
				m.pause(7 * time.Hour)
				switch process {
				case "another":
					g = other
				case "new":
					g = m.guard(t, "boot", fetch, opts...)
				}
				after, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				if form == "not stated" {
					require.Equal(t, before.Token.ID(), after.Token.ID(), "only what was stated ends by the wall clock")
					return
				}
				require.NotEqual(t, before.Token.ID(), after.Token.ID())
				again, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				require.Equal(t, after.Token.ID(), again.Token.ID(), "it costs one acquisition")
				if form == "personal" {
					return
				}
				m.pause(7 * time.Hour)
				_, err = g.Acquire(t.Context(), Request{})
				require.ErrorIs(t, err, ErrRateLimited, "the interval counts by the meter")
			})
		}
	}
}
