package predict

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// amount is how many seeds a test plays: few in an ordinary run, all under TOKENGUARD_LONG.
func amount(few, all uint64) uint64 {
	if os.Getenv("TOKENGUARD_LONG") != "" {
		return all
	}
	return few
}

const noon = int64(1_790_000_000) * int64(time.Second) / day * day

// upstream decides whether a call is refused; uses is how many calls the token
// that makes it has had served.
type upstream interface {
	refuses(at int64, uses int, r *rand.Rand) bool
}

type upstreamFunc func(at int64, uses int, r *rand.Rand) bool

func (f upstreamFunc) refuses(at int64, uses int, r *rand.Rand) bool { return f(at, uses, r) }

func dailyQuota(quota func(at int64) int) upstream {
	today, used := int64(-1), 0
	return upstreamFunc(func(at int64, _ int, _ *rand.Rand) bool {
		if d := at / day; d != today {
			today, used = d, 0
		}
		if used >= quota(at) {
			return true
		}
		used++
		return false
	})
}

func rollingQuota(quota int) upstream {
	var served []int64
	return upstreamFunc(func(at int64, _ int, _ *rand.Rand) bool {
		for len(served) > 0 && served[0] <= at-day {
			served = served[1:]
		}
		if len(served) >= quota {
			return true
		}
		served = append(served, at)
		return false
	})
}

// outages is open for 6 h and shut for 40 min in the mean.
func outages() upstream {
	shut, next := false, int64(0)
	return upstreamFunc(func(at int64, _ int, r *rand.Rand) bool {
		for next <= at {
			mean := 6 * time.Hour
			if shut = !shut && next != 0; shut {
				mean = 40 * time.Minute
			}
			next = max(next, noon) + int64(r.ExpFloat64()*float64(mean))
		}
		if shut {
			return r.Float64() < 0.95
		}
		return r.Float64() < 0.01
	})
}

func perToken(quota int) upstream {
	return upstreamFunc(func(_ int64, uses int, _ *rand.Rand) bool { return uses >= quota })
}

func random(share float64) upstream {
	return upstreamFunc(func(_ int64, _ int, r *rand.Rand) bool { return r.Float64() < share })
}

func busyHours() upstream {
	return upstreamFunc(func(at int64, _ int, r *rand.Rand) bool {
		if h := hourOf(at); h >= 13 && h < 17 {
			return r.Float64() < 0.8
		}
		return r.Float64() < 0.02
	})
}

// world is an upstream and how its users call it.
type world struct {
	row     string // its name in docs/prediction.md; empty: it has none there
	name    string
	up      func() upstream
	replace bool          // a token is replaced half an hour after its first refusal
	gap     time.Duration // between two calls, in the mean; 0: 8 min
	tell    func(served int, at int64, o *Outcome)
	says    bool          // a bank tells what is left
	days    int           // 0: 20
	batch   time.Duration // successes are learned this much later, together; a refusal at once
	skill   float64       // at least
}

// live runs the world for so many days. before is called at each call, with what
// is known then.
func (w world) live(seed uint64, days int, before func(at int64, h *History, u Usage, refused bool)) Accuracy {
	r := rand.New(rand.NewPCG(seed, 1))
	up, gap := w.up(), w.gap
	if gap == 0 {
		gap = 8 * time.Minute
	}
	var h History
	var u, pending Usage
	uses, refused, flushed := 0, int64(0), noon
	for at := noon; at < noon+int64(days)*day; at += int64(r.ExpFloat64() * float64(gap)) {
		if w.replace && refused != 0 && at-refused > int64(30*time.Minute) {
			h.TokenEnded(u)
			u, uses, refused = Usage{}, 0, 0
		}
		o := Outcome{At: at, Latency: time.Second, Quota: up.refuses(at, uses, r)}
		if o.Quota && refused == 0 {
			refused = at
		}
		if !o.Quota {
			uses++
		}
		if w.tell != nil {
			w.tell(uses, at, &o)
		}
		if b, ok := up.(*bank); ok && w.says {
			o.Remaining, o.Limit = b.left, b.quota
		}
		if before != nil {
			before(at, &h, u, o.Quota)
		}
		pending.Add(o)
		if o.Quota || at-flushed >= int64(w.batch) {
			h.Learn(&u, pending)
			pending, flushed = Usage{}, at
		}
	}
	return h.Accuracy()
}

