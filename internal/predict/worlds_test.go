package predict

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

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

// live makes one call each gap in the mean for so many days. A token is
// replaced half an hour after its first refusal, if replace is set.
func live(up upstream, seed uint64, days int, gap time.Duration, replace bool) Accuracy {
	r := rand.New(rand.NewPCG(seed, 1))
	var h History
	var u Usage
	uses, refused := 0, int64(0)
	for at := noon; at < noon+int64(days)*day; at += int64(r.ExpFloat64() * float64(gap)) {
		if replace && refused != 0 && at-refused > int64(30*time.Minute) {
			h.TokenEnded(u)
			u, uses, refused = Usage{}, 0, 0
		}
		no := up.refuses(at, uses, r)
		if no && refused == 0 {
			refused = at
		}
		if !no {
			uses++
		}
		var b Usage
		b.Add(Outcome{At: at, Latency: time.Second, Quota: no})
		h.Learn(&u, b)
	}
	return h.Accuracy()
}

func TestSkillInSimulatedWorlds(t *testing.T) {
	worlds := []struct {
		name     string
		up       func() upstream
		replace  bool
		min, max float64
	}{
		{"fixed daily quota", func() upstream { return dailyQuota(func(int64) int { return 60 }) }, false, 0.5, 1},
		{"quota cut in half", func() upstream {
			return dailyQuota(func(at int64) int {
				if at > noon+10*day {
					return 30
				}
				return 60
			})
		}, false, 0.5, 1},
		{"rolling day quota", func() upstream { return rollingQuota(60) }, false, 0.3, 1},
		{"outages", outages, false, 0.1, 1},
		{"busy hours", busyHours, false, 0.1, 1},
		{"40 uses a token", func() upstream { return perToken(40) }, true, 0.3, 1},
		{"5 % at random", func() upstream { return random(0.05) }, false, -0.05, 1},
		{"30 % at random", func() upstream { return random(0.3) }, false, -0.05, 1},
		{"no quota", func() upstream { return random(0) }, false, -0.05, 1},
	}
	t.Logf("%-20s %6s %8s %7s %7s %7s %7s", "world", "calls", "refused", "skill", "last", "rule", "right")
	for _, w := range worlds {
		var calls int64
		var brier, base, last, rule, right float64
		const seeds = 5
		for seed := range uint64(seeds) {
			a := live(w.up(), seed, 20, 8*time.Minute, w.replace)
			n := float64(a.Count)
			calls += a.Count
			brier, base, last, rule = brier+n*a.Brier, base+n*a.BaseBrier, last+n*a.LastBrier, rule+n*a.RuleBrier
			right += n * a.ShareRight
			assert.GreaterOrEqual(t, a.Skill, w.min, "%s, seed %d", w.name, seed)
		}
		t.Logf("%-20s %6d %8s %7.3f %7.3f %7.3f %7.3f", w.name, calls, "", 1-brier/base, 1-last/base, 1-rule/base, right/float64(calls))
	}
}
