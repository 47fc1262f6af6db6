package restraint

import (
	"math/rand/v2"
	"sort"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Result is what a way did in a world, as means over the seeds.
type Result struct {
	Way          string
	Share        float64 // of the requests that went out with a working token, in [0,1]
	Acquisitions float64
	Refused      map[tokenguard.Reason]float64 // refusals by reason; tokenguard alone
}

// Seeds are as many as docs/performance.md takes the means over.
const Seeds = 20

// Run replays a world through every way.
func Run(w World, seeds int) []Result {
	if !w.Random {
		seeds = 1
	}
	var out []Result
	for _, name := range Ways {
		sum := Result{Way: name, Refused: map[tokenguard.Reason]float64{}}
		for seed := range uint64(seeds) {
			u := newUpstream(w, seed)
			calls := w.Calls(rand.New(rand.NewPCG(seed, 1)))
			served := 0
			if name == Planner {
				var starts int
				served, starts = plan(u, calls, hard(w))
				u.minted = starts
			} else {
				served = replay(u, calls, newWay(name, u), &sum)
			}
			sum.Share += float64(served) / float64(len(calls)) / float64(seeds)
			sum.Acquisitions += float64(u.minted) / float64(seeds)
		}
		for reason := range sum.Refused {
			sum.Refused[reason] /= float64(seeds)
		}
		out = append(out, sum)
	}
	return out
}

// The ways, in the order of the table.
const (
	None     = "no guard"
	Reuse    = "ReuseTokenSource"
	Limiter  = "TTL cache + limiter"
	Breaker  = "breaker + limiter"
	Default  = "tokenguard"
	Early    = "tokenguard, ReplaceSpentEarly"
	Moderate = "tokenguard, Moderate"
	Greedy   = "hard limits alone"
	Planner  = "planner"
)

// Ways are the names of all.
var Ways = []string{None, Reuse, Limiter, Breaker, Default, Early, Moderate, Greedy, Planner}

func newWay(name string, u *upstream) way {
	switch name {
	case None:
		return none{u}
	case Reuse:
		return &cache{u: u}
	case Limiter:
		return &cache{u: u, drops: true, limit: true}
	case Breaker:
		return &cache{u: u, drops: true, limit: true, opens: 5}
	case Default:
		return newGuard(u, tokenguard.Conservative())
	case Early:
		preset := tokenguard.Conservative()
		preset.Manager.ReplaceSpentEarly = true
		return newGuard(u, preset)
	case Moderate:
		return newGuard(u, tokenguard.Moderate())
	default:
		return &greedy{u: u, limits: hard(u.World)}
	}
}

// replay makes the calls; each is tried again at once with another token, if the way has one after the failure.
func replay(u *upstream, calls []Call, k way, sum *Result) (served int) {
	known := map[int]bool{}
	last := map[int]int{} // a process ends with its last call, as a run by hand does with its only one
	for i, c := range calls {
		last[c.Process] = i
	}
	g, guarded := k.(*guard)
	for i, c := range calls {
		if c.Restart || !known[c.Process] {
			known[c.Process] = true
			k.restart(c.Process)
		}
		var failing *token
		status := 0
		for range 1 + max(u.Retries, 1) {
			t := k.get(c, failing, status)
			if t == nil {
				if u.Retries > 0 {
					continue
				}
				break
			}
			if status = u.use(t, c.At); status == 200 {
				served++
				k.worked(c, t)
				break
			}
			failing = t
		}
		if guarded && last[c.Process] == i {
			_ = g.guards[c.Process].Close()
		}
	}
	if guarded {
		for reason, n := range g.refused {
			sum.Refused[reason] += float64(n)
		}
	}
	return served
}

// plan is the most calls that can be served under the spacing and the day's budget by who knows the future but starts
// only when the last token is dead. The hour's limit is left out, so that it is a bound which nobody passes: dynamic
// programming over (call, starts left).
func plan(u *upstream, calls []Call, l limits) (served, starts int) {
	n := len(calls)
	most := l.day
	for span := calls[n-1].At; span > 24*time.Hour; span -= 24 * time.Hour {
		most += l.day
	}
	best := make([][]int32, n+1)
	for i := range best {
		best[i] = make([]int32, most+1)
	}
	next := func(at time.Duration) int { return sort.Search(n, func(j int) bool { return calls[j].At >= at }) }
	for i := n - 1; i >= 0; i-- {
		at := calls[i].At
		dead := next(u.ends(&token{born: at}))
		if u.Uses > 0 {
			dead = min(dead, i+u.Uses)
		}
		fails := u.down(at)
		after := max(dead, next(at+l.spacing))
		for k := range best[i] {
			best[i][k] = best[i+1][k]
			if k > 0 && !fails {
				best[i][k] = max(best[i][k], int32(dead-i)+best[after][k-1])
			}
		}
	}
	served = int(best[0][most])
	if u.FailN > 0 { // it has to pay for the failures before it is served
		rest := calls[next(calls[0].At+time.Duration(u.FailN)*l.spacing):]
		served, starts = plan(&upstream{World: World{Lifetime: u.Lifetime, Uses: u.Uses}, revokes: u.revokes}, rest, limits{l.hour, l.day - u.FailN, l.spacing})
		return served, starts + u.FailN
	}
	for starts = 0; int(best[0][starts]) < served; starts++ {
	}
	return served, starts
}
