package striped

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCountersCountForTheirPlaces(t *testing.T) {
	const many = 3*row + 1 // of several blocks
	var block Counters
	var both, one Shared
	assert.Zero(t, both.Sum())
	var all []*Counter
	for range many {
		all = append(all, block.Next())
		both.Add(all[len(all)-1])
	}
	one.Add(all[3])
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 1000 {
				for _, counter := range all {
					if n := counter.Add(); n <= 0 { // assert costs ten times as much as the addition
						t.Error(n)
					}
				}
			}
		})
	}
	callers.Wait()
	assert.EqualValues(t, 8000*many, both.Sum())
	assert.EqualValues(t, 8000, one.Sum())
	all[3].AddTo(5, -7)
	assert.EqualValues(t, 7993, one.Sum())
	for i, counter := range all {
		if i != 3 {
			assert.EqualValues(t, 8000, counter.Sum())
		}
	}
}
