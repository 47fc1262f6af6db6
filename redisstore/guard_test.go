package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// newGuard makes a guard as a process of its own would: over a Store and a client of its own.
func newGuard(t testing.TB, addr string, request tokenguard.RequestFunc, opts ...tokenguard.Option) *tokenguard.Guard {
	t.Helper()
	store := newStore(t, newClient(t, addr))
	g, err := tokenguard.New(request, append([]tokenguard.Option{
		tokenguard.WithStore(store), tokenguard.WithName("n"), tokenguard.WithFreshness(time.Millisecond),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func reason(err error) tokenguard.Reason {
	var refused *tokenguard.RefusedError
	errors.As(err, &refused)
	if refused == nil {
		return ""
	}
	return refused.Verdict.Reason
}

// slack is how far the time that a decision took for now may be from the server's when it is committed.
var slack = defaults().timeout / 4

// While Redis is away a token that a process knows is served, who has none is told why, and nobody need do anything
// when it is back.
func TestGuardThroughAnOutage(t *testing.T) {
	server, up := startServer(t, "--appendonly", "yes", "--appendfsync", "always"), startUpstream(t, 0, time.Hour)
	knows, fresh := newGuard(t, server.addr(), fetchFrom(up.URL)), newGuard(t, server.addr(), fetchFrom(up.URL))
	token, err := knows.Token(t.Context())
	require.NoError(t, err)
	server.kill()
	for range 100 {
		again, err := knows.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, token.ID(), again.ID())
	}
	_, err = fresh.Token(t.Context())
	require.ErrorIs(t, err, tokenguard.ErrStore)
	require.Equal(t, tokenguard.ReasonStoreUnavailable, reason(err))
	require.Error(t, knows.Report(t.Context(), tokenguard.Outcome{
		TokenID: token.ID(), Failure: tokenguard.Failure{StatusCode: 401},
	}), "a report that must be stored says that it was not")
	server.start()
	eventually(t, "the fresh guard has the token", func() bool {
		grant, err := fresh.Acquire(t.Context(), tokenguard.Request{})
		return err == nil && grant.Token.Value() == token.Value()
	})
	require.Len(t, up.starts(), 1)
}

// Where the engine keeps its data, no fault leads to more starts than the limits allow, over all processes and as the
// upstream sees them; and once the faults end the guards go on by themselves.
func TestGuardLimitsHoldThroughFaults(t *testing.T) {
	const perHour, interval = 5, time.Second
	lasts := 3 * time.Second
	if os.Getenv("TOKENGUARD_LONG") != "" {
		lasts = 30 * time.Second
	}
	server := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	up := startUpstream(t, 20*time.Millisecond, time.Millisecond) // tokens that are no use to the next caller
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var wg sync.WaitGroup
	var proxies []*proxy
	var guards []*tokenguard.Guard
	for range 4 {
		p := startProxy(t, server.addr())
		g := newGuard(t, p.addr(), fetchFrom(up.URL), tokenguard.WithRateLimits(tokenguard.RateLimits{
			MaxRequestsPerHour: perHour, MaxRequestsPerDay: 20, MinInterval: interval, FailureBackoffBase: interval, MaxBackoff: interval,
		}))
		proxies, guards = append(proxies, p), append(guards, g)
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _ = g.Token(ctx)
					_ = pause(ctx, 5*time.Millisecond)
				}
			})
		}
	}
	killer := server.client()
	for ctx.Err() == nil {
		p := proxies[rand.N(len(proxies))]
		switch rand.N(6) {
		case 0:
			p.cut()
		case 1:
			p.loseAnswer(func() {})
		case 2:
			p.slow(rand.N(300 * time.Millisecond))
		case 3:
			_ = killer.ClientKillByFilter(ctx, "TYPE", "normal").Err()
		case 4:
			server.signal(syscall.SIGSTOP)
			_ = pause(ctx, rand.N(600*time.Millisecond))
			server.signal(syscall.SIGCONT)
		case 5:
			server.kill()
			server.start()
		}
		_ = pause(ctx, rand.N(200*time.Millisecond))
	}
	wg.Wait()
	for _, p := range proxies {
		p.slow(0)
	}
	for _, g := range guards {
		eventually(t, "the guard knows the state again", func() bool {
			_, err := g.Explain(t.Context(), tokenguard.Request{})
			return err == nil
		})
	}
	starts := up.starts()
	t.Logf("%d starts of %d in %v of faults", len(starts), perHour, lasts)
	require.NotEmpty(t, starts)
	require.LessOrEqual(t, len(starts), perHour)
	for i := 1; i < len(starts); i++ {
		require.GreaterOrEqual(t, starts[i].Sub(starts[i-1]), interval-slack, "the spacing, as the upstream sees it")
	}
}

