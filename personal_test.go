package tokenguard

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
)

// Of two callers that find the personal token due, the second may come to fetch it when the first has just done so.
func TestPersonalTokenIsNotFetchedTwiceForOneNeed(t *testing.T) {
	calls := 0
	g := newTestGuard(t, nil2, WithPersonalToken(func(context.Context) (Token, error) {
		calls++
		return NewTokenIn("mine", time.Hour), nil
	}))
	pv, due := g.personal.view(ledger.New(), "", g.meter.Read().Now)
	require.True(t, due)
	for range 3 {
		require.NoError(t, g.personal.refresh(t.Context(), pv.Fetches))
	}
	assert.Equal(t, 1, calls)
}
