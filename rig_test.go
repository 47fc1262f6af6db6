package tokenguard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Whatever a test does, no change reaches a record that documents share: one in 8 is looked at whenever a
// document is written, all of them in the long suites.
func init() {
	oneIn := amount(8, 1)
	ledger.CheckForms = func() bool { return rand.Uint64N(oneIn) == 0 }
}

// A test allocates much and keeps little: what is collected less often costs a run a fifth less.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	if err := flag.Set("rapid.checks", fmt.Sprint(amount(40, 100))); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// amount is how much of a test's seeds, days or rounds is played: few in an ordinary run, which has to stay below 30 s,
// and all under TOKENGUARD_LONG.
func amount(few, all uint64) uint64 {
	if os.Getenv("TOKENGUARD_LONG") != "" {
		return all
	}
	return few
}

// Failures whose class a reader knows without headers.
var (
	quota     = Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}
	unauth    = Failure{StatusCode: 401, Message: "invalid token"}
	banned    = Failure{StatusCode: 403, Message: "your account has been banned"}
	broken    = Failure{StatusCode: 503, Message: "service unavailable"}
	slow      = Failure{StatusCode: 429, Message: "too many requests, slow down"}
	allDay    = 24 * time.Hour
	testLease = 35 * time.Second
)

// upstream is a RequestFunc that counts. Without replies it issues "value-1", "value-2", ... of a day.
type upstream struct {
	mu      sync.Mutex
	calls   []Request
	replies []func(ctx context.Context, req Request) (Token, error)
}

func (u *upstream) request(ctx context.Context, req Request) (Token, error) {
	u.mu.Lock()
	n := len(u.calls)
	u.calls = append(u.calls, req)
	reply := func(context.Context, Request) (Token, error) {
		return NewTokenIn(fmt.Sprintf("value-%d", n+1), allDay), nil
	}
	if len(u.replies) > 0 {
		reply = u.replies[min(n, len(u.replies)-1)]
	}
	u.mu.Unlock()
	return reply(ctx, req)
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.calls)
}

func gives(value string, lifetime time.Duration) func(context.Context, Request) (Token, error) {
	return func(context.Context, Request) (Token, error) { return NewTokenIn(value, lifetime), nil }
}

func fails(f Failure) func(context.Context, Request) (Token, error) {
	return func(context.Context, Request) (Token, error) { return Token{}, Failed(f) }
}

// rig is a guard in a synctest bubble, where time passes when everybody sleeps.
type rig struct {
	t *testing.T
	*Guard
	up *upstream
}

func bubble(t *testing.T, f func(*testing.T, *rig), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, up: &upstream{}}
		r.Guard = r.open(opts...)
		f(t, r)
		require.NoError(t, r.Close())
	})
}

func (r *rig) open(opts ...Option) *Guard {
	r.t.Helper()
	g, err := New(r.up.request, opts...)
	require.NoError(r.t, err)
	return g
}

// must acquires a token.
func (r *rig) must(req Request) Grant {
	r.t.Helper()
	grant, err := r.Acquire(r.t.Context(), req)
	require.NoError(r.t, err)
	return grant
}

// no is refused for this reason.
func (r *rig) no(reason Reason, req Request) *RefusedError {
	r.t.Helper()
	grant, err := r.Acquire(r.t.Context(), req)
	require.Error(r.t, err, "served %v: %+v", grant.Token, grant.Verdict())
	var refused *RefusedError
	require.True(r.t, errors.As(err, &refused), "%v", err)
	require.Equal(r.t, reason, refused.Verdict.Reason, "%v", err)
	return refused
}

// together calls f with 0 to n-1 at once, so that what it commits is committed in few batches: a commit of each alone costs as
// much as all that the document holds by then.
func together(n int, f func(i int)) {
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() { f(i) })
	}
	calls.Wait()
}

// in is the time from now to an instant; -1 for the zero instant.
func in(at time.Time) time.Duration {
	if at.IsZero() {
		return -1
	}
	return time.Until(at)
}
