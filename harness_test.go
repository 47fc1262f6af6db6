package tokenguard_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

var amount = tokenguard.Amount

// The acceptance tests see what a user sees: the exported names and a clock that only tells the time. They are
// ordered as the promises are: steps, limits, names, state.

// handClock is moved by hand. It starts at an odd nanosecond in a zone of its own, since an exact instant must stay
// exact there, too.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

var oddStart = time.Date(2026, 3, 14, 15, 9, 26, 535897931, time.FixedZone("NPT", 20700))

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *handClock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = at
}

// bubbleClock is the wall clock of a synctest bubble.
type bubbleClock struct{}

func (bubbleClock) Now() time.Time { return time.Now() }

var (
	outOfQuota   = tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}
	noneLeft     = tokenguard.Failure{StatusCode: 429, Message: "free quota used up", Header: map[string][]string{"X-Ratelimit-Remaining": {"0"}}}
	unauthorized = tokenguard.Failure{StatusCode: 401, Message: "invalid token"}
	accountBan   = tokenguard.Failure{StatusCode: 403, Message: "your account has been banned"}
	serverDown   = tokenguard.Failure{StatusCode: 503, Message: "service unavailable"}
	tooFast      = tokenguard.Failure{StatusCode: 429, Message: "too many requests, slow down"}
	badRequest   = tokenguard.Failure{StatusCode: 400, Message: "invalid parameter: model"}
)

// origin is a RequestFunc that counts its calls and issues "secret-value-1", "secret-value-2", ...
type origin struct {
	mu       sync.Mutex
	lifetime time.Duration
	starts   []tokenguard.Request
	// next answers the calls in turn; the last one stays.
	next []tokenguard.RequestFunc
}

func (o *origin) request(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
	o.mu.Lock()
	o.starts = append(o.starts, req)
	n, lifetime := len(o.starts), o.lifetime
	var reply tokenguard.RequestFunc
	if len(o.next) > 0 {
		reply = o.next[min(n, len(o.next))-1]
	}
	o.mu.Unlock()
	if reply != nil {
		return reply(ctx, req)
	}
	return tokenguard.NewTokenIn(fmt.Sprintf("secret-value-%d", n), lifetime), nil
}

func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.starts)
}

func failing(f tokenguard.Failure) tokenguard.RequestFunc {
	return func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, tokenguard.Failed(f)
	}
}

func issuing(value string, lifetime time.Duration) tokenguard.RequestFunc {
	return func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn(value, lifetime), nil
	}
}

// user is who calls a guard in these tests.
type user struct {
	t *testing.T
	*tokenguard.Guard
	clock *handClock
	up    *origin
}

func newUser(t *testing.T, opts ...tokenguard.Option) *user {
	t.Helper()
	u := &user{t: t, clock: &handClock{now: oddStart}, up: &origin{lifetime: 24 * time.Hour}}
	u.Guard = u.open(opts...)
	return u
}

// open opens one more guard on the same clock and upstream.
func (u *user) open(opts ...tokenguard.Option) *tokenguard.Guard {
	u.t.Helper()
	g, err := tokenguard.New(u.up.request, append([]tokenguard.Option{tokenguard.WithClock(u.clock)}, opts...)...)
	require.NoError(u.t, err)
	u.t.Cleanup(func() { assert.NoError(u.t, g.Close()) })
	return g
}

func (u *user) now() time.Time { return u.clock.Now() }

// served expects a token for this reason, and that Explain says so first.
func (u *user) served(reason tokenguard.Reason, req tokenguard.Request) tokenguard.Grant {
	u.t.Helper()
	grant, err := u.Acquire(u.t.Context(), req)
	require.NoError(u.t, err)
	require.Equal(u.t, reason, grant.Verdict().Reason, grant.Verdict().Detail)
	require.NotEmpty(u.t, grant.Token.Value())
	return grant
}

// refused expects a refusal for this reason, and that Explain foresees the same verdict without changing anything.
func (u *user) refused(reason tokenguard.Reason, req tokenguard.Request) *tokenguard.RefusedError {
	u.t.Helper()
	rev := u.Stats().Store.Revision
	foreseen, err := u.Explain(u.t.Context(), req)
	require.NoError(u.t, err)
	require.Equal(u.t, rev, u.Stats().Store.Revision, "Explain wrote")
	before := u.up.count()
	grant, err := u.Acquire(u.t.Context(), req)
	require.Error(u.t, err, "served %v: %+v", grant.Token, grant.Verdict())
	require.ErrorIs(u.t, err, tokenguard.ErrRefused)
	var refusal *tokenguard.RefusedError
	require.ErrorAs(u.t, err, &refusal)
	require.Equal(u.t, reason, refusal.Verdict.Reason, refusal.Verdict.Detail)
	require.Equal(u.t, refusal.Verdict, foreseen.Verdict)
	require.Equal(u.t, before, u.up.count())
	wait, ok := refusal.RetryAfter(u.now())
	require.Equal(u.t, !refusal.Verdict.RetryAt.IsZero(), ok)
	require.GreaterOrEqual(u.t, wait, time.Duration(0))
	return refusal
}

// refusedUntil expects the same refusal up to the last nanosecond before at, and moves the clock to at.
func (u *user) refusedUntil(at time.Time, reason tokenguard.Reason, req tokenguard.Request) {
	u.t.Helper()
	got := u.refused(reason, req).Verdict.RetryAt
	require.True(u.t, got.Equal(at), "RetryAt is %v, %v after %v", got, got.Sub(at), at)
	assert.Equal(u.t, at, got, "the instant is as the clock writes it")
	u.clock.set(at.Add(-time.Nanosecond))
	_, err := u.Acquire(u.t.Context(), req)
	require.ErrorIs(u.t, err, tokenguard.ErrRefused, "1 ns too early")
	u.clock.set(at)
}

// fails expects an acquisition that is started and fails.
func (u *user) fails(req tokenguard.Request) *tokenguard.RequestError {
	u.t.Helper()
	before := u.up.count()
	_, err := u.Acquire(u.t.Context(), req)
	var failed *tokenguard.RequestError
	require.ErrorAs(u.t, err, &failed)
	require.NotErrorIs(u.t, err, tokenguard.ErrRefused)
	require.Equal(u.t, before+1, u.up.count())
	return failed
}

func (u *user) report(o tokenguard.Outcome) {
	u.t.Helper()
	require.NoError(u.t, u.Report(u.t.Context(), o))
}

// with is a request that reports a failure of this token.
func with(f tokenguard.Failure, failing tokenguard.Token) tokenguard.Request {
	return tokenguard.Request{Caller: "test", Failure: f, Failing: failing.ID()}
}

var plain tokenguard.Request
