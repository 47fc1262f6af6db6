package striped

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCountersCountForTheirPlaces(t *testing.T) {
	var block Counters
	var both, one Shared
	assert.Zero(t, both.Sum())
	var all []*Counter
	for counter := block.Next(); counter != nil; counter = block.Next() {
		all = append(all, counter)
		both.Add(counter)
	}
	require.Len(t, all, counters)
	one.Add(all[3])
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 1000 {
				for _, counter := range all {
					assert.Positive(t, counter.Add())
				}
			}
		})
	}
	callers.Wait()
	assert.EqualValues(t, 8000*counters, both.Sum())
	assert.EqualValues(t, 8000, one.Sum())
}
