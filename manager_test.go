package tokenguard_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// quick are limits that let a test see past the limiter.
var quick = tokenguard.WithRateLimits(tokenguard.RateLimits{
	MaxRequestsPerHour: 100, MaxRequestsPerDay: 1000, MinInterval: time.Second, FailureBackoffBase: time.Second, MaxBackoff: time.Second,
})

func TestManagerRule1OutlivesTheReport(t *testing.T) {
	u := newUser(t)
	u.up.lifetime = 10 * time.Minute
	token := u.served(acquired, plain).Token
	u.clock.move(9 * time.Minute)
	paused := tooFast
	paused.At, paused.Header = u.now(), map[string][]string{"Retry-After": {"600"}}
	until := u.now().Add(10 * time.Minute)
	u.refused(tokenguard.ReasonUpstreamRateLimited, with(paused, token))
	u.clock.move(50 * time.Second)
	u.clock.move(70 * time.Second)
	// Whatever the next request of that operation says.
	own := with(serverDown, token)
	u.refused(tokenguard.ReasonUpstreamRateLimited, own)
	u.refusedUntil(until, tokenguard.ReasonUpstreamRateLimited, tokenguard.Request{Caller: own.Caller})
	u.served(acquired, tokenguard.Request{Caller: own.Caller})
}

func TestManagerRule1WithoutRetryAfter(t *testing.T) {
	u := newUser(t)
	f := tooFast
	f.At = u.now().Add(-20 * time.Second)
	u.refusedUntil(oddStart.Add(40*time.Second), tokenguard.ReasonUpstreamRateLimited, tokenguard.Request{Failure: f})
	u.served(acquired, plain)
}

func TestManagerRule2Forbidden(t *testing.T) {
	u := newUser(t)
	refusal := u.refused(tokenguard.ReasonForbidden, tokenguard.Request{Failure: accountBan})
	require.ErrorIs(t, refusal, tokenguard.ErrForbidden)
	assert.Equal(t, tokenguard.StepManager, refusal.Verdict.Step)
	_, ok := refusal.RetryAfter(u.now())
	assert.False(t, ok)
	u.served(acquired, plain)
}

func TestManagerRule4AnyFailureMayFetchTheFirst(t *testing.T) {
	for _, f := range []tokenguard.Failure{{}, outOfQuota, unauthorized, serverDown} {
		u := newUser(t)
		explained, err := u.Explain(t.Context(), tokenguard.Request{Failure: f})
		require.NoError(t, err)
		var reason tokenguard.Reason
		for _, v := range explained.Steps {
			if v.Step == tokenguard.StepManager {
				reason = v.Reason
			}
		}
		assert.Equal(t, tokenguard.ReasonNoToken, reason)
		assert.Equal(t, tokenguard.AnswerStart, explained.Verdict.Answer)
		u.served(acquired, tokenguard.Request{Failure: f})
	}
}

func TestManagerRule5To8(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	refusal := u.refused(tokenguard.ReasonTokenTooNew, with(outOfQuota, token))
	assert.ErrorIs(t, refusal, tokenguard.ErrNotNeeded)
	assert.Equal(t, token.ID(), refusal.Verdict.Evidence.TokenID)
	u.refusedUntil(oddStart.Add(30*time.Minute), tokenguard.ReasonTokenTooNew, with(outOfQuota, token))
	assert.NotEqual(t, token.ID(), u.served(acquired, with(outOfQuota, token)).Token.ID())
}

func TestManagerAboutTheNewestToken(t *testing.T) {
	u := newUser(t, quick)
	old := u.served(acquired, plain).Token
	u.report(tokenguard.Outcome{TokenID: old.ID()})
	u.clock.move(time.Minute)
	newest := u.served(acquired, with(unauthorized, old)).Token
	u.clock.move(time.Hour)
	assert.Equal(t, newest.ID(), u.served(cached, with(outOfQuota, old)).Token.ID())
	u.served(cached, with(unauthorized, old))
}

