package tokenguard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// A state has room for many accounts and for fewer of their values, since a value is had again by a renewal. What there is
// no room for is dropped in that order, the least recently used first, and each account that goes is reported.
func TestAccountsBeyondTheBoundOfAState(t *testing.T) {
	for name, store := range map[string][]tokenguard.Option{
		"memory": {tokenguard.WithStore(tokenguard.NewMemoryStore()), tokenguard.WithName("guests")},
		"file":   {tokenguard.WithStateFile(t.TempDir() + "/state"), tokenguard.WithName("guests")},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "file" && amount(0, 1) == 0 {
				t.Skip("both keep bytes, and a file costs three times as much: under TOKENGUARD_LONG")
			}
			const accounts, more = 40, 12
			clock := &handClock{now: oddStart}
			starts, renewals := map[string]int{}, 0
			dropped := map[string]tokenguard.Event{} // by identity
			part := func(kind string, n, size int) string {
				return fmt.Sprintf("%s %d ", kind, n) + strings.Repeat("x", size)
			}
			issue := func(n int) tokenguard.Token {
				return tokenguard.NewTokenIn(part("value", n, 36<<10), time.Hour).WithScope(fmt.Sprint("key ", n)).
					WithRefreshToken(part("refresh", n, 24<<10), time.Time{}).WithAccount(fmt.Sprint("account ", n))
			}
			process := func() *tokenguard.Guard {
				g, err := tokenguard.New(func(_ context.Context, req tokenguard.Request) (tokenguard.Token, error) {
					starts[req.Scope]++
					return tokenguard.NewTokenIn("anew for "+req.Scope, time.Hour), nil
				}, append([]tokenguard.Option{tokenguard.WithClock(clock),
					tokenguard.WithRenewal(func(_ context.Context, old tokenguard.Token) (tokenguard.Token, error) {
						renewals++
						return tokenguard.NewTokenIn(part("renewed", renewals, 36<<10), time.Hour), nil
					}),
					tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MaxPerHour: 10000}),
					tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 500, MaxRequestsPerDay: 500, MinInterval: time.Second}),
					tokenguard.WithObserver(func(e tokenguard.Event) {
						if e.Kind == tokenguard.EventIdentityDropped {
							dropped[e.Identity] = e
						}
					})}, store...)...)
				require.NoError(t, err)
				return g
			}
			g := process()
			identities := map[string]int{}
			adopt := func(from, to int) {
				for n := from; n < to; n++ {
					clock.move(time.Minute / 10)
					token := issue(n)
					require.NoError(t, g.Adopt(t.Context(), token))
					identities[token.Identity()] = n
				}
			}
			adopt(0, accounts)
			assert.Empty(t, dropped, "there is room for all accounts, though not for all values")
			stats := g.Stats()
			assert.EqualValues(t, 0, stats.Renewals.Dropped)
			assert.Equal(t, accounts, stats.Acquisitions.Day.Used)
			require.NoError(t, g.Close())
			g = process()
			for n := 0; n < accounts; n += 4 {
				clock.move(time.Second)
				token, err := g.Acquire(t.Context(), tokenguard.Request{Scope: fmt.Sprint("key ", n)})
				require.NoError(t, err, n)
				assert.Equal(t, n, identities[token.Token.Identity()], "its own account")
			}
			assert.Empty(t, starts, "a key that has an account starts nothing")
			assert.Greater(t, renewals, accounts/8, "values were dropped, and had again")
			assert.Empty(t, dropped)

			adopt(accounts, accounts+more)
			assert.NotEmpty(t, dropped)
			assert.Less(t, len(dropped), more+5)
			assert.EqualValues(t, len(dropped), g.Stats().Renewals.Dropped)
			gone := map[int]bool{}
			for identity, e := range dropped {
				n, known := identities[identity]
				assert.True(t, known, "%q", identity)
				assert.Equal(t, fmt.Sprint("key ", n), e.Scope)
				assert.NotZero(t, n%4, "those used least recently")
				gone[n] = true
			}
			require.NoError(t, g.Close())
			g = process()
			defer func() { assert.NoError(t, g.Close()) }()
			reported := len(dropped)
			for n := 0; n < accounts+more; n += 3 {
				if gone[n] {
					continue
				}
				clock.move(time.Second)
				_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: fmt.Sprint("key ", n)})
				require.NoError(t, err, n)
			}
			assert.Empty(t, starts, "nothing else is lost")
			assert.Len(t, dropped, reported)
			clock.move(10 * time.Minute)
			_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: "key 1"})
			require.NoError(t, err)
			assert.Equal(t, map[string]int{"key 1": 1}, starts, "its account is gone")
		})
	}
}