// bank is a quota in credits: calls cost 1 to 9 of them. It is full again when
// period begins anew; every calls it is told what is left.
type bank struct {
	quota, left int64
	period      func(at int64) int64
	now         int64
	spare       bool // the last credits pay for a call that costs more
}

func (b *bank) refuses(at int64, _ int, r *rand.Rand) bool {
	if p := b.period(at); p != b.now {
		b.now, b.left = p, b.quota
	}
	cost := 1 + r.Int64N(9)
	if b.left < cost && !(b.spare && b.left > 0) {
		return true
	}
	b.left = max(0, b.left-cost)
	return false
}

func credits(b bank) func() upstream {
	return func() upstream {
		fresh := b
		fresh.now = -1
		return &fresh
	}
}

func perDay(at int64) int64 { return at / day }

// perWeek begins on Mondays at midnight UTC, perMonth on the first at midnight
// in a zone of UTC-8.
func perWeek(at int64) int64 { return (at/day + 3) / 7 }

func perMonth(at int64) int64 {
	t := time.Unix(0, at).UTC().Add(-8 * time.Hour)
	return int64(t.Year())*12 + int64(t.Month())
}

// calendarQuota allows so many calls per period.
func calendarQuota(quota int64, period func(int64) int64) func() upstream {
	return func() upstream {
		now, used := int64(-1), int64(0)
		return upstreamFunc(func(at int64, _ int, _ *rand.Rand) bool {
			if p := period(at); p != now {
				now, used = p, 0
			}
			if used >= quota {
				return true
			}
			used++
			return false
		})
	}
}

func daily(quota int) func() upstream {
	return func() upstream { return dailyQuota(func(int64) int { return quota }) }
}

func halved() upstream {
	return dailyQuota(func(at int64) int {
		if at > noon+10*day {
			return 30
		}
		return 60
	})
}

func always(share float64) func() upstream { return func() upstream { return random(share) } }

func fortyUses() upstream { return perToken(40) }

var worlds = []world{
	{name: "fixed daily quota", row: "fixed daily quota", up: daily(60), skill: 0.9},
	{name: "quota cut in half", row: "daily quota that is halved after 10 days", up: halved, skill: 0.85},
	{name: "rolling day quota", row: "rolling quota of 24 hours", up: func() upstream { return rollingQuota(60) }, skill: 0.4},
	{name: "outages", row: "outages of 40 minutes in the mean", up: outages, skill: 0.35},
	{name: "busy hours", row: "busy hours", up: busyHours, skill: 0.55},
	{name: "daily, reset stated", row: "the same, its reset stated", up: daily(60), skill: 0.95, tell: func(_ int, at int64, o *Outcome) {
		o.ResetAt = (at/day + 1) * day
	}},
	{name: "40 uses a token", row: "40 uses a token", up: fortyUses, replace: true, skill: 0.8},
	{name: "40 uses, stated", row: "the same, stated", up: fortyUses, replace: true, skill: 0.85, tell: func(served int, _ int64, o *Outcome) {
		o.Remaining, o.Limit = int64(40-served), 40
	}},
	{name: "40 uses, in batches", row: "the same, learned in batches of 3 minutes", up: fortyUses, replace: true, gap: time.Minute, batch: 3 * time.Minute, skill: 0.8},
	{name: "credits, stated", row: "credits, a call costs 1 to 9, stated", up: credits(bank{quota: 300, period: perDay}), says: true, skill: 0.9},
	{name: "credits, not stated", row: "the same, not stated", up: credits(bank{quota: 300, period: perDay}), skill: 0.87},
	{name: "credits, overdrawn", row: "the same, the last call may overdraw", up: credits(bank{quota: 300, period: perDay, spare: true}), says: true, skill: 0.9},
	{name: "weekly reset", row: "weekly quota, resets on Mondays", up: calendarQuota(500, perWeek), days: 60, skill: 0.95},
	{name: "monthly reset, UTC-8", row: "monthly quota, resets at midnight of UTC-8", up: calendarQuota(2500, perMonth), days: 120, skill: 0.97},
	{name: "the upstream lies", row: "says that nothing remains, which is not so", up: always(0.05), skill: -0.05, tell: func(_ int, at int64, o *Outcome) {
		o.Remaining, o.Limit, o.RetryAt = 0, 40, at+hour
	}},
	{name: "5 % at random", row: "refusals at random, 5 %", up: always(0.05), skill: -0.05},
	{name: "30 % at random", row: "refusals at random, 30 %", up: always(0.3), skill: -0.05},
	{name: "no quota", up: always(0), skill: -0.05},
}

