package bootclock

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

func TestInBubble(t *testing.T) {
	assert.False(t, InBubble())
	synctest.Test(t, func(t *testing.T) {
		assert.True(t, InBubble())
		inner := make(chan bool)
		go func() { inner <- InBubble() }()
		assert.True(t, <-inner)
		time.Sleep(30 * 365 * 24 * time.Hour)
		assert.True(t, InBubble())
	})
	assert.False(t, InBubble())
}

// A machine without a battery, before NTP has set its clock: its wall clock is the bubble's, to the second. The reading
// is made as time.Now makes it there, by moving the wall part of a real one and leaving the monotonic part.
func TestMachineOfTheYear2000IsNoBubble(t *testing.T) {
	for _, wall := range []time.Time{
		time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2000, 1, 1, 0, 0, 7, 123, time.UTC),
		time.Date(2000, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC),
		time.Date(1886, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2156, 12, 31, 0, 0, 0, 0, time.UTC),
	} {
		before := time.Now()
		got := withWall(before, wall)
		assert.Equal(t, wall.UnixNano(), got.UnixNano())
		assert.Zero(t, got.Sub(before), "the monotonic reading is the real one")
		assert.False(t, faked(got), "%v", wall)
	}
	// Where a year has no room for a monotonic reading nothing can be told; then it is no bubble.
	assert.False(t, faked(time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)))
	assert.False(t, faked(time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)))
	// And what the bubble's clock reads is one in whatever year, the second included in which it starts.
	assert.True(t, faked(time.Unix(946684800, 0)))
	assert.True(t, faked(time.Now().Round(0)))
}

// withWall replaces the wall clock's part of a reading: seconds since 1885 in the bits 30 to 62, nanoseconds below.
func withWall(t, wall time.Time) time.Time {
	first := time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC)
	bits := (*uint64)(unsafe.Pointer(&t))
	*bits = 1<<63 | uint64(wall.Unix()-first.Unix())<<30 | uint64(wall.Nanosecond())
	return t
}

// What a real machine in that year reads, and not a made one, would need its clock set; the monotonic reading is there
// in every process, and this is what the rule rests on.
func TestTimeNowHasAMonotonicReading(t *testing.T) {
	for range 1000 {
		now := time.Now()
		assert.Contains(t, now.String(), " m=")
	}
	synctest.Test(t, func(t *testing.T) { assert.NotContains(t, time.Now().String(), " m=") })
}
