package tokenguard_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

const (
	cached   = tokenguard.ReasonCached
	acquired = tokenguard.ReasonAcquired
)

func TestNewCallsNothing(t *testing.T) {
	u := newUser(t)
	assert.Zero(t, u.up.count())
}

func TestReportRejectsToken(t *testing.T) {
	u := newUser(t)
	first := u.served(acquired, plain).Token
	u.report(tokenguard.Outcome{TokenID: first.ID()})
	u.clock.move(10*time.Second - 1)
	u.report(tokenguard.Outcome{TokenID: first.ID(), Failure: unauthorized})
	assert.Equal(t, first.ID(), u.served(cached, plain).Token.ID(), "it may not have spread yet, and it has worked")
	u.clock.move(1)
	u.report(tokenguard.Outcome{TokenID: first.ID(), Failure: unauthorized})
	refused := u.refused(tokenguard.ReasonMinInterval, plain)
	assert.Equal(t, oddStart.Add(300*time.Second), refused.Verdict.Until)
	assert.Equal(t, u.now().Add(time.Minute), refused.Verdict.RetryAt, "then it is tried once more, since it had worked")
	u.clock.set(oddStart.Add(300 * time.Second))
	u.report(tokenguard.Outcome{TokenID: first.ID(), Failure: unauthorized})
	assert.Equal(t, "secret-value-2", u.served(acquired, plain).Token.Value())
}

func TestRefusedAtOnceClosesTheScopeAlone(t *testing.T) {
	u := newUser(t, quick)
	first := u.served(acquired, plain).Token
	u.clock.move(10 * time.Second)
	u.refused(tokenguard.ReasonBackoff, with(unauthorized, first))
	assert.Zero(t, u.Stats().Limiter.ConsecutiveFailures)
	u.served(acquired, scoped("another"))
}

func TestQuotaNeedsConfirmation(t *testing.T) {
	u := newUser(t)
	token := u.served(acquired, plain).Token
	u.clock.move(30 * time.Minute)
	// One report makes it suspect; the same report again is one observation; others are still served.
	f := outOfQuota
	f.At = u.now()
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: f})
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: f})
	u.served(cached, plain)
	u.clock.move(60*time.Second - 1)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	u.served(cached, plain)
	u.clock.move(1)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: f})
	u.served(cached, plain)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	assert.NotEqual(t, token.ID(), u.served(acquired, plain).Token.ID(), "spent")
}

func TestSuccessClearsSuspicion(t *testing.T) {
	u := newUser(t)
	token := u.served(acquired, plain).Token
	u.clock.move(30 * time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	u.clock.move(30 * time.Second)
	u.report(tokenguard.Outcome{TokenID: token.ID()})
	u.clock.move(31 * time.Second)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	u.served(cached, plain)
	u.clock.move(60 * time.Second)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	u.served(acquired, plain)
}

func TestStatedEmptyIsSpentAtOnceUntilReset(t *testing.T) {
	u := newUser(t)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	reset := u.now().Add(7 * time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: noneLeft, Limit: 50, Remaining: 0, ResetAt: reset})
	u.refusedUntil(reset, tokenguard.ReasonTokenTooNew, plain)
	assert.Equal(t, token.ID(), u.served(cached, plain).Token.ID(), "usable again at its reset")
}

func TestOtherClassesMarkNothing(t *testing.T) {
	for _, f := range []tokenguard.Failure{serverDown, badRequest, tooFast, accountBan, {Message: "what"}} {
		u := newUser(t)
		token := u.served(acquired, plain).Token
		u.clock.move(time.Hour)
		u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: f})
		assert.Equal(t, token.ID(), u.served(cached, plain).Token.ID(), "%+v", f)
	}
}

func TestFailureWithoutFailingSaysSo(t *testing.T) {
	u := newUser(t)
	u.served(acquired, plain)
	u.clock.move(time.Hour)
	grant := u.served(cached, tokenguard.Request{Failure: unauthorized})
	assert.Contains(t, strings.ToLower(grant.Verdict().Detail), "did not say which token failed")
	u.served(cached, plain)
}

