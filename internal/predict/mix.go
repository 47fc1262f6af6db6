package predict

import (
	"math"
	"time"
)

// The mix has one weight for each of its experts, in this order.
const (
	recent   = iota // share of the token's recent calls
	dwelling        // it stays refused, or not, for a while
	usage           // past tokens lasted so many uses
	hourly          // at this hour of the day
	hinted          // the upstream said so
	experts
)

const (
	// shift is the share that an expert which was wholly wrong gives away.
	shift = 0.1
	// leastLoss keeps every weight above 1e-6, from where it can come back.
	leastLoss = 1e-4
	// No expert may be surer than this: one surprise must not ruin it.
	surest = 0.998
	// unsure is what no evidence takes away from the state of the channel.
	unsure = 1e-6
	// recentMemory is the number of a token's outcomes that count: a half-life of 16.
	recentMemory = 16 / math.Ln2
	// hourMemory is the number of outcomes in an hour of the day that count.
	hourMemory = 100
	// A refused call in an open state, and a served one in a closed state, are
	// rare but no contradiction: calls overlap, and limits are not exact.
	refusedIfOpen, refusedIfShut = 0.005, 0.97
	hintIfEmpty, hintIfLeft      = 0.97, 0.01
	// Calls that were under way when the quota ended may still come back served.
	overlap = time.Minute
)

// track is where one token stands for the forecast. History.Learn keeps it.
type track struct {
	At      int64         `json:"a,omitempty"` // the newest outcome that was learned from
	Start   int64         `json:"s,omitempty"` // when the present life began
	Uses    int64         `json:"u,omitempty"` // successes of the present life
	Refused int64         `json:"r,omitempty"` // when the refusal came that ended the life; 0: it goes on
	Last    bool          `json:"l,omitempty"` // the newest outcome was a refusal
	Recent  decayingCount `json:"c,omitzero"`
	Shut    float64       `json:"b,omitempty"` // chance that the upstream refuses all, at the instant At
}

// decayingCount counts calls and refusals, old ones less and less.
type decayingCount struct {
	Calls   float64 `json:"n,omitempty"`
	Refused float64 `json:"r,omitempty"`
}

func (t *decayingCount) add(refused bool, n int64, memory float64) {
	keep := math.Pow(1-1/memory, float64(n))
	// 1 + g + ... + g^(n-1), with g = 1 - 1/memory
	fresh := memory * (1 - keep)
	t.Calls = t.Calls*keep + fresh
	t.Refused *= keep
	if refused {
		t.Refused += fresh
	}
}

// dwell is how long the upstream stays open and shut, learned from the runs of
// served and refused calls: time spent over the number of ends, in hours.
type dwell struct {
	OpenHours float64 `json:"o,omitempty"`
	OpenEnds  float64 `json:"oe,omitempty"`
	ShutHours float64 `json:"s,omitempty"`
	ShutEnds  float64 `json:"se,omitempty"`
}

// opinion is what one expert says; an expert with nothing to go by is silent.
type opinion struct {
	p     float64
	awake bool
}

// base is the chance of a refusal when nothing else is known: the share so far,
// and at first a tenth, since most calls of most tokens are served.
func (h *History) base() float64 { return h.Book.share(0.1) }

// opinions asks every expert for the chance that a call at this instant is
// refused for quota.
func (h *History) opinions(u *Usage, hz hazard, base float64, now int64) (o [experts]opinion) {
	say := func(i int, p float64) {
		o[i] = opinion{clamp(p, 1-surest, surest), true}
	}
	t := &u.Track

	// The mean of a Beta posterior whose prior is one call at the base rate, with
	// the evidence fading over recentMemory outcomes.
	say(recent, (t.Recent.Refused+base)/(t.Recent.Calls+1))

	shut := h.shutAt(t, now)
	say(dwelling, shut*refusedIfShut+(1-shut)*refusedIfOpen)

	if t.Refused == 0 {
		if p, ok := hz.at(t.Uses); ok {
			say(usage, p)
		}
	}

	// As for recent, but with two calls as prior, since an hour has fewer.
	c := h.Hours[hourOf(now)]
	say(hourly, (c.Refused+2*base)/(c.Calls+2))

	switch credits, ok := u.credits(now, h.Price); {
	case ok:
		mean, most := h.Price.of(u.Cost)
		say(hinted, clamp(short(credits, mean, most), hintIfLeft, hintIfEmpty))
	case u.reopened(now):
		say(hinted, hintIfLeft)
	}
	return o
}

// short is the chance that a call costs more than the credits that are left. If
// all calls cost about the same, it is plain; else costs are taken to lie evenly
// up to the largest.
func short(credits, mean, most float64) float64 {
	switch {
	case credits <= 0:
		return 1
	case most <= 1.2*mean:
		if credits < 0.9*mean {
			return 1
		}
		return 0
	}
	return max(0, 1-credits/most)
}

// credits is what the upstream's own word leaves of the quota: what it said, less
// the mean cost of the uses since.
func (u *Usage) credits(now int64, p price) (float64, bool) {
	if u.Pause.Until > now && u.Pause.At >= u.Good {
		return 0, true
	}
	if u.stale(now) {
		return 0, false
	}
	mean, _ := p.of(u.Cost)
	return max(0, float64(u.Hint.Remaining)-mean*float64(u.Uses()-u.Hint.Uses)), true
}

// left is how many uses that is.
func (u *Usage) left(now int64, p price) (int64, bool) {
	credits, ok := u.credits(now, p)
	mean, _ := p.of(u.Cost)
	return int64(min(credits/mean+1e-9, float64(maxCount))), ok
}