// The forecasts are as good as docs/prediction.md says.
func TestSkillInSimulatedWorlds(t *testing.T) {
	const all = 3 // that docs/prediction.md is of
	seeds := amount(1, all)
	page, rows := skillTable(t), 0
	t.Logf("%-21s %6s %8s   skill over the base rate of: %7s %7s %7s   %5s %5s", "world", "calls", "refused", "mix", "last", "30 %", "right", "off by")
	for _, w := range worlds {
		var calls, refused, right, brier, base, last, rule, off float64
		for seed := range seeds {
			days := w.days
			if days == 0 {
				days = 20
			}
			a := w.live(seed, days, func(_ int64, _ *History, _ Usage, no bool) { refused += float64(one(no)) })
			n := float64(a.Count)
			calls += n
			right += n * a.ShareRight
			brier, base, last, rule = brier+n*a.Brier, base+n*a.BaseBrier, last+n*a.LastBrier, rule+n*a.RuleBrier
			off += miscalibration(a) / float64(seeds)
			assert.LessOrEqual(t, miscalibration(a), 0.08, "%s, seed %d", w.name, seed)
			assert.GreaterOrEqual(t, a.Skill, w.skill, "%s, seed %d", w.name, seed)
			if refused > 0 {
				assert.Less(t, a.Brier, a.RuleBrier, "%s, seed %d: the 30 %% rule is better", w.name, seed)
			}
		}
		t.Logf("%-21s %6.0f %7.1f%% %37.3f %7.3f %7.3f   %.3f %.3f", w.name, calls, 100*refused/calls, 1-brier/base, 1-last/base, 1-rule/base, right/calls, off)
		if w.row == "" {
			continue
		}
		rows++
		said := page[w.row]
		if !assert.Len(t, said, 4, "docs/prediction.md: no row %q", w.row) || seeds < all {
			continue
		}
		// A machine that multiplies and adds at once may round the last place otherwise.
		assert.InDelta(t, 100*refused/calls, said[0], 0.11, "docs/prediction.md: %s: refused", w.row)
		for i, is := range []float64{1 - brier/base, 1 - last/base, 1 - rule/base} {
			assert.InDelta(t, is, said[1+i], 0.0011, "docs/prediction.md: %s: skill, column %d", w.row, 1+i)
		}
	}
	assert.Len(t, page, rows, "docs/prediction.md has a row that nothing computes")
}

// miscalibration is the mean distance of a forecast from what came of those in
// its tenth.
func miscalibration(a Accuracy) (sum float64) {
	for _, b := range a.Reliability {
		sum += math.Abs(b.Forecast-b.Refused) * float64(b.Count) / float64(a.Count)
	}
	return sum
}

