package tokenguard_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// RetryAt is when this caller could next have a token. Who brings the same report again confirms nothing with it, so
// after the 60 s only the token's age helps; Wait would otherwise ask without a pause.
func TestAcceptWaitWithOneReportOfQuota(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		up.next = []tokenguard.RequestFunc{issuing("first", 24*time.Hour), issuing("second", 24*time.Hour)}
		began := time.Now()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		grant, err := g.Wait(t.Context(), with(outOfQuota, token))
		require.NoError(t, err)
		assert.Equal(t, "second", grant.Token.Value())
		assert.Equal(t, 30*time.Minute, time.Since(began))
	}, tokenguard.WithManager(tokenguard.ManagerConfig{ReplaceSpentEarly: true}), quick)
}
