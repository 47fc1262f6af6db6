package predict

import (
	"encoding/json"
	"slices"
	"time"
)

// No instant is kept outside the years 1970 to 2199, so that differences cannot
// overflow, and no count beyond what 300 years at 1000 a second come to.
const (
	maxInstant = int64(230 * 365 * 24 * time.Hour)
	maxCount   = int64(1e13)
)

// UnmarshalJSON decodes a Usage and brings every value within its bounds.
func (u *Usage) UnmarshalJSON(data []byte) error {
	type plain Usage
	if err := json.Unmarshal(data, (*plain)(u)); err != nil {
		return err
	}
	u.repair()
	return nil
}

func (u *Usage) repair() {
	counts(&u.Calls, &u.Quota, &u.Fails, &u.Hint.Remaining, &u.Hint.Limit, &u.Hint.Uses, &u.Track.Uses,
		&u.Cost.Spent, &u.Cost.Over, &u.Cost.Most)
	instants(&u.Good, &u.Hint.At, &u.Hint.Reset, &u.Pause.At, &u.Pause.Until, &u.Track.At, &u.Track.Start, &u.Track.Refused)
	u.Fails = min(max(u.Fails, u.Quota), u.Calls)
	u.Quota = min(u.Quota, u.Fails)
	u.Track.Shut = clamp(u.Track.Shut, 0, 1)
	u.Track.Recent.repair(recentMemory)
	cells := u.Cells
	u.Cells = nil
	for _, c := range cells {
		counts(&c.Calls, &c.Quota, &c.Fails, &c.Timed)
		c.First = clamp(c.First, 0, maxInstant/int64(time.Millisecond))
		c.Last = clamp(c.Last, c.First, c.First+cellMillis-1)
		c.Fails = min(max(c.Fails, c.Quota), c.Calls)
		c.Quota = min(c.Quota, c.Fails)
		c.Timed = min(c.Timed, c.Calls)
		u.insert(c)
	}
}

// UnmarshalJSON decodes a History and brings every value within its bounds.
func (h *History) UnmarshalJSON(data []byte) error {
	type plain History
	if err := json.Unmarshal(data, (*plain)(h)); err != nil {
		return err
	}
	h.repair()
	return nil
}

func (h *History) repair() {
	if over := len(h.Lives) - MaxLives; over > 0 {
		h.Lives = slices.Delete(h.Lives, 0, over)
	}
	for i := range h.Lives {
		counts(&h.Lives[i].Uses)
	}
	for i := range h.Hours {
		h.Hours[i].repair(hourMemory)
	}
	d := &h.Dwell
	for _, v := range []*float64{&d.OpenHours, &d.OpenEnds, &d.ShutHours, &d.ShutEnds} {
		*v = clamp(*v, 0, 1e7)
	}
	sum, low := 0.0, 1.0
	for _, w := range h.Weights {
		sum, low = sum+w, min(low, w)
	}
	if low < 1e-15 || sum < 1-1e-6 || sum > 1+1e-6 {
		h.Weights = [experts]float64{}
	}
	h.Book.repair()
	instants(&h.Demand.At)
	h.Price.Over = clamp(h.Price.Over, 0, 2*priceMemory)
	h.Price.Spent = clamp(h.Price.Spent, 0, float64(maxCount))
	h.Price.Most = clamp(h.Price.Most, 0, float64(maxCount))
	for i := range h.Demand.Counts {
		h.Demand.Counts[i] = clamp(h.Demand.Counts[i], 0, 1e6)
		h.Demand.Hours[i] = clamp(h.Demand.Hours[i], 0, demandMemory)
	}
}

func (b *scoreBook) repair() {
	counts(&b.N, &b.Refused, &b.Right)
	b.Refused, b.Right = min(b.Refused, b.N), min(b.Right, b.N)
	for _, v := range []*float64{&b.Brier, &b.Base, &b.Persist, &b.Rule} {
		*v = clamp(*v, 0, float64(b.N))
	}
	for i := range b.Bins {
		c := &b.Bins[i]
		counts(&c.N, &c.Refused)
		c.Refused = min(c.Refused, c.N)
		c.Sum = clamp(c.Sum, 0, float64(c.N))
	}
}

func (t *decayingCount) repair(memory float64) {
	t.Calls = clamp(t.Calls, 0, memory)
	t.Refused = clamp(t.Refused, 0, t.Calls)
}

func clamp[T int64 | float64](v, low, high T) T { return min(max(v, low), high) }

func counts(values ...*int64) {
	for _, v := range values {
		*v = clamp(*v, 0, maxCount)
	}
}

func instants(values ...*int64) {
	for _, v := range values {
		*v = clamp(*v, 0, maxInstant)
	}
}
