package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// With a user-supplied clock every call is decided anew; without one, answers are remembered for as long as they are
// good. Both must answer alike, whatever is asked and when. To see it fail, remember what a rate_limited report was
// answered, or forget d.Until in StableUntil.
func TestRememberedAnswersAreTheDecidedOnes(t *testing.T) {
	for seed := range amount(16, 150) {
		synctest.Test(t, func(t *testing.T) { compareAnswers(t, seed) })
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
}

// twin is one of two guards in the same world.
func twin(t *testing.T, seed uint64, opts ...tokenguard.Option) *tokenguard.Guard {
	rnd := rand.New(rand.NewPCG(seed, 11))
	starts, fetches := 0, 0
	if seed%2 == 0 {
		opts = append(opts, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
			if fetches++; fetches%3 == 1 {
				return tokenguard.Token{}, errors.New("not now")
			}
			return tokenguard.NewTokenIn(fmt.Sprint("personal-", fetches/4), time.Duration(1+fetches%3)*20*time.Minute), nil
		}))
	}
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		starts++
		switch rnd.IntN(8) {
		case 0:
			return tokenguard.Token{}, tokenguard.Failed(serverDown)
		case 1:
			return tokenguard.Token{}, tokenguard.Failed(accountBan)
		}
		return tokenguard.NewTokenIn(fmt.Sprint("value-", starts), []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 5 * time.Hour}[rnd.IntN(4)]), nil
	}, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
	return g
}

func compareAnswers(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	chance := func(oneIn int) bool { return rnd.IntN(oneIn) == 0 }
	var opts []tokenguard.Option
	if chance(2) {
		opts = append(opts, tokenguard.WithRateLimits(tokenguard.RateLimits{
			MaxRequestsPerHour: 20, MaxRequestsPerDay: 100, MinInterval: time.Minute, FailureBackoffBase: time.Minute, MaxBackoff: 10 * time.Minute}))
	}
	if chance(3) {
		opts = append(opts, tokenguard.WithRefreshAhead(5*time.Minute))
	}
	if chance(3) {
		opts = append(opts, tokenguard.WithManager(tokenguard.ManagerConfig{ReplaceSpentEarly: true}))
	}
	decided, remembered := twin(t, seed, append(opts, tokenguard.WithClock(bubbleClock{}))...), twin(t, seed, opts...)
	var until time.Time
	answer := func(g *tokenguard.Guard, req tokenguard.Request) string {
		grant, err := g.Acquire(t.Context(), req)
		v := grant.Verdict()
		var refused *tokenguard.RefusedError
		var failed *tokenguard.RequestError
		if errors.As(err, &failed) {
			v = failed.Verdict
		} else if errors.As(err, &refused) {
			v = refused.Verdict
		}
		until = v.Until
		return fmt.Sprint(grant.Token.ID(), grant.Source, v.Step, v.Reason, v.Class, v.RetryAt.UTC(), v.Until.UTC(), v.Detail)
	}
	failures := []tokenguard.Failure{{}, {}, {}, outOfQuota, noneLeft, unauthorized, accountBan, serverDown, tooFast, badRequest}
	for step := range 150 {
		req := tokenguard.Request{Scope: []string{"", "a"}[rnd.IntN(2)], Caller: []string{"x", "y"}[rnd.IntN(2)], Failure: failures[rnd.IntN(len(failures))]}
		if !chance(3) {
			req.Failing = tokenguard.TokenID(fmt.Sprint("value-", 1+rnd.IntN(8)))
		}
		if chance(8) {
			req.Failing = tokenguard.TokenID(fmt.Sprint("personal-", rnd.IntN(3)))
		}
		if req.Failing != "" && chance(8) {
			o := tokenguard.Outcome{TokenID: req.Failing, Failure: req.Failure, Latency: time.Second}
			if chance(3) {
				o.Limit, o.Remaining, o.ResetAt = 10, int64(rnd.IntN(2)), time.Now().Add(time.Duration(rnd.IntN(90))*time.Minute)
			}
			require.NoError(t, decided.Report(t.Context(), o))
			require.NoError(t, remembered.Report(t.Context(), o))
		}
		time.Sleep([]time.Duration{0, 1, 300 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute}[rnd.IntN(9)])
		for again := range 1 + rnd.IntN(4) { // the same once more is what is remembered
			switch {
			case again == 0:
			case again < 3 && time.Until(until) > 0 && chance(2): // just before it opens, and just after
				time.Sleep(time.Until(until) - time.Millisecond)
				require.Equal(t, answer(decided, req), answer(remembered, req), "step %d.%d: %+v", step, again, req)
				time.Sleep(time.Millisecond)
			default:
				time.Sleep([]time.Duration{0, 0, 1, 100 * time.Millisecond, 10 * time.Second, 30 * time.Second}[rnd.IntN(6)])
			}
			require.Equal(t, answer(decided, req), answer(remembered, req), "step %d.%d: %+v", step, again, req)
		}
	}
}

// Where the instant that a refusal names rests on when the caller's own report was made, the same report made later names
// a later one, however soon it comes.
func TestEachReportNamesItsOwnInstant(t *testing.T) {
	for name, story := range map[string]struct {
		failure tokenguard.Failure
		apart   time.Duration // that a report is held against the token for
	}{
		"auth":  {unauthorized, time.Minute},
		"quota": {outOfQuota, 30*time.Minute + 31*time.Second}, // MinTokenAge is over by then
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
					return tokenguard.NewTokenIn("value", 5*time.Hour), nil
				}, tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 1, MaxRequestsPerDay: 1}))
				require.NoError(t, err)
				defer func() { assert.NoError(t, g.Close()) }()
				token, err := g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(story.apart)
				require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: "chat"}))
				ask := tokenguard.Request{Caller: "chat", Failing: token.ID(), Failure: story.failure}
				for range 300 { // the events of refusals are sampled by now, and the first ones are remembered
					_, _ = g.Acquire(t.Context(), ask)
				}
				for range 20 {
					var refused *tokenguard.RefusedError
					_, err = g.Acquire(t.Context(), ask)
					require.ErrorAs(t, err, &refused)
					require.Equal(t, time.Minute, time.Until(refused.Verdict.RetryAt), "%v", refused)
					time.Sleep(90 * time.Millisecond)
				}
			})
		})
	}
}
