package timeline

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPlusSaturates(t *testing.T) {
	assert.Equal(t, Instant(3), Instant(1).Plus(2))
	assert.Equal(t, Instant(-1), Instant(1).Plus(-2))
	assert.Equal(t, Never, Instant(1).Plus(math.MaxInt64))
	assert.Equal(t, Never, Never.Plus(1))
	assert.Equal(t, Never-1, (Never - 2).Plus(1))
}

// Whatever a clock or an upstream says becomes an instant that compares as it should.
func TestUnixNanoClamps(t *testing.T) {
	for name, c := range map[string]struct {
		at   time.Time
		want Instant
	}{
		"now":            {time.Unix(1.8e9, 5), 1.8e18 + 5},
		"before 1970":    {time.Unix(-1, 0), -1e9},
		"the year 9999":  {time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), Never - 1},
		"the year 1000":  {time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), math.MinInt64 + 1},
		"a clock unset":  {time.Time{}, Instant(24 * time.Hour)},
		"unset, ticking": {time.Time{}.Add(time.Minute), Instant(24*time.Hour + time.Minute)},
	} {
		assert.Equal(t, c.want, UnixNano(c.at), name)
	}
}

// A meter that has drifted from the wall clock converts by durations, both ways.
func TestReading(t *testing.T) {
	zone := time.FixedZone("", 5*3600)
	r := Reading{Now: 1000e9, Wall: time.Unix(2000, 0).In(zone)}
	assert.Equal(t, Instant(1060e9), r.Instant(time.Unix(2060, 0)))
	assert.Equal(t, Instant(940e9), r.Instant(time.Unix(1940, 0)))
	assert.Equal(t, time.Unix(2060, 0).In(zone), r.Time(1060e9))
	assert.Equal(t, Instant(0), r.Instant(time.Time{}), "what was not stated stays so")
	assert.True(t, r.Time(0).IsZero())
	assert.True(t, r.Time(Never).IsZero())
	assert.Equal(t, Instant(1), r.Instant(time.Unix(1, 0)), "before the meter began is stated all the same")
	assert.Less(t, r.Instant(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), Never, "far away is not never")
	assert.Less(t, Reading{Now: 2000e9, Wall: time.Unix(1000, 0)}.Instant(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), Never)
}

// What must not last any longer ends as much earlier as the reading may be too late.
func TestEnd(t *testing.T) {
	r := Reading{Now: 1000e9, Wall: time.Unix(2000, 0), Doubt: 5 * time.Second}
	assert.Equal(t, Instant(995e9), r.Least())
	assert.Equal(t, Instant(1055e9), r.End(time.Unix(2060, 0)))
	assert.Equal(t, Instant(0), r.End(time.Time{}), "what was not stated stays so")
	assert.Equal(t, Instant(1), r.End(time.Unix(1002, 0)), "and what was stated does not become that")
}
