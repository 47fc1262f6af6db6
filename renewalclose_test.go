package tokenguard_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// Close in the middle of a renewal waits for its answer and stores it, also where the store came back only for that: the next
// process goes on with it. Where the store is gone, the next one presents the same refresh token once its lease is over.
func TestCloseDuringARenewal(t *testing.T) {
	for name, c := range map[string]struct {
		away     func(s *countedStore, t *testing.T) // while the renewal is under way
		rotation tokenguardtest.Rotation
		stored   bool
		signUps  int
	}{
		"stored": {func(*countedStore, *testing.T) {}, tokenguardtest.RotateStrict, true, 1},
		"the store comes back": {func(s *countedStore, _ *testing.T) {
			s.away.Store(true)
			time.AfterFunc(3*time.Second, func() { s.away.Store(false) })
		}, tokenguardtest.RotateStrict, true, 1},
		"in the flush alone": {func(s *countedStore, _ *testing.T) { s.failing.Store(1) }, tokenguardtest.RotateStrict, true, 1},
		"never":              {func(s *countedStore, _ *testing.T) { s.away.Store(true) }, tokenguardtest.RotateNever, false, 1},
		"never, parent":      {func(s *countedStore, _ *testing.T) { s.away.Store(true) }, tokenguardtest.RotateParent, false, 1},
		"never, strict":      {func(s *countedStore, _ *testing.T) { s.away.Store(true) }, tokenguardtest.RotateStrict, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPresenting(t, c.rotation)
				g := p.open(func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
					time.Sleep(5 * time.Second)
					return token, err
				})
				first, err := g.Token(t.Context())
				require.NoError(t, err)
				require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: first.ID()}))
				time.Sleep(time.Hour)
				waits := make(chan error, 1)
				go func() {
					_, err := g.Token(context.Background())
					waits <- err
				}()
				time.Sleep(time.Second)
				c.away(p.store, t)
				began := time.Now()
				err = g.Close()
				assert.Equal(t, c.stored, err == nil, "%v", err)
				assert.GreaterOrEqual(t, time.Since(began), 4*time.Second, "it waits for the answer")
				require.ErrorIs(t, <-waits, tokenguard.ErrClosed)
				p.store.away.Store(false)

				next := p.open(nil)
				presented := len(p.up.Presentations())
				_, err = next.Token(t.Context())
				if c.stored {
					require.NoError(t, err)
					assert.Len(t, p.up.Presentations(), presented, "the answer was stored")
				}
				time.Sleep(time.Minute)
				_, err = next.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(time.Hour)
				_, err = next.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, c.signUps, p.up.Counts().Issued)
				require.NoError(t, next.Close())
			})
		})
	}
}

// The wall clock may step in the middle of a renewal, back and forth: the account stays, and each refresh token is presented
// once.
func TestWallClockStepsDuringARenewal(t *testing.T) {
	for _, step := range []time.Duration{-400 * 24 * time.Hour, -2 * time.Hour, -time.Minute, time.Minute, 2 * time.Hour, 400 * 24 * time.Hour} {
		for _, states := range []string{"lifetime", "instant"} {
			t.Run(fmt.Sprint(step, ", ", states), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPresenting(t, tokenguardtest.RotateStrict)
					var wall, steps atomic.Int64
					began := time.Now()
					simulate := func(g *tokenguard.Guard) *tokenguard.Guard {
						g.SimulateClock(func() time.Time { return time.Now().Add(time.Duration(wall.Load())) }, "boot", func() int64 { return int64(time.Since(began)) + int64(1000*time.Hour) })
						return g
					}
					then := func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
						at := time.Now()
						if steps.Add(1) == 2 {
							wall.Add(int64(step))
						}
						time.Sleep(2 * time.Second)
						if states == "instant" && err == nil { // by the upstream's clock, which is right
							token = tokenguard.NewToken(token.Value(), at.Add(time.Hour)).WithRefreshToken(token.RefreshToken(), time.Time{})
						}
						return token, err
					}
					g, other := simulate(p.open(then)), simulate(p.open(then))
					for n := range 8 * 60 {
						for _, g := range []*tokenguard.Guard{g, other} {
							if _, err := g.Token(t.Context()); states == "lifetime" {
								require.NoError(t, err, "%d", n)
							}
						}
						time.Sleep(time.Minute)
					}
					assert.Equal(t, 1, p.up.Counts().Issued)
					assert.Zero(t, p.again())
					if states == "lifetime" { // by an instant, a wrong clock renews when it says
						assert.Greater(t, p.up.Counts().Renewed, 6)
					}
					require.NoError(t, g.Close())
					require.NoError(t, other.Close())
				})
			})
		}
	}
}

