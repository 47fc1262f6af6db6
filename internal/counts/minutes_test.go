package counts

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Each call counts in the minute in which it ended, as far as the slow path was taken in it; minutes without one are left
// out, those beyond the last two hours are forgotten, and what is returned is the caller's own.
func TestMinutes(t *testing.T) {
	var m Minutes
	var sum Sums
	zone := time.FixedZone("", 2*60*60)
	begin := time.Date(2026, 1, 1, 10, 0, 30, 0, zone)
	sums := func() Sums { return sum }
	at := func(d time.Duration, calls Sums) { // a call on the slow path, which notes before it counts
		m.Note(begin.Add(d), sums)
		for i := range sum {
			sum[i] += calls[i]
		}
	}
	minute := func(n int, calls Sums) Minute {
		return Minute{time.Date(2026, 1, 1, 10, n, 0, 0, zone), calls}
	}
	last := func(d time.Duration) []Minute {
		all := m.Last(begin.Add(d), sums)
		for i := range all {
			all[i].Start = all[i].Start.In(zone)
		}
		return all
	}
	assert.Empty(t, last(0), "nothing was called")
	at(0, Sums{1, 2, 3})
	assert.Equal(t, []Minute{minute(0, Sums{1, 2, 3})}, last(time.Second), "the present minute, too")
	at(30*time.Second-1, Sums{1, 0, 0})
	at(30*time.Second, Sums{0, 1, 0})
	at(3*time.Minute, Sums{0, 0, 4})
	want := []Minute{minute(0, Sums{2, 2, 3}), minute(1, Sums{0, 1, 0}), minute(3, Sums{0, 0, 4})}
	assert.Equal(t, want, last(3*time.Minute))
	assert.Equal(t, want, last(10*time.Minute), "a minute without a call is none")
	last(10 * time.Minute)[0].Calls[0] = 99
	assert.Equal(t, want, last(10*time.Minute), "a caller's changes are its own")

	at(2*time.Minute, Sums{1, 0, 0}) // the clock stepped back: the minute that was begun goes on
	want = append(want, minute(10, Sums{1, 0, 0}))
	assert.Equal(t, want, last(10*time.Minute))

	edge := MinutesKept*time.Minute - 30*time.Second
	assert.Equal(t, want, last(edge), "the first minute began two hours ago")
	assert.Equal(t, want[1:], last(edge+1))
	for i := range 3 * MinutesKept {
		at(time.Duration(11+i)*time.Minute, Sums{1, 0, 0})
	}
	assert.LessOrEqual(t, len(m.past), MinutesKept)
	assert.Len(t, last((10+3*MinutesKept)*time.Minute), MinutesKept)
}