// A hundred accounts, each with secrets of 10 KiB, are kept over restarts, sealed ones too: all are renewed, none is dropped or
// acquired again, and the state stays within its bound.
func TestAHundredAccountsAreKept(t *testing.T) {
	const accounts, room = 100, 3 << 19 // docs/renewal.md: 1.5 MiB of accounts and values
	for name, opts := range map[string][]tokenguard.Option{"plain": nil, "encrypted": {tokenguard.WithEncryption([]byte("0123456789abcdef0123456789abcdef"))}} {
		t.Run(name, func(t *testing.T) {
			if name == "plain" && amount(0, 1) == 0 {
				t.Skip("the other keeps more bytes: under TOKENGUARD_LONG")
			}
			clock, store := &handClock{now: oddStart}, tokenguard.NewMemoryStore()
			starts, renewals, dropped := 0, map[string]int{}, 0
			issue := func(scope string, n int) tokenguard.Token {
				return tokenguard.NewTokenIn(fmt.Sprintf("value %d of %s %s", n, scope, strings.Repeat("x", 8<<10)), time.Hour).
					WithRefreshToken(fmt.Sprintf("refresh token %d of %s %s", n, scope, strings.Repeat("x", 2<<10)), time.Time{}).WithAccount(scope)
			}
			process := func() *tokenguard.Guard {
				g, err := tokenguard.New(func(_ context.Context, req tokenguard.Request) (tokenguard.Token, error) {
					starts++
					return issue(req.Scope, 0), nil
				}, append([]tokenguard.Option{tokenguard.WithStore(store), tokenguard.WithName("guests"), tokenguard.WithClock(clock),
					tokenguard.WithRenewal(func(_ context.Context, old tokenguard.Token) (tokenguard.Token, error) {
						renewals[old.Scope()]++
						if want := issue(old.Scope(), renewals[old.Scope()]-1).RefreshToken(); old.RefreshToken() != want {
							return tokenguard.Token{}, fmt.Errorf("%s presents another refresh token", old.Scope())
						}
						return issue(old.Scope(), renewals[old.Scope()]), nil
					}),
					tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MaxPerHour: accounts}),
					tokenguard.WithObserver(func(e tokenguard.Event) {
						if e.Kind == tokenguard.EventIdentityDropped {
							dropped++
						}
					})}, opts...)...)
				require.NoError(t, err)
				return g
			}
			g := process()
			for n := range accounts {
				require.NoError(t, g.Adopt(t.Context(), issue(fmt.Sprint("key ", n), 0).WithScope(fmt.Sprint("key ", n))))
			}
			rounds := int(amount(1, 3))
			for range rounds {
				require.NoError(t, g.Close())
				g = process()
				clock.move(2 * time.Hour)
				for n := range accounts {
					_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: fmt.Sprint("key ", n)})
					require.NoError(t, err, n)
				}
			}
			stats := g.Stats().Renewals
			assert.Equal(t, []any{accounts, rounds * accounts, 0, 0, accounts}, []any{len(renewals), int(stats.Succeeded), starts, dropped, stats.States["living"]})
			snap, err := store.View(t.Context(), "guests")
			require.NoError(t, err)
			assert.Less(t, len(snap.Data), room)
			require.NoError(t, g.Close())
		})
	}
}
