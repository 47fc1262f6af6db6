package classify

import "time"

// choice picks among the times that one text states. Advice when to come back
// ranks above the end of a window, a window that is said to be used up above
// one of which nothing is said, and one that has room left counts for nothing.
// Of two pieces of advice the longer counts; of two ends of windows nobody
// knows which is meant.
type choice struct {
	clock    clock
	advice   stated
	reset    stated
	vague    found
	resetAt  time.Time // an instant: the end of the window itself
	resetSet bool
}

// stated is the best of one rank so far.
type stated struct {
	found
	wait      time.Duration
	ok        bool
	undecided bool
}

// sameWait: a delay and an instant of one answer are computed a moment apart.
const sameWait = 2 * time.Second

func (s *choice) add(f found) {
	if f.used < 0 {
		return
	}
	if f.vague {
		if s.vague.source.Kind == SourceNone || f.wait > s.vague.wait {
			s.vague = f
		}
		return
	}
	if f.instant && !f.advice {
		if at, ok := s.instant(f); ok && !s.resetSet {
			s.resetAt, s.resetSet = at, true
		}
	}
	wait, ok := f.until(s.clock, LongestWait)
	if !ok {
		return
	}
	if f.advice {
		if !s.advice.ok || f.used > s.advice.used || f.used == s.advice.used && wait > s.advice.wait {
			s.advice = stated{found: f, wait: wait, ok: true}
		}
		return
	}
	r := &s.reset
	switch {
	case !r.ok || f.used > r.used:
		*r = stated{found: f, wait: wait, ok: true}
		if f.instant {
			s.resetAt, s.resetSet = s.at(f)
		}
	case f.used < r.used:
	case f.object == r.object && f.source.Kind == SourceField:
		if r.instant && !f.instant {
			r.found, r.wait = f, wait // the delay needs no clock
		}
	case f.used > 0:
		if wait > r.wait {
			*r = stated{found: f, wait: wait, ok: true}
			if f.instant {
				s.resetAt, s.resetSet = s.at(f)
			}
		}
	case (wait - r.wait).Abs() > sameWait:
		r.undecided = true
	}
}

func (s *choice) at(f found) (time.Time, bool) {
	at, ok := s.instant(f)
	return at, ok
}

// instant is the end of a window on our clock.
func (s *choice) instant(f found) (time.Time, bool) {
	if s.clock.base.IsZero() {
		return f.at, f.spread == 0
	}
	if _, ok := f.until(s.clock, longestReset); !ok {
		return time.Time{}, false
	}
	return s.clock.ours(f.at), true
}

// note writes the result down; speaks says that the end of a window is what this
// answer's caller waits for.
func (s *choice) note(h *Hints, speaks bool) {
	if s.resetSet && h.ResetAt.IsZero() && !s.reset.undecided {
		h.ResetAt = s.resetAt
	}
	if s.advice.ok {
		h.state(s.advice.wait, s.advice.source, s.advice.spread > 0)
	}
	if s.reset.ok && !s.reset.undecided && speaks {
		h.state(s.reset.wait, s.reset.source, s.reset.spread > 0)
	}
}
