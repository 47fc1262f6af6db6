package tokenguard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfigAndAttempts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		want := Conservative()
		want.RateLimit.MaxRequestsPerHour = 5
		assert.Equal(t, want, r.Config())

		start := time.Now()
		r.must(Request{})
		time.Sleep(time.Hour)
		require.NoError(t, r.Adopt(t.Context(), NewTokenIn("adopted elsewhere", time.Hour)))
		attempts, err := r.Attempts(t.Context())
		require.NoError(t, err)
		require.Len(t, attempts, 2)
		assert.WithinDuration(t, start, attempts[0].Start, time.Second)
		assert.Equal(t, AttemptSucceeded, attempts[0].State)
		assert.Equal(t, AttemptAdopted, attempts[1].State)

		time.Sleep(23*time.Hour + time.Minute)
		attempts, err = r.Attempts(t.Context())
		require.NoError(t, err)
		assert.Len(t, attempts, 1, "the first has left the day window")
	}, WithRateLimits(RateLimits{MaxRequestsPerHour: 5}))
}

func TestExplainAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		require.NoError(t, r.Close())
		_, err := r.Explain(t.Context(), Request{})
		require.ErrorIs(t, err, ErrClosed)
	})
}
