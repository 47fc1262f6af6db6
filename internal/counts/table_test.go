package counts

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/striped"
)

func newTable() *Table { return &Table{Counters: new(striped.Counters)} }

func place(t *Table, name string) *Place {
	p, _ := t.Of(name)
	return p
}

// A flood of names that come once takes the place of none that comes often, and nothing is lost from the sums.
func TestFlood(t *testing.T) {
	table := newTable()
	for i := range 10_000 {
		place(table, fmt.Sprint("flood ", i)).Refused(i%4, 1)
		if i%3 == 0 {
			place(table, "often").Refused(i%4, 1)
		}
	}
	byName, rest := table.Now()
	assert.EqualValues(t, 3334, byName["often"].Refused)
	assert.Len(t, byName, Kept)
	sum := rest.Refused
	for _, c := range byName {
		sum += c.Refused
	}
	assert.EqualValues(t, 13_334, sum)
}

// A name that lost its place counts no more for itself, and its call that is under way is not lost.
func TestPlaceIsHandedOn(t *testing.T) {
	table := newTable()
	old := place(table, "old")
	old.Refused(0, 1)
	for i := range Kept {
		place(table, fmt.Sprint(i)).Refused(0, 2)
	}
	byName, rest := table.Now()
	assert.NotContains(t, byName, "old")
	assert.EqualValues(t, 1, rest.Refused)
	old.Refused(0, 1) // by an answer that was remembered
	byName, rest = table.Now()
	sum := rest.Refused
	for _, c := range byName {
		sum += c.Refused
	}
	assert.EqualValues(t, 2*Kept+2, sum)
}

// The name that is displaced is one that counts least, also where that is known without a look at all.
func TestTheLeastIsDisplaced(t *testing.T) {
	table := newTable()
	counts, moved := map[string]int64{}, 0
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		name := fmt.Sprint(int(random.ExpFloat64() * Kept))
		place, displaced := table.Of(name)
		if displaced != nil {
			moved++
			for other, n := range counts {
				if counts[*displaced] > n {
					t.Fatalf("%s was displaced, not %s", *displaced, other)
				}
			}
			delete(counts, *displaced)
		}
		hits := random.IntN(3)
		for range hits {
			place.Hits(Cached).Add()
		}
		counts[name] += int64(hits)
		byName, _ := table.Now()
		require.Len(t, byName, len(counts))
	}
	assert.Greater(t, moved, 100)
}
