package classify

import (
	"strings"
	"time"
)

// maxSkew is how far an answer's Date may be from our clock and still be
// believed: it covers clocks that are set to the wrong zone.
const maxSkew = 24 * time.Hour

// AnswerTime is the instant by which the clock times of an answer are meant:
// its own Date header if that is within a day of now, else now. An upstream
// whose clock is wrong states its instants by that same clock. Where now is
// zero, so that there is no clock of ours, the Date alone counts, and the
// result is zero without one.
func AnswerTime(header map[string][]string, now time.Time) time.Time {
	for name, values := range header {
		if len(name) != len("date") || !strings.EqualFold(name, "date") || len(values) == 0 {
			continue
		}
		m, ok := cutHTTPDate(strings.TrimSpace(values[0]), now)
		if ok && m.spread == 0 && (now.IsZero() || m.at.Sub(now).Abs() <= maxSkew) {
			return m.at
		}
	}
	return now
}

// clock reads instants: base is the answer's own time, now is ours.
type clock struct{ base, now time.Time }

func clockOf(header map[string][]string, now time.Time) clock {
	return clock{base: AnswerTime(header, now), now: now}
}

// ours translates an instant of the answer's clock into one of ours.
func (c clock) ours(t time.Time) time.Time {
	if c.now.IsZero() {
		return t
	}
	return c.now.Add(t.Sub(c.base))
}