func TestManagerRefusedStaysRefusedWithoutFailure(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: noneLeft, Limit: 50})
	u.refused(tokenguard.ReasonTokenTooNew, plain)
	u.refused(tokenguard.ReasonTokenTooNew, with(noneLeft, token))
}

func TestManagerRecentAcquisition(t *testing.T) {
	u := newUser(t, quick, tokenguard.WithManager(tokenguard.ManagerConfig{MinTokenAge: time.Minute}))
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	u.refusedUntil(oddStart.Add(300*time.Second), tokenguard.ReasonRecentAcquisition, with(outOfQuota, token))
	u.served(acquired, with(outOfQuota, token))
}

func TestManagerResetsSoon(t *testing.T) {
	for _, test := range []struct {
		away time.Duration
		want tokenguard.Reason
	}{{30 * time.Minute, tokenguard.ReasonResetsSoon}, {30*time.Minute + 1, acquired}} {
		u := newUser(t, quick)
		token := u.served(acquired, plain).Token
		u.clock.move(30 * time.Minute)
		reset := u.now().Add(test.away)
		u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: noneLeft, Limit: 50, ResetAt: reset})
		if test.want == acquired {
			u.served(acquired, plain)
			continue
		}
		// One nanosecond later the reset is still soon; at the reset the token is back.
		got := u.refused(test.want, plain).Verdict.RetryAt
		assert.Equal(t, reset, got)
		u.clock.set(reset)
		u.served(cached, plain)
	}
}

// The upstream may state the reset as the wait of a used-up quota. Only a wait of seconds makes it a rate limit.
func TestManagerResetsSoonByRetryAfter(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	u.clock.move(31 * time.Minute)
	f := outOfQuota
	f.Header = map[string][]string{"Retry-After": {"600"}}
	got := u.refused(tokenguard.ReasonResetsSoon, with(f, token)).Verdict.RetryAt
	assert.Equal(t, u.now().Add(10*time.Minute), got)
	f.Header["Retry-After"] = []string{"60"}
	u.refused(tokenguard.ReasonUpstreamRateLimited, with(f, token))
}

func TestReplaceSpentEarly(t *testing.T) {
	u := newUser(t, quick, tokenguard.WithManager(tokenguard.ManagerConfig{ReplaceSpentEarly: true, RecentWindow: time.Second}))
	token := u.served(acquired, plain).Token
	u.clock.move(30 * time.Second)
	suspected := u.now()
	u.refusedUntil(suspected.Add(60*time.Second), tokenguard.ReasonTokenTooNew, with(outOfQuota, token))
	assert.NotEqual(t, token.ID(), u.served(acquired, with(outOfQuota, token)).Token.ID())
}

func TestPersonalTokenRules(t *testing.T) {
	calls := 0
	lifetime := time.Hour
	source := func(context.Context) (tokenguard.Token, error) {
		calls++
		defer func() { lifetime = 24 * time.Hour }()
		return tokenguard.NewTokenIn("personal-secret", lifetime), nil
	}
	u := newUser(t, tokenguard.WithPersonalToken(source))
	grant := u.served(tokenguard.ReasonPersonal, plain)
	assert.Equal(t, tokenguard.SourcePersonal, grant.Source)
	assert.Equal(t, tokenguard.Personal, grant.Token.Kind())
	u.served(tokenguard.ReasonPersonal, tokenguard.Request{Scope: "any"})
	u.served(tokenguard.ReasonPersonal, tokenguard.Request{Kind: tokenguard.Personal})
	u.clock.move(time.Hour - 10*time.Second - 1)
	u.served(tokenguard.ReasonPersonal, plain)
	require.Equal(t, 1, calls, "once per expiry")
	u.clock.move(1)
	u.served(tokenguard.ReasonPersonal, plain)
	require.Equal(t, 2, calls)
	assert.Zero(t, u.up.count())

	// Rejected: it is asked for once, and where it is the same one the others fall back to anonymous, never silently, and it
	// is tried again after an hour.
	u.clock.move(10 * time.Second)
	rejected := u.now()
	fallback := u.served(acquired, with(unauthorized, grant.Token))
	assert.Contains(t, fallback.Verdict().Detail, "personal")
	refusal := u.refused(tokenguard.ReasonPersonalUnavailable, tokenguard.Request{Kind: tokenguard.Personal})
	assert.ErrorIs(t, refusal, tokenguard.ErrNotNeeded)
	again := u.served(cached, plain)
	assert.Contains(t, again.Verdict().Detail, "personal")
	assert.Equal(t, tokenguard.Anonymous, again.Token.Kind())
	require.Equal(t, 3, calls)
	u.clock.set(rejected.Add(time.Hour - 1))
	u.served(cached, plain)
	u.clock.move(1)
	u.served(tokenguard.ReasonPersonal, plain)
	require.Equal(t, 4, calls)
}