func TestWarnsBeforeTheFirstRefusal(t *testing.T) {
	w := world{up: fortyUses, replace: true}
	for seed := range amount(8, 20) {
		token, warned, wasNew := 0, int64(0), true
		w.live(seed, 10, func(at int64, h *History, u Usage, refused bool) {
			if isNew := u.Calls == 0; isNew && !wasNew {
				token, warned = token+1, 0
				wasNew = true
			} else if !isNew {
				wasNew = false
			}
			f := h.Forecast(u, at)
			switch {
			case token == 0 && u.Quota == 0:
				require.False(t, f.Warn, "the first token cannot be forecast: %s", f.Reason())
			case token >= 3 && u.Quota == 0:
				require.True(t, f.HasUses)
				require.Equal(t, 40-u.Uses(), f.UsesLeft, f.Reason())
				require.Greater(t, f.Confidence, 0.7)
				if f.Warn && warned == 0 {
					warned = at
					require.EqualValues(t, 32, u.Uses(), "the last fifth")
					require.InDelta(t, float64(at+8*int64(8*time.Minute)), float64(f.ExhaustedAt), float64(hour))
				}
				if refused {
					require.NotZero(t, warned, "token %d was refused without a warning", token)
					require.Greater(t, at-warned, int64(10*time.Minute))
					require.Greater(t, f.Probability, 0.5)
				}
			}
		})
		require.Greater(t, token, 5)
	}
}

func TestNeverWarnsWithoutAQuota(t *testing.T) {
	world{up: always(0)}.live(1, 5, func(at int64, h *History, u Usage, _ bool) {
		f := h.Forecast(u, at)
		require.False(t, f.Warn)
		require.Zero(t, f.ExhaustedAt)
	})
}

func TestForecastTakesTheUpstreamsWord(t *testing.T) {
	var h History
	var u Usage
	for i := range int64(10) {
		var b Usage
		b.Add(Outcome{At: noon + i*int64(time.Minute), Remaining: 29 - i, Limit: 30})
		h.Learn(&u, b)
	}
	f := h.Forecast(u, noon+10*int64(time.Minute))
	assert.EqualValues(t, 20, f.UsesLeft)
	assert.InDelta(t, float64(noon+30*int64(time.Minute)), float64(f.ExhaustedAt), float64(3*time.Minute))
	assert.False(t, f.Warn)
	assert.Equal(t, "the upstream's own word leaves 20 uses; the next call is refused with probability 0.01", f.Reason())
}

func TestARefusedTokenIsExhaustedUntilItServesAgain(t *testing.T) {
	var h History
	var u Usage
	learn := func(at int64, quota bool) Forecast {
		var b Usage
		b.Add(Outcome{At: at, Quota: quota})
		h.Learn(&u, b)
		return h.Forecast(u, at)
	}
	for i := range int64(5) {
		learn(noon+i*second, false)
	}
	f := learn(noon+5*second, true)
	assert.True(t, f.HasUses)
	assert.Zero(t, f.UsesLeft)
	assert.Equal(t, noon+5*second, f.ExhaustedAt)
	assert.Equal(t, []Life{{Uses: 5}}, h.Lives)

	f = learn(noon+6*second, false)
	assert.Equal(t, noon+5*second, f.ExhaustedAt, "it was under way")
	f = learn(noon+80*second, false)
	assert.EqualValues(t, 4, f.UsesLeft, "a new life")

	h.TokenEnded(u)
	assert.Equal(t, []Life{{Uses: 5}, {Uses: 1, Censored: true}}, h.Lives)
}

func TestATokenIsAsNewAfterItsStatedReset(t *testing.T) {
	var h History
	var u Usage
	for i := range int64(10) {
		learn(&h, &u, Outcome{At: noon + i*second})
	}
	learn(&h, &u, Outcome{At: noon + 10*second, Quota: true, ResetAt: noon + hour})
	f := h.Forecast(u, noon+hour-1)
	assert.Zero(t, f.UsesLeft)
	assert.True(t, f.Warn)
	assert.Equal(t, noon+10*second, f.ExhaustedAt)
	f = h.Forecast(u, noon+hour)
	assert.EqualValues(t, 10, f.UsesLeft)
	assert.False(t, f.Warn, f.Reason())
	learn(&h, &u, Outcome{At: noon + hour, Quota: true})
	assert.Zero(t, h.Forecast(u, noon+hour).UsesLeft, "the upstream was wrong")
}
