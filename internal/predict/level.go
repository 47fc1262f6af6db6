package predict

import (
	"fmt"
	"math"
	"time"
)

// Level is the published state of a token's quota.
type Level string

// The levels, best first.
const (
	High      Level = "high"
	Medium    Level = "medium"
	Low       Level = "low"
	Critical  Level = "critical"
	Exhausted Level = "exhausted"
	Unknown   Level = "unknown" // no call ended lately, and the upstream said nothing that still holds
)

// Config holds the thresholds of the level rules. A zero field means its
// default; a share is in (0,1) and is exceeded, not reached.
type Config struct {
	Window         time.Duration // 5 min, and at most that
	ExhaustedAbove float64       // share of calls refused for quota: 0.5
	CriticalAbove  float64       // share of calls refused for quota: 0.2
	LowAbove       float64       // share of calls that failed in any way: 0.7
	MediumAbove    float64       // share of calls that failed in any way: 0.3
	SlowAbove      time.Duration // mean latency: 5 s
}

func (c Config) withDefaults() Config {
	def := func(v *float64, d float64) {
		if !(*v > 0) {
			*v = d
		}
	}
	def(&c.ExhaustedAbove, 0.5)
	def(&c.CriticalAbove, 0.2)
	def(&c.LowAbove, 0.7)
	def(&c.MediumAbove, 0.3)
	if c.Window <= 0 || c.Window > Window {
		c.Window = Window
	}
	if c.SlowAbove <= 0 {
		c.SlowAbove = 5 * time.Second
	}
	return c
}

// Assessment is the level of one token and what it rests on.
type Assessment struct {
	Level      Level         `json:"level"`
	Confidence float64       `json:"confidence"`   // in [0,1)
	Points     int64         `json:"points"`       // outcomes that were looked at
	Quota      int64         `json:"quota"`        // of these, refused for quota
	Fails      int64         `json:"fails"`        // of these, failed in any way
	Mean       time.Duration `json:"mean_latency"` // of those that stated one
	Reason     string        `json:"reason"`       // one sentence
}

// Assess applies the level rules to the outcomes in (max(since, now-Window),
// now]. A cell that straddles either end is left out. Without any outcome the
// level is Unknown with confidence 0, which permits nothing. An upstream that
// said that nothing remains is believed before any outcome: the level is
// Exhausted, with confidence 0.9, until the reset that it stated, a call that
// succeeds later, or a day.
//
// The rules are those of the published level, which a reader can check by
// hand. They are no forecast: see [History.Forecast] for that.
func Assess(u Usage, since, now int64, cfg Config) Assessment {
	cfg = cfg.withDefaults()
	since, now = clamp(since, 0, maxInstant), clamp(now, 0, maxInstant)
	c := u.between(max(millis(since), millis(now)-cfg.Window.Milliseconds()), millis(now))
	a := Assessment{Level: High, Points: c.Calls, Quota: c.Quota, Fails: c.Fails}
	if c.Timed > 0 {
		a.Mean = c.Latency / time.Duration(c.Timed)
	}
	if u.empty(now) {
		a.Level, a.Confidence = Exhausted, told
		a.Reason = fmt.Sprintf("the upstream said that nothing remains of %d", u.Hint.Limit)
		return a
	}
	if c.Calls == 0 {
		a.Level = Unknown
		a.Reason = fmt.Sprintf("no call ended in the last %v, so nothing is known", cfg.Window)
		return a
	}
	quota, fails := float64(c.Quota)/float64(c.Calls), float64(c.Fails)/float64(c.Calls)
	a.Confidence = min(confidence(quota, c.Calls), confidence(fails, c.Calls))
	shares := fmt.Sprintf("calls in the last %v: %d, refused for quota: %d, failed in any way: %d",
		cfg.Window, c.Calls, c.Quota, c.Fails)
	above := func(what string, limit float64) string {
		return fmt.Sprintf("%s; %s above %.0f %%", shares, what, 100*limit)
	}
	switch {
	case quota > cfg.ExhaustedAbove:
		a.Level, a.Reason = Exhausted, above("quota refusals", cfg.ExhaustedAbove)
	case quota > cfg.CriticalAbove:
		a.Level, a.Reason = Critical, above("quota refusals", cfg.CriticalAbove)
	case fails > cfg.LowAbove:
		a.Level, a.Reason = Low, above("failures", cfg.LowAbove)
	case fails > cfg.MediumAbove:
		a.Level, a.Reason = Medium, above("failures", cfg.MediumAbove)
	case a.Mean > cfg.SlowAbove:
		a.Level = Medium
		a.Reason = fmt.Sprintf("%s; service pressure, the mean response took %v, above %v",
			shares, a.Mean.Round(time.Millisecond), cfg.SlowAbove)
	default:
		a.Reason = shares + "; no limit exceeded"
	}
	return a
}

// told is the confidence in the upstream's own word.
const told = 0.9

// between sums the cells that lie in (since, now], both in milliseconds.
func (u *Usage) between(since, now int64) Cell {
	var sum Cell
	for _, c := range u.Cells {
		if c.First > since && c.Last <= now {
			sum.join(c)
		}
	}
	return sum
}

// confidence is 1 minus the width of the Wilson 95 % score interval (E. B.
// Wilson, 1927) of a share observed in n calls: how much of [0,1] the evidence
// has ruled out. With z = 1.96 the interval is
//
//	(share + z^2/2n -+ z*sqrt(share(1-share)/n + z^2/4n^2)) / (1 + z^2/n)
//
// and, multiplied by n/n, its width is z*sqrt(4n*share(1-share) + z^2)/(n + z^2).
// That is 1 at n = 0. With q = share(1-share) <= 1/4, the derivative of its
// logarithm has the sign of -2qn + z^2(2q-1) < 0: the confidence grows with
// every point at the same share. If all calls ended alike it is n/(n + 3.84):
// 0.68 at 8, 0.70 at 9, 0.72 at 10; at an even split, 0.7 takes 39 calls.
func confidence(share float64, n int64) float64 {
	const z = 1.96
	m := float64(n)
	return 1 - z*math.Sqrt(4*m*share*(1-share)+z*z)/(m+z*z)
}
