package tokenguard

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/replica"
)

// A table begins small, grows with what is asked for, and what it had stays a hit without the clock.
func TestTableGrowsWithWhatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const scopes = 5 * firstScopes
		g, err := New(func(_ context.Context, req Request) (Token, error) {
			return NewTokenIn("a token of "+req.Scope, 5*time.Hour), nil
		}, WithCache(CacheConfig{MaxTokens: 1000}), WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000, MinInterval: time.Nanosecond}))
		require.NoError(t, err)
		defer g.Close()
		for i := range scopes {
			time.Sleep(time.Second)
			_, err := g.Acquire(t.Context(), Request{Scope: fmt.Sprint(i)})
			require.NoError(t, err)
		}
		_, err = g.replica.Commit(t.Context(), func(d *replica.Draft) bool { d.Doc.Counts.Starts++; return true })
		require.NoError(t, err)
		table := g.cache.table.Load()
		assert.LessOrEqual(t, len(table.scopes.slots), 8*firstScopes)
		before := map[int]*entry{}
		for i := range scopes {
			e := g.cache.lookup(fmt.Sprint(i), "")
			require.NotNil(t, e, "a hit at once: %d", i)
			require.Equal(t, "a token of "+fmt.Sprint(i), e.grant.Token.Value())
			before[i] = e
			larger := g.cache.table.Load()
			require.GreaterOrEqual(t, len(larger.scopes.slots), 4*(i+1), "at most a quarter full")
			require.Same(t, table.term.Load(), larger.term.Load())
			require.Equal(t, i+1, larger.scopes.used)
		}
		require.NotSame(t, table, g.cache.table.Load(), "it grew")
		for i, e := range before {
			require.Same(t, e, g.cache.lookup(fmt.Sprint(i), ""))
			require.True(t, e.lent(1))
		}
		assert.EqualValues(t, 2*scopes, g.Stats().Cache.Hits)
	})
}
