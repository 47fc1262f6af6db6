package predict

// scoreBook compares the forecast with what came, and with three simple
// forecasts of the same outcomes. It is prequential (A. P. Dawid, 1984): each
// forecast was made before its outcome was known.
type scoreBook struct {
	N       int64   `json:"n,omitempty"` // outcomes scored
	Refused int64   `json:"r,omitempty"` // of these, refused for quota
	Right   int64   `json:"k,omitempty"` // of these, on the side of 1/2 that was forecast
	Brier   float64 `json:"b,omitempty"` // sums of (forecast - outcome)^2 (G. W. Brier, 1950)
	Base    float64 `json:"e,omitempty"`
	Persist float64 `json:"p,omitempty"`
	Rule    float64 `json:"t,omitempty"`
	Bins    [10]bin `json:"c,omitzero"` // by forecast, in tenths
}

type bin struct {
	N       int64   `json:"n,omitempty"`
	Refused int64   `json:"r,omitempty"`
	Sum     float64 `json:"s,omitempty"` // of the forecasts
}

// rivals are the simple forecasts of the next outcome that the mix must beat.
type rivals struct {
	base    float64 // the share refused so far
	persist float64 // as the last one
	rule    float64 // refused if over 30 % failed in the last 5 minutes
}

// share is the share refused so far, counting one more call beforehand that was
// refused with the given chance, so that it is defined from the start.
func (b *scoreBook) share(prior float64) float64 {
	return (float64(b.Refused) + prior) / (float64(b.N) + 1)
}

// add scores n outcomes alike, all forecast as p.
func (b *scoreBook) add(p float64, refused bool, n int64, r rivals) {
	y, k := 0.0, float64(n)
	if refused {
		y = 1
		b.Refused += n
	}
	b.N += n
	if (p >= 0.5) == refused {
		b.Right += n
	}
	sq := func(q float64) float64 { return k * (q - y) * (q - y) }
	b.Brier += sq(p)
	b.Base += sq(r.base)
	b.Persist += sq(r.persist)
	b.Rule += sq(r.rule)
	c := &b.Bins[min(int(p*10), 9)]
	c.N += n
	c.Sum += k * p
	if refused {
		c.Refused += n
	}
}

// Accuracy is the predictor's account of itself: how its forecasts of "the next
// call is refused for quota" did, against three simple ones.
type Accuracy struct {
	Count       int64   `json:"count"`       // outcomes that were forecast
	ShareRight  float64 `json:"share_right"` // on the side of 1/2 that was forecast
	Brier       float64 `json:"brier"`       // mean of (forecast - outcome)^2: 0 is perfect, always saying 1/2 gives 0.25
	BaseBrier   float64 `json:"base_brier"`  // of always saying the share refused so far
	LastBrier   float64 `json:"last_brier"`  // of saying that it goes on as the last call did
	RuleBrier   float64 `json:"rule_brier"`  // of reading over 30 % failures in 5 minutes as a forecast
	Skill       float64 `json:"skill"`       // 1 - Brier/BaseBrier: 1 is perfect, 0 no better than the share, below 0 worse
	Reliability []Bin   `json:"reliability"` // by tenths of the forecast, empty ones left out
}

// Bin sets the forecasts of one tenth against what came.
type Bin struct {
	Count    int64   `json:"count"`
	Forecast float64 `json:"forecast"` // mean
	Refused  float64 `json:"refused"`  // share
}

// Accuracy sums up all forecasts so far. Without any, all of it is zero.
func (h *History) Accuracy() Accuracy {
	b := &h.Book
	a := Accuracy{Count: b.N}
	if b.N == 0 {
		return a
	}
	n := float64(b.N)
	a.ShareRight = float64(b.Right) / n
	a.Brier, a.BaseBrier, a.LastBrier, a.RuleBrier = b.Brier/n, b.Base/n, b.Persist/n, b.Rule/n
	if b.Base > 0 {
		a.Skill = 1 - b.Brier/b.Base
	}
	for _, c := range b.Bins {
		if c.N > 0 {
			k := float64(c.N)
			a.Reliability = append(a.Reliability, Bin{c.N, c.Sum / k, float64(c.Refused) / k})
		}
	}
	return a
}
