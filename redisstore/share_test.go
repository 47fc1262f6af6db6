package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// Two processes that lose the engine together start no more than the whole budget, and tell it afterwards.
func TestGuardsKeepToTheirShares(t *testing.T) {
	server, up := startServer(t, "--appendonly", "yes", "--appendfsync", "always"), startUpstream(t, 0, time.Hour)
	half := func() *tokenguard.Guard {
		soon := newStore(t, server.client(), WithTimeout(400*time.Millisecond)) // each look at nobody takes as long
		return newGuard(t, server.addr(), fetchFrom(up.URL), tokenguard.WithStore(soon), tokenguard.WithFailOpenToLocalShare(2),
			tokenguard.WithFreshness(0), tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 4, MinInterval: time.Nanosecond}))
	}
	ask := func(g *tokenguard.Guard, scope string) error {
		_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: scope})
		return err
	}
	a, b := half(), half()
	require.NoError(t, ask(a, "common"))
	require.NoError(t, ask(b, "common"))
	server.kill()
	require.NoError(t, ask(a, "of a"))
	require.NoError(t, ask(b, "of b"))
	for _, g := range []*tokenguard.Guard{a, b} {
		require.NoError(t, ask(g, "common"))
		err := ask(g, "one more")
		require.Equal(t, tokenguard.ReasonHourLimit, reason(err))
		require.ErrorContains(t, err, "its share of 1/2")
	}
	require.ErrorIs(t, ask(half(), "common"), tokenguard.ErrStore, "who has seen nothing bounds nothing")
	require.Len(t, up.starts(), 3)

	server.start()
	eventually(t, "both have told what they started, and share the tokens", func() bool {
		atA, atB := ask(a, "of b"), ask(b, "of a")
		return atA == nil && atB == nil
	})
	require.Equal(t, tokenguard.ReasonHourLimit, reason(ask(a, "one more")), "the share holds for an hour more")
	newcomer := half()
	require.NoError(t, ask(newcomer, "of b"))
	require.Equal(t, 3, newcomer.Stats().Acquisitions.Hour.Used)
	require.Len(t, up.starts(), 3)
}
