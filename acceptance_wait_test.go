package tokenguard_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// RetryAt is when this caller could next have a token. The same report again confirms nothing, so after the 60 s the
// token in doubt is tried once more: a second refusal confirms, and it is replaced at once.
func TestAcceptWaitWithOneReportOfQuota(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		up.next = []tokenguard.RequestFunc{issuing("first", 24*time.Hour), issuing("second", 24*time.Hour)}
		began := time.Now()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		grant, err := g.Wait(t.Context(), with(outOfQuota, token))
		require.NoError(t, err)
		assert.Equal(t, "first", grant.Token.Value())
		assert.Equal(t, 11*time.Minute, time.Since(began))
		grant, err = g.Wait(t.Context(), with(outOfQuota, token))
		require.NoError(t, err)
		assert.Equal(t, "second", grant.Token.Value())
		assert.Equal(t, 11*time.Minute, time.Since(began))
	}, tokenguard.WithManager(tokenguard.ManagerConfig{ReplaceSpentEarly: true}), quick)
}

// A test's clock may begin anywhere, also where nobody set it.
func TestAcceptClocksOfTests(t *testing.T) {
	for _, start := range []time.Time{{}, time.Unix(0, 0), time.Unix(1, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)} {
		t.Run(start.Format(time.DateOnly), func(t *testing.T) {
			clock := &handClock{now: start}
			u := newUser(t, tokenguard.WithClock(clock))
			u.clock = clock
			token := u.served(acquired, plain).Token
			assert.True(t, token.Expiry().Equal(start.Add(24*time.Hour)), "%v", token.Expiry())
			u.refusedUntil(start.Add(300*time.Second), tokenguard.ReasonMinInterval, scoped("other"))
			u.served(acquired, scoped("other"))
			u.clock.set(start.Add(24*time.Hour - 10*time.Second - 1))
			u.served(cached, plain)
			u.clock.move(1)
			u.served(acquired, plain)
		})
	}
}

// "RetryAt is when this caller could next have a token": a token that may be refreshed opens row 4 before it expires.
func TestAcceptRetryAtWithRefreshAhead(t *testing.T) {
	u := newUser(t, quick, tokenguard.WithRefreshAhead(5*time.Minute))
	u.up.lifetime = 20 * time.Minute
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: noneLeft})
	u.refusedUntil(oddStart.Add(15*time.Minute-10*time.Second), tokenguard.ReasonTokenTooNew, plain)
	u.served(acquired, plain)
}

// The others are served where the predictor lifts a suspicion, so its veto closes nothing for them.
func TestAcceptRetryAtOfWhomThePredictorServes(t *testing.T) {
	u := newUser(t, tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: time.Minute}))
	token := u.served(acquired, plain).Token
	u.clock.move(40 * time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	u.clock.move(time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	for range 100 {
		u.clock.move(100 * time.Millisecond)
		u.report(tokenguard.Outcome{TokenID: token.ID(), Caller: "another", Latency: time.Second})
	}
	u.served(acquired, scoped("other")) // closes the limiter
	u.refusedUntil(u.now().Add(time.Minute), tokenguard.ReasonMinInterval, plain)
	assert.Equal(t, token.ID(), u.served(cached, plain).Token.ID())
}
