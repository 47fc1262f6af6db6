package tokenguard

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Publishing a revision and handing out its answers happen on many goroutines: none may bring an old table back.
func TestNewestTableStands(t *testing.T) {
	g, _, token := stormGuard(t, WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				_ = g.Report(context.Background(), Outcome{TokenID: token.ID(), Failure: Failure{StatusCode: 429, Message: quotaText}})
				_ = g.Clear(context.Background(), Clear{Suspicion: "*"})
				_, _ = g.Acquire(context.Background(), Request{Scope: "held"})
			}
		})
	}
	all.Wait()
	require.Same(t, g.newest(), g.hot.table.Load().state)
}

// Scopes that lie at one place of the hot table keep their own tokens.
func TestHotScopesKeepApart(t *testing.T) {
	g, err := New(func(_ context.Context, req Request) (Token, error) {
		return NewTokenIn("secret of "+req.Scope, time.Hour), nil
	}, WithRateLimits(RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond}))
	require.NoError(t, err)
	defer g.Close()
	scopes := []string{"", "a", "aa", "ba", "ca", "x:pull", "y:pull"}
	for range 3 {
		for _, scope := range scopes {
			grant, err := g.Acquire(t.Context(), Request{Scope: scope})
			require.NoError(t, err)
			require.Equal(t, "secret of "+scope, grant.Token.Value())
		}
	}
	for _, scope := range scopes {
		require.NotNil(t, g.hot.lookup(scope), "scope %q is on the hot path", scope)
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Acquire(context.Background(), Request{Scope: scope, Caller: "c"}) }))
	}
	require.Nil(t, g.hot.lookup("da"))
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Token(context.Background()) }))
}

// A token that another process acquired is on the hot path once it was handed out.
func TestHotPathTakesInTokensFromElsewhere(t *testing.T) {
	store := NewMemoryStore()
	for i := range 2 {
		g, err := New(func(context.Context, Request) (Token, error) { return NewTokenIn("secret of one", time.Hour), nil },
			WithStore(store), WithName("two"), WithFreshness(time.Hour))
		require.NoError(t, err)
		defer g.Close()
		grant, err := g.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		require.Equal(t, []Source{SourceRequest, SourceShared}[i], grant.Source)
		require.NotNil(t, g.hot.lookup(""))
		grant, err = g.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		require.Equal(t, SourceCache, grant.Source)
	}
}
