package predict

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Successes that were counted apart and merged are the same as those that were counted one by one.
func TestBatchIsUsage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var one, merged Usage
	for range 200 {
		var b Batch
		assert.Zero(t, b.Usage())
		span := int64(r.IntN(40)) * int64(10*time.Second)
		if r.IntN(20) == 0 {
			span = -span
		}
		for range 1 + r.IntN(5) {
			at, latency := span+r.Int64N(int64(10*time.Second)), time.Duration(r.Int64N(int64(2*time.Hour)))
			if r.IntN(3) == 0 {
				latency = 0
			}
			require.True(t, b.Add(at, latency))
			one.Add(Outcome{At: at, Latency: latency})
		}
		assert.False(t, b.Add(span+int64(10*time.Second)+int64(time.Hour), 0), "another span")
		merged.Merge(b.Usage())
		require.Equal(t, one, merged)
		one, merged = one.Clone(), merged.Clone()
	}
	require.NotEmpty(t, one.Cells)
}
