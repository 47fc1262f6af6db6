package predict

import (
	"slices"
	"time"
)

// History is what past tokens taught, one per document. The zero value knows
// nothing. As JSON it is below 8 KB.
type History struct {
	Lives   []Life            `json:"l,omitempty"` // newest last, at most MaxLives
	Hours   [24]decayingCount `json:"h,omitzero"`  // by hour of the day, UTC
	Dwell   dwell             `json:"d,omitzero"`
	Weights [experts]float64  `json:"w,omitzero"` // sum to 1; all zero: no outcome yet
	Book    scoreBook         `json:"b,omitzero"`
	Demand  demand            `json:"a,omitzero"`
	Price   price             `json:"p,omitzero"`
}

// chunks bounds the work for one cell: beyond that many outcomes alike, several
// share one forecast.
const chunks = 32

// Learn stores a batch of outcomes of one token: each is forecast from what
// was known before it, the forecast is scored, then the outcome is learned
// from. At last the batch is merged into u. A failure that is not about quota
// says nothing about quota; it is merged only.
func (h *History) Learn(u *Usage, batch Usage) {
	if h.Weights == ([experts]float64{}) {
		for i := range h.Weights {
			h.Weights[i] = 1.0 / experts
		}
	}
	// Successes that had left the batch's window are known by number only.
	older := batch.Uses()
	for _, c := range batch.Cells {
		older -= c.Calls - c.Fails
	}
	for i, c := range batch.Cells {
		r := rivals{rule: float64(one(u.failing(c.First)))}
		if i == 0 {
			h.learn(u, older, false, c.First, c.First, r)
		}
		h.learn(u, c.Calls-c.Fails, false, c.First, c.Last, r)
		h.learn(u, c.Quota, true, c.Last, c.Last, r)
		u.insert(c)
	}
	cost := u.Cost
	u.absorb(batch)
	h.Price.learn(cost, u.Cost)
}

// failing is the 30 % rule read as a forecast.
func (u *Usage) failing(now int64) bool {
	c := u.between(now-windowMillis, now)
	return 10*c.Fails > 3*c.Calls
}

// learn stores n outcomes alike, spread evenly over first to last, which are
// in milliseconds.
func (h *History) learn(u *Usage, n int64, refused bool, first, last int64, r rivals) {
	if n <= 0 {
		return
	}
	size := (n + chunks - 1) / chunks
	// A life that ends here is followed by refusals only, of which the hazard says
	// nothing, so it need not be made anew.
	hz := newHazard(h.Lives, h.base())
	for done := int64(0); done < n; done += size {
		k := min(size, n-done)
		at := first
		if n > 1 {
			at += int64(float64(last-first) * float64(done) / float64(n-1))
		}
		now := max(at*int64(time.Millisecond), u.Track.At)

		r.base, r.persist = h.Book.share(0.5), 0
		if u.Track.Last {
			r.persist = 1
		}
		o := h.opinions(u, hz, h.base(), now)
		h.Book.add(h.mixed(o), refused, k, r)
		h.reweigh(o, refused, k)
		h.Hours[hourOf(now)].add(refused, k, hourMemory)
		h.track(&u.Track, refused, k, now)
	}
}

// TokenEnded must be called once when a token expires, is replaced or is
// evicted: if it was never refused for quota, its life is learned as "at least
// so many uses". (A refusal has been learned already, by Learn.)
func (h *History) TokenEnded(u Usage) {
	if u.Track.Refused == 0 && u.Track.Uses > 0 {
		h.ended(Life{Uses: u.Track.Uses, Censored: true})
	}
}

func (h *History) ended(l Life) {
	h.Lives = append(h.Lives, l)
	if over := len(h.Lives) - MaxLives; over > 0 {
		h.Lives = slices.Delete(h.Lives, 0, over)
	}
}

// Clone copies h so that nothing is shared.
func (h History) Clone() History {
	h.Lives = slices.Clone(h.Lives)
	return h
}
