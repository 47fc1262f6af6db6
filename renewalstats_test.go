package tokenguard_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// accountsAre are the figures over all accounts that alerts go by.
type accountsAre struct {
	states     map[string]int // those that are not zero
	unreplaced int
	inARow     int
	next       time.Duration // from now; -1: none
}

func accountFigures(g *tokenguard.Guard) accountsAre {
	s := g.Stats()
	out := accountsAre{map[string]int{}, s.Renewals.Unreplaced, s.Renewals.ConsecutiveFailures, -1}
	for state, n := range s.Renewals.States {
		if n > 0 {
			out.states[state] = n
		}
	}
	if !s.Renewals.Next.IsZero() {
		out.next = s.Renewals.Next.Sub(s.At)
	}
	return out
}

// What has happened to an account is over when it is renewed again, or when another has come in its place.
func TestFiguresOfAllAccounts(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		call := func(after time.Duration) {
			time.Sleep(after)
			_, _ = g.Token(t.Context())
		}
		assert.Equal(t, accountsAre{map[string]int{}, 0, 0, -1}, accountFigures(g))
		assert.Len(t, g.Stats().Renewals.States, 8, "each is there before anything happened")
		assert.Len(t, g.Stats().Renewals.Failures, 7)

		call(0)
		assert.Equal(t, accountsAre{map[string]int{"living": 1}, 0, 0, 55 * time.Minute}, accountFigures(g))

		u.fail = upstreamSays(503, "down", nil)
		call(56 * time.Minute)
		call(time.Minute)
		assert.Equal(t, accountsAre{map[string]int{"backing_off": 1}, 0, 2, 10 * time.Second}, accountFigures(g))
		u.fail = nil
		call(time.Minute)
		assert.Equal(t, accountsAre{map[string]int{"living": 1}, 0, 0, 55 * time.Minute}, accountFigures(g))

		u.fail = upstreamSays(400, "invalid_grant", nil)
		call(56 * time.Minute)
		assert.Equal(t, accountsAre{map[string]int{"ended": 1}, 1, 0, -1}, accountFigures(g))
		u.fail = nil
		call(10 * time.Minute) // its last value has ended: another account is acquired
		require.Equal(t, 2, u.signups)
		assert.Equal(t, accountsAre{map[string]int{"ended": 1, "living": 1}, 0, 0, 55 * time.Minute}, accountFigures(g))

		s := g.Stats().Renewals
		assert.Equal(t, []uint64{1, 3, 2, 1}, []uint64{s.Succeeded, s.Failed, s.Failures[tokenguard.ClassTransient], s.Failures[tokenguard.ClassAuthInvalid]})

		require.NoError(t, g.Clear(t.Context(), tokenguard.Clear{Identity: s.Identities[0].ID}))
		assert.Equal(t, accountsAre{map[string]int{"ended": 2}, 0, 0, -1}, accountFigures(g), "an operator ended it, which needs no alert")
	})
}

// An account in whose place another is used is no concern of anybody, whatever its last renewal met.
func TestFiguresLeaveOutReplacedAccounts(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		u.fail = upstreamSays(503, "down", nil)
		time.Sleep(56 * time.Minute)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Equal(t, 1, accountFigures(g).inARow)
		for range 100 {
			time.Sleep(time.Minute)
			_, _ = g.Token(t.Context())
		}
		require.Equal(t, 2, u.signups)
		assert.Equal(t, accountsAre{map[string]int{"living": 1, "failing": 1}, 0, 0, 0}, func() accountsAre {
			a := accountFigures(g)
			a.next = 0
			return a
		}())
	}, tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{ReplaceAfter: 2 * time.Hour}))
}

// The states count every account, the list shows the newest.
func TestStatesCountEveryAccount(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		for i := range 25 {
			_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: fmt.Sprint(i)})
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		s := g.Stats().Renewals
		assert.Len(t, s.Identities, 20)
		assert.Equal(t, 25, s.States["living"])
		assert.Equal(t, 30*time.Minute, s.Next.Sub(g.Stats().At), "that of the oldest, which the list leaves out")
	}, tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Second}))
}

// A program that counts failures, and keeps no classes, may have written the state.
func TestFailuresWithoutAClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), tokenguard.NewMemoryStore()
		g := u.open(t, store)
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		u.fail = upstreamSays(503, "down", nil)
		time.Sleep(56 * time.Minute)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, uint64(1), g.Stats().Renewals.Failures[tokenguard.ClassTransient])
		_, err = store.Update(t.Context(), "guests", func(snap tokenguard.Snapshot) ([]byte, error) {
			return bytes.Replace(snap.Data, []byte(`,"failures":{"transient":1}`), nil, 1), nil
		})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		s := g.Stats().Renewals
		assert.Equal(t, []uint64{2, 1, 1}, []uint64{s.Failed, s.Failures[tokenguard.ClassTransient], s.Failures[tokenguard.ClassUnknown]})
		require.NoError(t, g.Close())
	})
}

// A process that cannot renew sees the accounts, but knows no limit on renewals.
func TestRenewalLimitOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), tokenguard.NewMemoryStore()
		g := u.open(t, store, tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MaxPerHour: 600}))
		other, err := tokenguard.New(u.signUp, tokenguard.WithStore(store), tokenguard.WithName("guests"))
		require.NoError(t, err)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		s, o := g.Stats().Renewals, other.Stats().Renewals
		assert.Equal(t, []any{true, 600, 1}, []any{s.Renews, s.Hour.Limit, s.States["living"]})
		assert.Equal(t, []any{false, 1}, []any{o.Renews, o.States["living"]})
		require.NoError(t, g.Close())
		require.NoError(t, other.Close())
	})
}

// An account whose refresh token has expired cannot be renewed either.
func TestFiguresOfAnExpiredAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newAccounts()
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewTokenIn("a value", time.Hour).WithRefreshToken("a refresh token", time.Now().Add(30*time.Minute)), nil
		}, tokenguard.WithRenewal(u.renew))
		require.NoError(t, err)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(29 * time.Minute)
		assert.Equal(t, accountsAre{map[string]int{"living": 1}, 0, 0, -1}, accountFigures(g), "it expires before it is due")
		time.Sleep(2 * time.Minute)
		assert.Equal(t, accountsAre{map[string]int{"expired": 1}, 1, 0, -1}, accountFigures(g))
		require.NoError(t, g.Close())
	})
}