// stale says that the upstream has said nothing of what remains that still holds.
func (u *Usage) stale(now int64) bool {
	v := u.Hint
	if v.Limit <= 0 {
		return true
	}
	if v.Reset != 0 {
		return now >= v.Reset
	}
	return now-v.At > int64(maxHintAge)
}

// empty says that the upstream stated that nothing remains, and no call that
// ended later shows otherwise. One that was under way then does not.
func (u *Usage) empty(now int64) bool {
	return !u.stale(now) && u.Hint.Remaining == 0 && u.Good <= u.Hint.At+int64(overlap)
}

// reopened says whether the pause that the upstream stated is over and nothing
// came since that shows otherwise.
func (u *Usage) reopened(now int64) bool {
	p := u.Pause
	return p.Until != 0 && p.Until <= now && u.Track.At < p.Until && u.Good <= p.At
}

// shutAt is the prediction step of a two-state channel (E. N. Gilbert, 1960; E.
// O. Elliott, 1963) in continuous time. With a = the rate open to shut and b =
// shut to open, the chance of shut obeys s' = a(1-s) - bs, so it decays from
// its value at the last outcome to a/(a+b) as exp(-(a+b)t). The rates are the
// means of Gamma posteriors, (ends + 1) / (hours + prior), where the prior is
// one run of 6 h open and one of half an hour shut.
func (h *History) shutAt(t *track, now int64) float64 {
	a := (h.Dwell.OpenEnds + 1) / (h.Dwell.OpenHours + 6)
	b := (h.Dwell.ShutEnds + 1) / (h.Dwell.ShutHours + 0.5)
	rest := a / (a + b)
	if t.At == 0 {
		return rest
	}
	return rest + (t.Shut-rest)*math.Exp(-(a+b)*hours(now-t.At))
}

// mixed is the forecast of the mix: the weighted mean over the experts that
// speak. A silent one is taken to agree with the others, so that its weight
// neither counts nor changes (Y. Freund et al., 1997).
func (h *History) mixed(o [experts]opinion) float64 {
	p, sum := 0.0, 0.0
	for i, e := range o {
		if e.awake {
			p += h.Weights[i] * e.p
			sum += h.Weights[i]
		}
	}
	return p / sum
}

// reweigh is Bayes' rule on the weights of the experts that spoke, w * p(outcome)^n,
// followed by the variable share of M. Herbster and M. Warmuth (1998): since the
// best expert changes over time, each gives the part 1 - (1-shift)^loss of its
// weight to all, where loss is its squared error. A fixed share would take as
// much while nothing happens, and so forget in the 40 uses of a token which
// expert foresaw the end of the last one. Only those that spoke give and get: a
// silent one cannot give back.
func (h *History) reweigh(o [experts]opinion, refused bool, n int64) {
	var logs, miss [experts]float64
	before, after, best, awake := 0.0, 0.0, math.Inf(-1), 0.0
	for i, e := range o {
		if !e.awake {
			continue
		}
		miss[i] = e.p
		if refused {
			miss[i] = 1 - e.p
		}
		awake++
		before += h.Weights[i]
		logs[i] = math.Log(h.Weights[i]) + float64(n)*math.Log(1-miss[i])
		best = max(best, logs[i])
	}
	for i, e := range o {
		if e.awake {
			after += math.Exp(logs[i] - best)
		}
	}
	given := 0.0
	for i, e := range o {
		if e.awake {
			w := before * math.Exp(logs[i]-best) / after
			h.Weights[i] = w * math.Pow(1-shift, float64(n)*(miss[i]*miss[i]+leastLoss))
			given += w - h.Weights[i]
		}
	}
	for i, e := range o {
		if e.awake {
			h.Weights[i] += given / awake
		}
	}
}

// track moves one token on by n outcomes alike at one instant, and learns from
// it how long lives and states last.
func (h *History) track(t *track, refused bool, n, now int64) {
	if t.At != 0 {
		h.Dwell.add(t.Last, refused, hours(now-t.At))
	}
	// The update step of the filter that shutAt predicts with, in odds; beyond 50
	// equal outcomes it has long reached its bound.
	ifShut, ifOpen := 1-refusedIfShut, 1-refusedIfOpen
	if refused {
		ifShut, ifOpen = refusedIfShut, refusedIfOpen
	}
	shut := clamp(h.shutAt(t, now), unsure, 1-unsure)
	odds := shut / (1 - shut) * math.Pow(ifShut/ifOpen, float64(min(n, 50)))
	t.Shut = clamp(odds/(1+odds), unsure, 1-unsure)
	t.At, t.Last = now, refused
	t.Recent.add(refused, n, recentMemory)

	switch {
	case refused && t.Refused == 0:
		h.ended(Life{Uses: t.Uses})
		t.Refused = now
	case !refused && t.Refused != 0 && now-t.Refused > int64(overlap):
		t.Refused, t.Start, t.Uses = 0, now, n
	case !refused && t.Refused == 0:
		if t.Uses == 0 {
			t.Start = now
		}
		t.Uses += n
	}
}

func (d *dwell) add(wasShut, isShut bool, span float64) {
	// Ten ends are remembered.
	const keep = 0.9
	time, ends := &d.OpenHours, &d.OpenEnds
	if wasShut {
		time, ends = &d.ShutHours, &d.ShutEnds
	}
	*time += span
	if wasShut != isShut {
		*time *= keep
		*ends = (*ends + 1) * keep
	}
}