func TestPersonalSpentUntilItsReset(t *testing.T) {
	u := newUser(t, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
		return tokenguard.NewToken("personal-secret", time.Time{}), nil
	}))
	personal := u.served(tokenguard.ReasonPersonal, plain).Token
	u.clock.move(time.Minute)
	reset := u.now().Add(10 * time.Minute)
	u.report(tokenguard.Outcome{TokenID: personal.ID(), Failure: noneLeft, Limit: 10, ResetAt: reset})
	u.refusedUntil(reset, tokenguard.ReasonPersonalUnavailable, tokenguard.Request{Kind: tokenguard.Personal})
	u.served(tokenguard.ReasonPersonal, plain)
}

func TestPersonalNeverStarts(t *testing.T) {
	u := newUser(t)
	refusal := u.refused(tokenguard.ReasonPersonalUnavailable, tokenguard.Request{Kind: tokenguard.Personal})
	assert.Equal(t, tokenguard.StepCache, refusal.Verdict.Step)
	assert.True(t, refusal.Verdict.RetryAt.IsZero())
	_, err := u.Wait(t.Context(), tokenguard.Request{Kind: tokenguard.Personal})
	assert.ErrorIs(t, err, tokenguard.ErrNotNeeded, "Wait returns at once")
}

func TestPersonalIsCoalesced(t *testing.T) {
	type key struct{}
	var mu sync.Mutex
	calls, enter := 0, make(chan struct{})
	u := newUser(t, tokenguard.WithPersonalToken(func(ctx context.Context) (tokenguard.Token, error) {
		mu.Lock()
		calls++
		mu.Unlock()
		<-enter
		if ctx.Value(key{}) != "caller's" {
			return tokenguard.Token{}, errors.New("not the caller's context")
		}
		return tokenguard.NewToken("personal-secret", time.Time{}), nil
	}))
	ctx := context.WithValue(t.Context(), key{}, "caller's")
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			grant, err := u.Acquire(ctx, plain)
			assert.NoError(t, err)
			assert.Equal(t, tokenguard.SourcePersonal, grant.Source)
		})
	}
	close(enter)
	group.Wait()
	assert.Equal(t, 1, calls)
}

func TestPredictorVeto(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	u.clock.move(2 * time.Hour)
	// Two refusals for quota among many successes: the level is neither critical nor exhausted.
	u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: outOfQuota})
	u.clock.move(10 * time.Second)
	for range 200 {
		u.clock.move(time.Second)
		u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: serverDown})
	}
	before := u.Stats().Predictor
	require.NotContains(t, []tokenguard.Level{tokenguard.LevelCritical, tokenguard.LevelExhausted}, before.Level, before.Reason)
	refusal := u.refused(tokenguard.ReasonQuotaSufficient, with(outOfQuota, token))
	assert.Equal(t, tokenguard.StepPredictor, refusal.Verdict.Step)
	assert.ErrorIs(t, refusal, tokenguard.ErrNotNeeded)
	assert.Greater(t, refusal.Verdict.Evidence.Confidence, 0.7)
	assert.Equal(t, token.ID(), u.served(cached, plain).Token.ID())
}

func TestPredictorNoOutcomeNoVeto(t *testing.T) {
	u := newUser(t, quick)
	token := u.served(acquired, plain).Token
	for range 200 {
		u.report(tokenguard.Outcome{TokenID: token.ID()})
		u.clock.move(10 * time.Second)
	}
	unnamed := with(outOfQuota, token)
	unnamed.Caller = ""
	assert.NotEqual(t, token.ID(), u.served(acquired, unnamed).Token.ID())
}