func TestDedup(t *testing.T) {
	failed := func(text string) tokenguard.Request {
		return tokenguard.Request{Caller: "worker-1", Failure: tokenguard.Failure{StatusCode: 401, Message: text}}
	}
	open := func(t *testing.T) *user {
		u := newUser(t, tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: time.Second, FailureBackoffBase: time.Second}))
		u.up.next = []tokenguard.RequestFunc{failing(serverDown)}
		u.fails(failed("invalid token: request 8ad3b1f0-7a4e-4b43-9d63-6a8d5f3f1a11 of 12:30:01 took 31 ms"))
		u.clock.move(10 * time.Second)
		return u
	}
	t.Run("the same with other ids", func(t *testing.T) {
		u := open(t)
		again := failed("invalid token: request 11111111-7a4e-4b43-9d63-6a8d5f3f1a22 of 12:45:59 took 7 ms")
		refusal := u.refused(tokenguard.ReasonDuplicate, again)
		assert.ErrorIs(t, refusal, tokenguard.ErrDuplicate)
		assert.Equal(t, tokenguard.StepDedup, refusal.Verdict.Step)
		assert.Equal(t, 1, u.up.count())
		u.refusedUntil(oddStart.Add(300*time.Second), tokenguard.ReasonDuplicate, again)
		u.fails(again)
	})
	t.Run("another class, scope, caller or none", func(t *testing.T) {
		other := failed("invalid token: request 8ad3b1f0-7a4e-4b43-9d63-6a8d5f3f1a11 of 12:30:01 took 31 ms")
		other.Failure.StatusCode, other.Failure.Message = 503, "the service is unavailable"
		open(t).fails(other)
		other = failed("invalid token: request 8ad3b1f0-7a4e-4b43-9d63-6a8d5f3f1a11 of 12:30:01 took 31 ms")
		other.Scope = "other"
		open(t).fails(other)
		open(t).fails(plain)
	})
	t.Run("served by the cache all the same", func(t *testing.T) {
		u := newUser(t)
		u.served(acquired, failed("invalid token"))
		u.served(cached, failed("invalid token"))
	})
	t.Run("a token acquired later is news", func(t *testing.T) {
		u := newUser(t, tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: time.Second, FailureBackoffBase: time.Second}))
		request := failed("invalid token")
		token := u.served(acquired, request).Token
		u.report(tokenguard.Outcome{TokenID: token.ID()})
		u.clock.move(30 * time.Second)
		request.Failing = token.ID()
		assert.NotEqual(t, token.ID(), u.served(acquired, request).Token.ID())
	})
	t.Run("no record of a request that started none", func(t *testing.T) {
		u := newUser(t)
		u.up.next = []tokenguard.RequestFunc{failing(serverDown)}
		u.fails(plain)
		for i := range 20 {
			u.refused(tokenguard.ReasonBackoff, failed(fmt.Sprintf("%c is an invalid token", 'a'+i)))
		}
		assert.LessOrEqual(t, u.Stats().Dedup.Records, 1)
	})
}

func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		name               string
		lifetime, expected time.Duration
		token              func(now time.Time) tokenguard.Token
		opts               []tokenguard.Option
	}{
		{name: "an hour", expected: time.Hour - 10*time.Second, token: func(now time.Time) tokenguard.Token { return tokenguard.NewTokenIn("v", time.Hour) }},
		{name: "an hour as an instant", expected: time.Hour - 10*time.Second, token: func(now time.Time) tokenguard.Token { return tokenguard.NewToken("v", now.UTC().Add(time.Hour)) }},
		{name: "an hour and 1 ns", expected: time.Hour - 10*time.Second + 1, token: func(now time.Time) tokenguard.Token { return tokenguard.NewTokenIn("v", time.Hour+1) }},
		{name: "90 seconds", expected: 81 * time.Second, token: func(now time.Time) tokenguard.Token { return tokenguard.NewTokenIn("v", 90*time.Second) }},
		{name: "not stated", expected: time.Hour, token: func(now time.Time) tokenguard.Token { return tokenguard.NewToken("v", time.Time{}) }},
		{name: "strict", expected: time.Hour, token: func(now time.Time) tokenguard.Token { return tokenguard.NewTokenIn("v", 48*time.Hour) },
			opts: []tokenguard.Option{tokenguard.WithCache(tokenguard.CacheConfig{Strict: true})}},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUser(t, append(test.opts, tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: time.Second}))...)
			u.up.next = []tokenguard.RequestFunc{
				func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return test.token(u.now()), nil },
				issuing("other", time.Hour),
			}
			u.served(acquired, plain)
			u.clock.move(test.expected - 1)
			u.served(cached, plain)
			u.clock.move(1)
			assert.Equal(t, "other", u.served(acquired, plain).Token.Value())
		})
	}
}

