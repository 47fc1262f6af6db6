package predict

import (
	"math"
	"slices"
)

// MaxLives bounds History.Lives.
const MaxLives = 64

// lifeHalfLife is in lives: quotas get changed, and after a few lives under a
// new quota those before it should be outvoted.
const lifeHalfLife = 4

// Life is one run of successes that a token gave, from new or from its recovery
// to the refusal for quota that ended it.
type Life struct {
	Uses     int64 `json:"u,omitempty"`
	Censored bool  `json:"c,omitempty"` // it ended in another way: at least Uses
}

// hazard is the chance that the call after k successes is refused for quota, as
// a step function of k.
type hazard struct {
	steps    []step
	ends     []step  // the k at which lives were refused, not pooled
	evidence float64 // weight of the refused lives
}

// step holds from its first k up to that of the next step, the last one forever.
type step struct {
	from   int64
	events float64 // refusals, weighted
	calls  float64 // calls made, weighted
	chance float64
}

// newHazard estimates the hazard from the lives, newest last; base is the chance
// of a refusal when nothing else is known.
//
// A life of n uses made the calls k = 0 .. n-1 without a refusal and, if it was
// not censored, the call k = n with one. So at each k the estimate is refusals
// over calls made, each life weighted by its age; censored lives stay in the
// denominator as long as they lasted (E. L. Kaplan and P. Meier, 1958). The k
// between two refusals share one estimate. Use empties a quota and never fills
// it, so the chance cannot fall with k: pool-adjacent-violators (M. Ayer et
// al., 1955) joins neighbours until it does not, which is the maximum
// likelihood under that order. In the end one more call at the base chance is
// counted in, (events + base) / (calls + 1), so that one life proves little.
func newHazard(lives []Life, base float64) hazard {
	var h hazard
	weights := make([]float64, len(lives))
	var ends []int64
	for i, l := range lives {
		weights[i] = math.Exp2(-float64(len(lives)-1-i) / lifeHalfLife)
		if !l.Censored {
			ends = append(ends, l.Uses)
			h.evidence += weights[i]
		}
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)

	from := int64(0)
	for _, k := range ends {
		h.pool(callsAt(lives, weights, from, k))
		end := callsAt(lives, weights, k, k+1)
		h.pool(end)
		h.ends = append(h.ends, end)
		from = k + 1
	}
	h.pool(callsAt(lives, weights, from, math.MaxInt64))

	for i := range h.steps {
		s := &h.steps[i]
		s.chance = (s.events + base) / (s.calls + 1)
		if i > 0 {
			s.chance = max(s.chance, h.steps[i-1].chance)
		}
	}
	return h
}

// callsAt sums the calls made at k in [from, to), and the refusals among them.
func callsAt(lives []Life, weights []float64, from, to int64) step {
	s := step{from: from}
	for i, l := range lives {
		good := min(l.Uses, to) - from
		s.calls += weights[i] * float64(max(good, 0))
		if !l.Censored && from <= l.Uses && l.Uses < to {
			s.events += weights[i]
			s.calls += weights[i]
		}
	}
	return s
}

// pool appends a step and joins it with those before it while it is below.
func (h *hazard) pool(s step) {
	if s.calls == 0 {
		return
	}
	for n := len(h.steps); n > 0 && s.events*h.steps[n-1].calls < h.steps[n-1].events*s.calls; n = len(h.steps) {
		p := h.steps[n-1]
		s = step{from: p.from, events: p.events + s.events, calls: p.calls + s.calls}
		h.steps = h.steps[:n-1]
	}
	h.steps = append(h.steps, s)
}

// at is the chance that the call after k successes is refused; ok is false when
// no life is known.
func (h hazard) at(k int64) (chance float64, ok bool) {
	for _, s := range h.steps {
		if s.from > k {
			break
		}
		chance, ok = s.chance, true
	}
	return chance, ok
}

// left is the median of the successes still to come after k by Kaplan and Meier:
// the survival prod(1 - refusals/calls) from k on falls to 1/2 or below at the
// call after k+left successes. Without the order that pooling assumes, a few
// lives under a new quota shift it at once. ok is false when the known lives do
// not go that far, so that there is nothing to go by.
func (h hazard) left(k int64) (left int64, ok bool) {
	survive := 1.0
	for _, s := range h.ends {
		if s.from < k {
			continue
		}
		if survive *= 1 - s.events/s.calls; survive <= 0.5 {
			return s.from - k, true
		}
	}
	return 0, false
}
