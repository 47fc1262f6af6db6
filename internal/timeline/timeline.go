package timeline

import (
	"math"
	"time"
)

// Instant is Unix nanoseconds on the guard's meter. The meter is only ever compared and subtracted; the times
// that callers give and get are converted on the way in and out.
type Instant int64

const Never Instant = math.MaxInt64

// Plus adds without overflow: never stays never.
func (t Instant) Plus(d time.Duration) Instant {
	if d > 0 && int64(t) > math.MaxInt64-int64(d) {
		return Never
	}
	return t + Instant(d)
}

func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

// UnixNano clamps instants beyond the years 1678 and 2262 to what 64 bits of nanoseconds hold. A fake clock that was
// never set counts on from the zero Time.
func UnixNano(t time.Time) Instant {
	const lo, hi = math.MinInt64 / int64(time.Second), math.MaxInt64 / int64(time.Second)
	switch s := t.Unix(); {
	case t.Year() < 200:
		return Instant(t.Sub(time.Time{}) + 24*time.Hour)
	case s >= hi:
		return Never - 1
	case s <= lo:
		return math.MinInt64 + 1
	}
	return Instant(t.UnixNano())
}

// Reading is one look at the clock, taken once per call by a public method.
type Reading struct {
	Now   Instant       // on the meter
	Wall  time.Time     // the same instant for people
	Doubt time.Duration // Now may be so much too late; it is never too early
}

// Least is the earliest that it may be on the meter.
func (r Reading) Least() Instant { return r.Now - Instant(r.Doubt) }

// End is Instant for what must not last any longer than until t: the least that it may be. Zero: it was not stated.
func (r Reading) End(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return max(r.Instant(t)-Instant(r.Doubt), 1)
}

// Time converts a meter instant for people, in the location of the clock.
func (r Reading) Time(t Instant) time.Time {
	if t == 0 || t == Never {
		return time.Time{}
	}
	return r.Wall.Add(t.Sub(r.Now))
}

// Instant converts a wall instant to the meter: it becomes a duration from now.
func (r Reading) Instant(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	wall := UnixNano(r.Wall)
	if at := UnixNano(t); at > wall {
		return min(r.Now.Plus(at.Sub(wall)), Never-1)
	} else {
		return max(r.Now-(wall-at), 1)
	}
}