func TestLastStretchStillServes(t *testing.T) {
	u := newUser(t)
	u.up.lifetime = 100 * time.Second
	u.served(acquired, plain)
	u.clock.move(100*time.Second - 1)
	u.served(cached, plain)
	u.clock.move(1)
	u.refusedUntil(oddStart.Add(300*time.Second), tokenguard.ReasonMinInterval, plain)
	u.served(acquired, plain)
}

func TestYear9999(t *testing.T) {
	for name, token := range map[string]tokenguard.Token{
		"an instant": tokenguard.NewToken("v", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)),
		"a lifetime": tokenguard.NewTokenIn("v", math.MaxInt64),
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, tokenguard.WithStateFile(t.TempDir()+"/state"))
			u.up.next = []tokenguard.RequestFunc{func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return token, nil }}
			token := u.served(acquired, plain).Token
			assert.True(t, token.Expiry().Year() > 2250, "%v", token.Expiry())
			u.clock.move(100 * 365 * 24 * time.Hour)
			assert.True(t, token.Equal(u.served(cached, plain).Token))
		})
	}
}

func TestCallerKeepsTokenItSaysNothingAbout(t *testing.T) {
	u := newUser(t)
	token := u.served(acquired, plain).Token
	for _, f := range []tokenguard.Failure{serverDown, badRequest, accountBan} {
		assert.Equal(t, token.ID(), u.served(cached, with(f, token)).Token.ID())
	}
	u.clock.move(time.Minute)
	paused := tooFast
	paused.At, paused.Header = u.now(), map[string][]string{"Retry-After": {"90"}}
	until := u.now().Add(90 * time.Second)
	refusal := u.refused(tokenguard.ReasonUpstreamRateLimited, with(paused, token))
	assert.ErrorIs(t, refusal, tokenguard.ErrUpstreamLimited)
	u.served(cached, plain)
	u.refusedUntil(until, tokenguard.ReasonUpstreamRateLimited, with(paused, token))
	assert.Equal(t, token.ID(), u.served(cached, with(paused, token)).Token.ID())
}

func TestScopesShareNothingButLimits(t *testing.T) {
	u := newUser(t)
	u.served(acquired, tokenguard.Request{Scope: "a"})
	u.refusedUntil(oddStart.Add(300*time.Second), tokenguard.ReasonMinInterval, tokenguard.Request{Scope: "b"})
	grant := u.served(acquired, tokenguard.Request{Scope: "b"})
	assert.Equal(t, "b", grant.Token.Scope())
	assert.Equal(t, tokenguard.Anonymous, grant.Token.Kind())
	assert.Equal(t, "a", u.served(cached, tokenguard.Request{Scope: "a"}).Token.Scope())
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	u := newUser(t, tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: 2}))
	scope := func(name string) tokenguard.Request { return tokenguard.Request{Scope: name} }
	u.served(acquired, scope("a"))
	u.clock.move(300 * time.Second)
	u.served(acquired, scope("b"))
	u.clock.move(300 * time.Second)
	u.served(cached, scope("a"))
	u.served(acquired, scope("c"))
	u.served(cached, scope("a"))
	u.served(cached, scope("c"))
	assert.Equal(t, 2, u.Stats().Cache.Size)
	_, err := u.Acquire(t.Context(), scope("b"))
	assert.ErrorIs(t, err, tokenguard.ErrRefused, "the window holds its 3 starts, and eviction frees none")
}

// RetryAt is when this caller could next have a token. The same report again confirms nothing, so after the 60 s the
// token in doubt is tried once more: a second refusal confirms, and it is replaced at once.
func TestWaitWithOneReportOfQuota(t *testing.T) {
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
func TestClocksOfTests(t *testing.T) {
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
func TestRetryAtWithRefreshAhead(t *testing.T) {
	u := newUser(t, quick, tokenguard.WithRefreshAhead(5*time.Minute))
	u.up.lifetime = 20 * time.Minute
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: noneLeft})
	u.refusedUntil(oddStart.Add(15*time.Minute-10*time.Second), tokenguard.ReasonTokenTooNew, plain)
	u.served(acquired, plain)
}

// The others are served where the predictor lifts a suspicion, so its veto closes nothing for them.
func TestRetryAtOfWhomThePredictorServes(t *testing.T) {
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
