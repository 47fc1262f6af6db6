package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// Renewals take hours. So these tests run guards in a bubble's time over a real server, which is told the time: its scripts
// read it from a key, that each client sets before each of its commands. Nothing else of the server is replaced, and a
// bubble's clock stands still while it is asked.

// clockKey holds the server's time as TIME gives it.
const clockKey = "clock"

// tellsTime is what a client does before each command.
type tellsTime struct {
	direct *redis.Client
	skew   time.Duration // of the server's clock, against that of the processes
}

func (h tellsTime) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h tellsTime) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h tellsTime) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		now := time.Now().Add(h.skew)
		if err := h.direct.HSet(ctx, clockKey, "s", now.Unix(), "us", now.Nanosecond()/1000).Err(); err != nil {
			return err
		}
		return next(ctx, cmd)
	}
}

// toldTime makes the scripts of this test read the key.
func toldTime(t *testing.T) {
	t.Helper()
	read, update := readScript, updateScript
	t.Cleanup(func() { readScript, updateScript = read, update })
	told := func(source string) *redis.Script {
		const asks = "redis.call('TIME')"
		require.Equal(t, 1, strings.Count(source, asks))
		return redis.NewScript(strings.Replace(source, asks, "redis.call('HMGET', '"+clockKey+"', 's', 'us')", 1))
	}
	readScript, updateScript = told(readSource), told(updateSource)
}

// accountWorld is an upstream of accounts, and processes that share a document on one server.
type accountWorld struct {
	*tokenguardtest.Upstream
	t       *testing.T
	server  string
	time    tellsTime
	name    string
	clients map[string]*redis.Client
}

// unwatched hides Watch: a subscription waits for the network all the time, and a bubble's clock would stand still with it.
// Guards look again by themselves.
type unwatched struct {
	tokenguard.Store
	tokenguard.Revisioner
}

// process starts a guard over the server at addr, as a process of its own would.
func (w *accountWorld) process(addr string, opts ...tokenguard.Option) *tokenguard.Guard {
	w.t.Helper()
	client := w.clients[addr]
	if client == nil { // one for all processes: they are started anew thousands of times
		client = newClient(w.t, addr)
		client.AddHook(w.time)
		w.clients[addr] = client
	}
	store := newStore(w.t, client)
	g, err := tokenguard.New(w.signUp(), append([]tokenguard.Option{
		tokenguard.WithStore(unwatched{store, store}), tokenguard.WithName(w.name),
	}, opts...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = g.Close() })
	return g
}

func (w *accountWorld) signUp() tokenguard.RequestFunc {
	return tokenguardtest.RequestFunc(w.Client(), "http://upstream.example")
}

func (w *accountWorld) renew() tokenguard.RenewalFunc {
	return tokenguardtest.RenewalFunc(w.Client(), "http://upstream.example")
}

// renewing starts a guard that renews.
func (w *accountWorld) renewing(opts ...tokenguard.Option) *tokenguard.Guard {
	w.t.Helper()
	return w.process(w.server, append([]tokenguard.Option{tokenguard.WithRenewal(w.renew())}, opts...)...)
}

// orderly requires that each refresh token was presented once and renewed, and none before the answer to the one before.
func (w *accountWorld) orderly() []tokenguardtest.Presentation {
	w.t.Helper()
	all := w.Presentations()
	seen := map[string]bool{}
	for i, p := range all {
		require.Equal(w.t, tokenguardtest.Renewed, p.Result)
		require.False(w.t, seen[p.RefreshToken], "%s was presented twice", p.RefreshToken)
		seen[p.RefreshToken] = true
		require.False(w.t, i > 0 && p.Began.Before(all[i-1].Ended), "two at the same time")
	}
	return all
}

// refused requires a refusal for this reason, that holds until then by the clock of the process.
func (w *accountWorld) refused(g *tokenguard.Guard, want tokenguard.Reason, until time.Time) {
	w.t.Helper()
	_, err := g.Token(w.t.Context())
	e, _ := errors.AsType[*tokenguard.RefusedError](err)
	require.NotNil(w.t, e, "%v", err)
	require.Equal(w.t, want, e.Verdict.Reason, "%v", err)
	require.WithinDuration(w.t, until, e.Verdict.RetryAt, tick)
}

// tick is what times that went through the server's microseconds may differ by.
const tick = time.Millisecond

// skewed runs test in bubbles of their own, with the server's clock behind that of the processes, like it, and ahead.
func skewed(t *testing.T, policy *tokenguardtest.Upstream, test func(t *testing.T, w *accountWorld)) {
	t.Helper()
	toldTime(t)
	addr := startServer(t).addr()
	for name, skew := range map[string]time.Duration{"behind": -300 * time.Second, "like": 0, "ahead": 300 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &tokenguardtest.Upstream{Lifetime: policy.Lifetime, Rotation: policy.Rotation, Quota: policy.Quota,
					IssueLimit: policy.IssueLimit, IssueWindow: policy.IssueWindow}
				test(t, &accountWorld{Upstream: u, t: t, server: addr, time: tellsTime{newClient(t, addr), skew}, name: name,
					clients: map[string]*redis.Client{}})
			})
		})
	}
}
