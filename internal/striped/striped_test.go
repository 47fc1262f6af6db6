package striped

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Goroutines that run at once must mostly have stripes of their own; each keeps within the bound.
func TestGoroutinesHaveStripesOfTheirOwn(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]int{}
	var all sync.WaitGroup
	release := make(chan struct{})
	for range 32 {
		all.Go(func() {
			stripe := Here()
			mu.Lock()
			seen[stripe]++
			mu.Unlock()
			<-release // their stacks must be alive together
		})
	}
	for {
		mu.Lock()
		n := 0
		for _, c := range seen {
			n += c
		}
		mu.Unlock()
		if n == 32 {
			break
		}
	}
	close(release)
	all.Wait()
	assert.Greater(t, len(seen), 12)
	for stripe := range seen {
		assert.Less(t, stripe, Stripes)
		assert.GreaterOrEqual(t, stripe, 0)
	}
}