func TestRefreshAhead(t *testing.T) {
	u := newUser(t, tokenguard.WithRefreshAhead(10*time.Minute))
	u.up.lifetime = time.Hour
	old := u.served(acquired, plain).Token
	u.clock.move(50*time.Minute - 10*time.Second - 1)
	u.served(cached, plain)
	u.clock.move(10*time.Second + 1)
	u.up.next = []tokenguard.RequestFunc{nil, failing(serverDown)}
	// The one caller's attempt fails, or is refused: the old token serves.
	grant, err := u.Acquire(t.Context(), plain)
	require.NoError(t, err)
	assert.Equal(t, old.ID(), grant.Token.ID())
	assert.Equal(t, 2, u.up.count())
	u.served(cached, plain)
	assert.Equal(t, 2, u.up.count())
}

// "falling back to anonymous stands in the verdict, never silent": whatever the fallback is for.
func TestPersonalFallbackIsNeverSilent(t *testing.T) {
	mine := tokenguard.NewToken("personal-secret", time.Time{})
	other := mine
	other = other.WithScope("other")
	works := func(context.Context) (tokenguard.Token, error) { return mine, nil }
	for name, test := range map[string]struct {
		source func(context.Context) (tokenguard.Token, error)
		used   bool // the personal token was served before
		req    tokenguard.Request
	}{
		"this caller's was refused for quota":    {works, true, with(outOfQuota, mine)},
		"this caller's was refused just now":     {works, true, with(unauthorized, mine)},
		"the function fails":                     {func(context.Context) (tokenguard.Token, error) { return tokenguard.Token{}, errors.New("no") }, false, plain},
		"the function gives nothing":             {func(context.Context) (tokenguard.Token, error) { return tokenguard.Token{}, nil }, false, plain},
		"the function panics":                    {func(context.Context) (tokenguard.Token, error) { panic("no") }, false, plain},
		"the personal token is of another scope": {func(context.Context) (tokenguard.Token, error) { return other, nil }, false, plain},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t, tokenguard.WithPersonalToken(test.source))
			require.NoError(t, u.Adopt(t.Context(), tokenguard.NewTokenIn("anonymous-secret", time.Hour)))
			if test.used {
				u.served(tokenguard.ReasonPersonal, plain)
			}
			grant := u.served(cached, test.req)
			assert.Equal(t, tokenguard.Anonymous, grant.Token.Kind())
			assert.Contains(t, grant.Verdict().Detail, "personal token")
			assert.Contains(t, grant.Verdict().Detail, "anonymous")
		})
	}
}

// A report comes first, also in Explain: who says that the personal token is invalid may have an anonymous one.
func TestExplainOfAReportAboutThePersonalToken(t *testing.T) {
	u := newUser(t, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
		return tokenguard.NewToken("personal-secret", time.Time{}), nil
	}))
	mine := u.served(tokenguard.ReasonPersonal, plain).Token
	u.clock.move(time.Minute)
	e, err := u.Explain(t.Context(), with(unauthorized, mine))
	require.NoError(t, err)
	assert.Equal(t, tokenguard.AnswerStart, e.Verdict.Answer, e.Verdict.Detail)
	u.served(acquired, with(unauthorized, mine))
}

// A rate_limited is about the key of the token that it was reported of.
func TestPauseOfAPersonalTokensScope(t *testing.T) {
	mine := tokenguard.NewToken("personal-secret", time.Time{})
	mine = mine.WithScope("mine")
	u := newUser(t, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) { return mine, nil }))
	u.served(tokenguard.ReasonPersonal, scoped("mine"))
	u.report(tokenguard.Outcome{TokenID: mine.ID(), Failure: tooFast})
	u.served(acquired, plain)
	e, err := u.Explain(t.Context(), scoped("mine"))
	require.NoError(t, err)
	assert.Equal(t, tokenguard.ReasonUpstreamRateLimited, e.Steps[3].Reason)
}