// Two keys whose sign-ups brought one refresh token are renewed by one presentation, whichever is asked for, also where both
// are due at once in two processes.
func TestOneRefreshTokenOfTwoScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenting(t, tokenguardtest.RotateStrict)
		token, err := tokenguardtest.RequestFunc(p.up.Client(), "http://upstream.example")(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		slow := func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
			time.Sleep(3 * time.Second)
			return token, err
		}
		g, other := p.open(slow), p.open(slow)
		for n, scope := range []string{"read", "write"} { // another value each, and the same refresh token
			each := tokenguard.NewTokenIn(fmt.Sprint("value ", n), time.Hour).WithRefreshToken(token.RefreshToken(), time.Time{})
			require.NoError(t, g.Adopt(t.Context(), each.WithScope(scope)))
		}
		for range 5 {
			time.Sleep(61 * time.Minute)
			presented := len(p.up.Presentations())
			got := make(chan string, 4)
			for _, g := range []*tokenguard.Guard{g, other} {
				for _, scope := range []string{"read", "write"} {
					go func() {
						grant, err := g.Acquire(context.Background(), tokenguard.Request{Scope: scope})
						assert.NoError(t, err)
						got <- grant.Token.ID()
					}()
				}
			}
			ids := map[string]bool{<-got: true, <-got: true, <-got: true, <-got: true}
			assert.Len(t, ids, 1)
			assert.Len(t, p.up.Presentations(), presented+1)
		}
		assert.Equal(t, 1, p.up.Counts().Issued)
		assert.Zero(t, p.again())
		require.NoError(t, g.Close())
		require.NoError(t, other.Close())
	})
}

// A renewal, or a value that is adopted, may bring the refresh token by which the account is known for another key: they are
// one from then on, and it is presented once. Also while it is being presented for that one, whose answer goes to both.
func TestRefreshTokenOfAnotherKeyIsBrought(t *testing.T) {
	for _, how := range []string{"renewed", "adopted", "adopted while it is presented"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPresenting(t, tokenguardtest.RotateParent)
				p.opts = []tokenguard.Option{tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MinInterval: time.Second})}
				p.elsewhere = true
				g, other := p.open(nil), p.open(nil)
				has := func(g *tokenguard.Guard, scope string) tokenguard.Token {
					grant, err := g.Acquire(context.Background(), tokenguard.Request{Scope: scope})
					assert.NoError(t, err)
					return grant.Token
				}
				first := has(g, "a")
				time.Sleep(10 * time.Minute)
				elsewhere, err := tokenguardtest.RenewalFunc(p.up.Client(), "http://upstream.example")(t.Context(), tokenguard.NewToken("", time.Time{}).WithRefreshToken("refresh-1-1", time.Time{}))
				require.NoError(t, err)
				require.Equal(t, "refresh-1-2", elsewhere.RefreshToken())
				p.up.SetLatency(8 * time.Second)
				require.NoError(t, other.Adopt(t.Context(), elsewhere.WithScope("b")))
				if how == "renewed" {
					time.Sleep(46 * time.Minute) // the one is due, the other is not
					has(g, "a")
				} else {
					time.Sleep(2 * time.Hour)
					if how != "adopted" {
						go has(other, "b")
						time.Sleep(time.Second)
					}
					require.NoError(t, g.Adopt(t.Context(), tokenguard.NewTokenIn("sliding", 2*time.Second).WithRefreshToken("refresh-1-2", time.Time{}).WithScope("a").WithPredecessor(first.ID())))
					time.Sleep(2 * time.Second)
				}
				for range 5 {
					got := make(chan string, 2)
					go func() { got <- has(g, "a").ID() }()
					go func() { got <- has(other, "b").ID() }()
					assert.Equal(t, <-got, <-got)
					time.Sleep(2 * time.Hour)
				}
				assert.Equal(t, 1, p.up.Counts().Issued)
				assert.LessOrEqual(t, p.again(), 1, "the first one, which was used elsewhere")
				require.NoError(t, g.Close())
				require.NoError(t, other.Close())
			})
		})
	}
}