// lossGuard is a guard for which only a loss closes the windows, and which looks on each call. Each call of these tests
// names a scope of its own, so that no token answers it: one too short-lived to answer the next call can also end before
// the call that acquired it has it, and that call then starts again.
func lossGuard(t *testing.T, s *server, up *upstream) *tokenguard.Guard {
	t.Helper()
	return newGuard(t, s.addr(), fetchFrom(up.URL), tokenguard.WithFreshness(0),
		tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: time.Nanosecond}))
}

func requireLost(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, tokenguard.ErrRateLimited)
	require.ErrorContains(t, err, "the state was lost")
}

// Where the engine lost everything, who was there counts the hour as full, and tells who comes later.
func TestGuardAfterALoss(t *testing.T) {
	server, up := startServer(t), startUpstream(t, 0, time.Hour)
	old := lossGuard(t, server, up)
	_, err := old.Acquire(t.Context(), tokenguard.Request{Scope: "a"})
	require.NoError(t, err)
	server.do("FLUSHALL")
	_, err = old.Acquire(t.Context(), tokenguard.Request{Scope: "b"})
	requireLost(t, err)
	newcomer := lossGuard(t, server, up)
	_, err = newcomer.Acquire(t.Context(), tokenguard.Request{Scope: "c"})
	requireLost(t, err)
	_, err = newcomer.Acquire(t.Context(), tokenguard.Request{Scope: "a"})
	require.NoError(t, err, "the token is not lost")
	require.Len(t, up.starts(), 1)
}

// The worst case: who comes first after the loss remembers nothing. It makes one start, and no further one once a
// process that knows better has looked.
func TestGuardThatComesFirstAfterALoss(t *testing.T) {
	server, up := startServer(t), startUpstream(t, 0, time.Hour)
	old := lossGuard(t, server, up)
	_, err := old.Acquire(t.Context(), tokenguard.Request{Scope: "a"})
	require.NoError(t, err)
	server.do("FLUSHALL")
	newcomer := lossGuard(t, server, up)
	_, err = newcomer.Acquire(t.Context(), tokenguard.Request{Scope: "b"})
	require.NoError(t, err)
	require.Len(t, up.starts(), 2)
	for _, g := range []*tokenguard.Guard{old, newcomer} {
		_, err = g.Acquire(t.Context(), tokenguard.Request{Scope: "c"})
		requireLost(t, err)
	}
	require.Len(t, up.starts(), 2)
}

// With a key, Redis holds no token; a process without the key has the limits all the same.
func TestGuardEncryptsItsTokens(t *testing.T) {
	server, up := startServer(t), startUpstream(t, 0, time.Hour)
	key := []byte("0123456789abcdef0123456789abcdef")
	holds := newGuard(t, server.addr(), fetchFrom(up.URL), tokenguard.WithEncryption(key))
	token, err := holds.Token(t.Context())
	require.NoError(t, err)
	require.NotContains(t, server.do("HGET", "tokenguard:{n}", "data"), token.Value())
	other := newGuard(t, server.addr(), fetchFrom(up.URL), tokenguard.WithEncryption(key))
	again, err := other.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, token.Value(), again.Value())
	_, err = newGuard(t, server.addr(), fetchFrom(up.URL)).Token(t.Context())
	require.ErrorIs(t, err, tokenguard.ErrRefused)
	require.Len(t, up.starts(), 1)
}

// An acquisition takes three round trips at most, and no call whose answer cannot have changed takes one.
func TestGuardRoundTrips(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		up := startUpstream(t, 0, time.Hour)
		update(t, newStore(t, newClient(t, addr)), write("")) // loads the scripts
		client, sent := countingClient(addr)
		defer client.Close()
		require.NoError(t, client.Del(t.Context(), "tokenguard:{n}").Err())
		g, err := tokenguard.New(fetchFrom(up.URL), tokenguard.WithStore(newStore(t, client)), tokenguard.WithName("n"),
			tokenguard.WithFreshness(time.Hour))
		require.NoError(t, err)
		defer g.Close()
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, sent.trips(), "a look, the charge and the end")
		for range 100 {
			_, err = g.Token(t.Context())
			require.NoError(t, err)
			_, err = g.Acquire(t.Context(), tokenguard.Request{Scope: "another"})
			require.ErrorIs(t, err, tokenguard.ErrRateLimited)
		}
		require.Zero(t, sent.trips())

		stale, err := tokenguard.New(fetchFrom(up.URL), tokenguard.WithStore(newStore(t, client)), tokenguard.WithName("n"),
			tokenguard.WithFreshness(0))
		require.NoError(t, err)
		defer stale.Close()
		_, err = stale.Token(t.Context())
		require.NoError(t, err)
		sent.trips()
		_, err = stale.Acquire(t.Context(), tokenguard.Request{Scope: "another"})
		require.ErrorIs(t, err, tokenguard.ErrRateLimited)
		require.Equal(t, 1, sent.trips(), "the look alone")
		require.Len(t, up.starts(), 1)
	})
}
