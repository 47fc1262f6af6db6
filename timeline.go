package tokenguard

import (
	"math"
	"time"
)

// instant is Unix nanoseconds on the guard's meter. The meter is only ever compared and subtracted; door-side times
// are converted on the way in and out.
type instant int64

const never instant = math.MaxInt64

// plus adds without overflow: never stays never.
func (t instant) plus(d time.Duration) instant {
	if d > 0 && int64(t) > math.MaxInt64-int64(d) {
		return never
	}
	return t + instant(d)
}

func (t instant) sub(u instant) time.Duration { return time.Duration(t - u) }

// unixNano clamps instants beyond the years 1678 and 2262 to what 64 bits of nanoseconds hold. A fake clock that was
// never set counts on from the zero Time.
func unixNano(t time.Time) instant {
	const lo, hi = math.MinInt64 / int64(time.Second), math.MaxInt64 / int64(time.Second)
	switch s := t.Unix(); {
	case t.Year() < 200:
		return instant(t.Sub(time.Time{}) + 24*time.Hour)
	case s >= hi:
		return never - 1
	case s <= lo:
		return math.MinInt64 + 1
	}
	return instant(t.UnixNano())
}

// reading is one look at the clock, taken once per call by a door.
type reading struct {
	now  instant   // on the meter
	wall time.Time // the same instant for people
}

// time converts a meter instant for people, in the location of the clock.
func (r reading) time(t instant) time.Time {
	if t == 0 || t == never {
		return time.Time{}
	}
	return r.wall.Add(t.sub(r.now))
}

// instant converts a wall instant to the meter: it becomes a duration from now.
func (r reading) instant(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	wall := unixNano(r.wall)
	if at := unixNano(t); at > wall {
		return min(r.now.plus(at.sub(wall)), never-1)
	} else {
		return max(r.now-(wall-at), 1)
	}
}
