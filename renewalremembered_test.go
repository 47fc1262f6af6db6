package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// renewals is an upstream whose account lives and is renewed, or not.
type renewals struct {
	signUps, renewed int
	fail             error
}

func (u *renewals) signUp(context.Context, Request) (Token, error) {
	u.signUps++
	return NewTokenIn(fmt.Sprintf("value %d of a guest", u.signUps), time.Hour).WithRefreshToken("what renews the guest", time.Time{}), nil
}

func (u *renewals) renew(context.Context, Token) (Token, error) {
	if u.renewed++; u.fail != nil {
		return Token{}, u.fail
	}
	return NewTokenIn(fmt.Sprintf("renewed value %d", u.renewed), time.Hour), nil
}

// A refused renewal costs a retry storm a lookup a call, as other refusals do. What is remembered ends at its instant, to
// the nanosecond, and with each change.
func TestRefusedRenewalsAreRemembered(t *testing.T) {
	play := func(name string, f func(t *testing.T, u *renewals, g *Guard, store Store)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, store := &renewals{}, NewMemoryStore()
				g, err := New(u.signUp, WithStore(store), WithName("guests"), WithRenewal(u.renew))
				require.NoError(t, err)
				_, err = g.Token(t.Context())
				require.NoError(t, err)
				f(t, u, g, store)
				require.NoError(t, g.Close())
			})
		})
	}
	// storm asks until the answer is remembered, and returns when it opens.
	storm := func(t *testing.T, g *Guard, req Request, reason Reason) time.Time {
		t.Helper()
		var refused *RefusedError
		for range 200 { // until its events are sampled
			_, err := g.Acquire(t.Context(), req)
			require.ErrorAs(t, err, &refused)
			require.Equal(t, reason, refused.Verdict.Reason)
		}
		require.NotNil(t, g.again(&req), "remembered")
		before := g.Stats().Calls.Answers[StepRenewal][reason]
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Acquire(context.Background(), req) }))
		require.EqualValues(t, 101, g.Stats().Calls.Answers[StepRenewal][reason]-before, "every call is counted")
		return refused.Verdict.RetryAt
	}
	stillAt := func(t *testing.T, g *Guard, reason Reason) {
		t.Helper()
		_, err := g.Acquire(t.Context(), Request{})
		require.Equal(t, reason, refusedFor(t, err))
	}
	down := errors.New("connection reset")

	play("renewal_backoff", func(t *testing.T, u *renewals, g *Guard, _ Store) {
		time.Sleep(time.Hour)
		u.fail = down
		_, err := g.Token(t.Context())
		require.Error(t, err)
		opens := storm(t, g, Request{}, ReasonRenewalBackoff)
		renewed := u.renewed
		time.Sleep(time.Until(opens) - time.Nanosecond)
		stillAt(t, g, ReasonRenewalBackoff)
		require.Equal(t, renewed, u.renewed)
		time.Sleep(time.Nanosecond)
		_, err = g.Token(t.Context())
		require.Error(t, err)
		require.Equal(t, renewed+1, u.renewed, "the same refresh token was tried at once")

		second := storm(t, g, Request{}, ReasonRenewalBackoff)
		require.Equal(t, 2*5*time.Second, time.Until(second), "the failure changed the answer")
		u.fail = nil
		require.NoError(t, g.Clear(t.Context(), Clear{Backoff: true}))
		_, err = g.Token(t.Context())
		require.NoError(t, err, "what an operator lifted is not remembered")
		require.Equal(t, 1, u.signUps)
	})
	play("renewal_limit", func(t *testing.T, u *renewals, g *Guard, _ Store) {
		time.Sleep(time.Hour - time.Minute)
		tok, err := g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, u.renewed, "ahead of the end")
		require.NoError(t, g.Report(t.Context(), Outcome{TokenID: tok.ID()}))
		time.Sleep(11 * time.Second) // past the grace in which it may not have spread
		refusal := Request{Failing: tok.ID(), Failure: Failure{StatusCode: 401, Message: "invalid token"}}
		_, err = g.Acquire(t.Context(), refusal)
		require.Equal(t, ReasonRenewalLimit, refusedFor(t, err))
		opens := storm(t, g, Request{}, ReasonRenewalLimit)
		time.Sleep(time.Until(opens) - time.Nanosecond)
		stillAt(t, g, ReasonRenewalLimit)
		require.Equal(t, 1, u.renewed)
		time.Sleep(time.Nanosecond)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, u.renewed)
	})
	play("renewal_elsewhere", func(t *testing.T, u *renewals, g *Guard, store Store) {
		script, err := New(u.signUp, WithStore(store), WithName("guests"))
		require.NoError(t, err)
		defer script.Close()
		time.Sleep(2 * time.Hour)
		opens := storm(t, script, Request{}, ReasonRenewalElsewhere)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second) // the default of WithFreshness
		_, err = script.Token(t.Context())
		require.NoError(t, err, "another process renewed")

		time.Sleep(2 * time.Hour)
		later := storm(t, script, Request{}, ReasonRenewalElsewhere)
		require.True(t, later.After(opens))
		time.Sleep(time.Until(later) - time.Nanosecond)
		stillAt(t, script, ReasonRenewalElsewhere)
		require.Equal(t, 1, u.signUps)
		time.Sleep(time.Nanosecond)
		_, err = script.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, u.signUps, "ReplaceAfter")
	})
}
