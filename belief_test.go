package tokenguard_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

const day = 24 * time.Hour

// attack is a hostile caller. smart: it reports a success first; crowd: under a new name each time.
func attack(kind string, smart, crowd bool) worldCaller {
	c := worldCaller{name: "hostile", every: time.Minute, phase: 30 * time.Second}
	if crowd {
		c.name, c.names = "hostile ", 17576
	}
	c.hostile = func(w *beliefWorld, name string) {
		ask := func(scope string, f tokenguard.Failure, failing string) {
			_, _ = w.guard.Acquire(w.t.Context(), tokenguard.Request{Caller: name, Scope: scope, Failure: f, Failing: failing})
		}
		var known []string
		for _, tok := range w.alive {
			if tok.scope == "" && w.now() < tok.born+w.lifetime {
				known = append(known, tok.id)
			}
		}
		f := tokenDead
		switch kind {
		case "quota":
			f = usedUp
		case "none":
			f = usedUp
			f.Header = map[string][]string{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Limit": {"40"}}
		case "rate":
			ask("", tokenguard.Failure{StatusCode: 429, Message: "slow down", At: w.clock.now, Header: map[string][]string{"Retry-After": {"86400"}}}, "")
			return
		case "scope":
			ask(fmt.Sprint("scope ", w.now()), tokenguard.Failure{}, "")
			return
		case "works":
			for _, id := range known {
				w.tell(id, name, tokenguard.Failure{})
			}
			return
		}
		f.At = w.clock.now
		for _, id := range known {
			if smart {
				_ = w.guard.Report(w.t.Context(), tokenguard.Outcome{TokenID: id, Caller: name, Latency: time.Millisecond})
			}
			w.tell(id, name, f)
		}
		if len(known) == 0 {
			ask("", tokenguard.Failure{}, "")
			return
		}
		ask("", f, known[len(known)-1])
	}
	return c
}

// about is a Poisson process of a day.
func about(mean time.Duration, seed uint64) (at []time.Duration) {
	rng := rand.New(rand.NewPCG(seed, 5))
	for t := time.Duration(rng.ExpFloat64() * float64(mean)); t < day; t += time.Duration(rng.ExpFloat64() * float64(mean)) {
		at = append(at, t)
	}
	return at
}

// one is an operation that calls each minute.
func one(name string, change ...func(*worldCaller)) worldCaller {
	c := worldCaller{name: name, every: time.Minute}
	for _, f := range change {
		f(&c)
	}
	return c
}

func phase(d time.Duration) func(*worldCaller) { return func(c *worldCaller) { c.phase = d } }
func every(d time.Duration) func(*worldCaller) { return func(c *worldCaller) { c.every = d } }
func at(end int) func(*worldCaller)            { return func(c *worldCaller) { c.end = end } }
func in(scope string) func(*worldCaller)       { return func(c *worldCaller) { c.scope = scope } }
func crowd(n int) func(*worldCaller)           { return func(c *worldCaller) { c.names = n } }
func failuresOnly(c *worldCaller)              { c.habit = tellsFailures }
func silent(c *worldCaller)                    { c.habit = tellsNothing }
func jitter(c *worldCaller)                    { c.jitter = true }

// incidentCalls are those of the afternoon of 97.
func incidentCalls(t testing.TB) worldCaller {
	f, err := os.Open("testdata/incident-97.jsonl")
	require.NoError(t, err)
	defer f.Close()
	c := worldCaller{}
	var begin time.Time
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e struct {
			At     time.Time
			Caller string
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		if begin.IsZero() {
			begin = e.At
		}
		c.at, c.named = append(c.at, e.At.Sub(begin)), append(c.named, e.Caller)
	}
	return c
}

// beliefCase is a world, and the least that has to be served of some of its operations, in per cent: what the rules
// attain, a point or two aside. Without random parts one seed is enough.
type beliefCase struct {
	name   string
	make   func(seed uint64) *beliefWorld
	random bool
	least  []float64 // by operation; 0: not asked
	starts int       // the most; 0: not asked
	long   bool      // under TOKENGUARD_LONG alone
}

func beliefCases(t testing.TB) (all []beliefCase) {
	add := func(name string, random bool, least []float64, starts int, make func(seed uint64) *beliefWorld) {
		all = append(all, beliefCase{name: name, make: make, random: random, least: least, starts: starts})
	}
	slow := func() { all[len(all)-1].long = true }
	fixed := func(name string, least []float64, starts int, w func() *beliefWorld) {
		add(name, false, least, starts, func(uint64) *beliefWorld { return w() })
	}
	pace := time.Duration(amount(3, 1)) // the more calls, the longer it takes
	hours := func(d time.Duration) string { return fmt.Sprintf("tokens of %d h", d/time.Hour) }

	fixed("no attack", []float64{83}, 20, func() *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("a")}, lifetime: time.Hour}
	})
	for name, c := range map[string]worldCaller{"all": one("a"), "failures only": one("a", failuresOnly)} {
		add("revoked each 2 h, reports "+name, true, []float64{98}, 0, func(s uint64) *beliefWorld {
			return &beliefWorld{callers: []worldCaller{c}, lifetime: day, revoked: about(2*time.Hour, s)}
		})
	}
	add("revoked each 2 h, three operations", true, []float64{98, 98, 97}, 0, func(s uint64) *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("a"), one("b", phase(25*time.Second)), one("c", every(10*time.Minute), phase(45*time.Second))}, lifetime: day, revoked: about(2*time.Hour, s)}
	})
	for _, states := range []bool{false, true} {
		fixed(fmt.Sprintf("the incident, 40 uses, states that nothing remains: %v", states), []float64{97}, 3, func() *beliefWorld {
			return &beliefWorld{callers: []worldCaller{incidentCalls(t)}, ends: []endpoint{{states: states}}, lifetime: time.Hour, quota: 40, moderate: true}
		})
	}
	for _, life := range []time.Duration{time.Hour, day} {
		least, most := 79., 20
		if life == day {
			least, most = 99, 3
		}
		for name, callers := range map[string][]worldCaller{
			"the healthy one first":                 {one("a"), one("b", at(1), phase(30*time.Second))},
			"the refusing one first":                {one("a", phase(30*time.Second)), one("b", at(1))},
			"the refusing one reports failures":     {one("a"), one("b", at(1), phase(30*time.Second), failuresOnly)},
			"the healthy one is silent":             {one("a", phase(30*time.Second), silent), one("b", at(1), every(15*time.Second))},
			"64 names refused beside a healthy one": {one("a", every(30*time.Second)), one("b ", at(1), crowd(64), every(10*time.Second), phase(5*time.Second))},
		} {
			floor, starts := least, most
			switch {
			case name == "the healthy one is silent":
				starts = 20
			case strings.HasPrefix(name, "64 names") && life == day:
				starts = 2 // as the model makes
			}
			fixed("an endpoint that always answers 401, "+name+", "+hours(life), []float64{floor}, starts, func() *beliefWorld {
				return &beliefWorld{callers: callers, ends: []endpoint{{}, {denies: true}}, lifetime: life}
			})
			if life == time.Hour || strings.HasPrefix(name, "64 names") {
				slow()
			}
		}
		for _, kind := range []string{"auth", "quota", "none", "rate", "works"} {
			for v := range 4 {
				smart, crowd := v&1 == 1, v&2 == 2
				if (kind == "rate" || kind == "works") && smart {
					continue
				}
				floor := 79.
				if crowd {
					floor = 75
				}
				if life == day {
					floor = 99
				}
				fixed(fmt.Sprintf("hostile %s, after a success: %v, a new name each time: %v, %s", kind, smart, crowd, hours(life)), []float64{floor}, 0, func() *beliefWorld {
					return &beliefWorld{callers: []worldCaller{one("a"), attack(kind, smart, crowd)}, lifetime: life}
				})
				if smart || crowd || kind == "none" || life == day && kind != "works" {
					slow()
				}
			}
		}
		fixed("a flood of new scopes, "+hours(life), []float64{79}, 0, func() *beliefWorld {
			return &beliefWorld{callers: []worldCaller{one("a"), attack("scope", false, false)}, lifetime: life}
		})
		if life == day {
			slow()
		}
	}
	for _, often := range []time.Duration{time.Minute, 5 * time.Minute} {
		fixed(fmt.Sprintf("10 uses beside a health check each %v, 4 h", often), []float64{98, 100}, 0, func() *beliefWorld {
			return &beliefWorld{callers: []worldCaller{one("chat"), one("health", at(1), every(often), phase(30*time.Second))}, ends: []endpoint{{}, {free: true}}, lifetime: day, quota: 10, moderate: true, lasts: 4 * time.Hour}
		})
	}
	for _, n := range []int{2, 16, 500} {
		add(fmt.Sprintf("%d names in turn, revoked each 2 h", n), true, []float64{98}, 0, func(s uint64) *beliefWorld {
			return &beliefWorld{callers: []worldCaller{one("p ", crowd(n), every(pace*10*time.Second))}, lifetime: day, revoked: about(2*time.Hour, s)}
		})
		if n > 2 {
			slow()
		}
	}
	for _, often := range []time.Duration{5 * time.Second, 15 * time.Second} {
		for _, lag := range []time.Duration{10 * time.Second, time.Minute} {
			fixed(fmt.Sprintf("a token that spreads in %v, a call each %v", lag, often), []float64{80}, 0, func() *beliefWorld {
				return &beliefWorld{callers: []worldCaller{one("a", every(often))}, lifetime: time.Hour, lag: lag}
			})
			if often < 15*time.Second || lag < time.Minute {
				slow()
			}
		}
	}
	// Each token is refused until it has spread and serves then: no row of tokens that never worked.
	fixed("a token of 20 min that spreads in 30 s, reports failures", []float64{60}, 0, func() *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("a", failuresOnly)}, lifetime: 20 * time.Minute, lag: 30 * time.Second, moderate: true, revoked: []time.Duration{2 * time.Minute, 15 * time.Minute, 3 * time.Hour}}
	})
	for _, n := range []int{1, 3} {
		add(fmt.Sprintf("1 %% of the calls answer a false 401, %d operations each %v", n, pace*10*time.Second), true, []float64{99}, []int{5, 0, 14}[n-1], func(s uint64) *beliefWorld {
			w := &beliefWorld{lifetime: day, false401: .01}
			for i := range n {
				w.callers = append(w.callers, one(letters(i), every(pace*10*time.Second), phase(time.Duration(i)*3*time.Second)))
			}
			return w
		})
		slow() // TestFalseRefusals has one operation
		add(fmt.Sprintf("a burst that looks like a quota for 30 s each 20 min, %d operations each %v", n, pace*10*time.Second), true, []float64{99}, []int{3, 0, 6}[n-1], func(s uint64) *beliefWorld {
			w := &beliefWorld{lifetime: day, bursts: about(20*time.Minute, s), burst: 30 * time.Second}
			for i := range n {
				w.callers = append(w.callers, one(letters(i), every(pace*10*time.Second), phase(time.Duration(i)*3*time.Second)))
			}
			return w
		})
		if n > 1 {
			slow()
		}
	}
	fixed("no token ever works", nil, 8, func() *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("a")}, lifetime: time.Hour, never: true}
	})
	fixed("one scope never works", []float64{0, 74}, 0, func() *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("x", in("private"), at(1), every(pace*15*time.Second)), one("y", in("public"), phase(20*time.Second))}, ends: []endpoint{{}, {denies: true}}, lifetime: time.Hour}
	})
	for _, life := range []time.Duration{time.Hour, day} {
		fixed("two operations with 40 uses each of a token, "+hours(life), []float64{15, 30}, 0, func() *beliefWorld {
			return &beliefWorld{callers: []worldCaller{one("a", every(30*time.Second)), one("b", at(1), every(2*time.Minute), phase(15*time.Second))}, ends: []endpoint{{quota: 40}, {quota: 40}}, lifetime: life}
		})
		if life == day {
			slow()
		}
	}
	return all
}

// pageRows are the rows of docs/evidence.md whose figures are those of the first operation of these worlds: a group for each
// figure, or range of figures, in the row.
func pageRows() map[string][][]string {
	hostile := func(kind string, smart, crowd bool) string {
		return fmt.Sprintf("hostile %s, after a success: %v, a new name each time: %v, tokens of 1 h", kind, smart, crowd)
	}
	all := func(kind string) (names []string) {
		for v := range 4 {
			names = append(names, hostile(kind, v&1 == 1, v&2 == 2))
		}
		return names
	}
	incident := func(states bool) []string {
		return []string{fmt.Sprintf("the incident, 40 uses, states that nothing remains: %v", states)}
	}
	return map[string][][]string{
		"no attack": {{"no attack"}},
		"hostile `auth_invalid` each minute, alone, after a faked success, or under a new name each time": {all("auth")[:3]},
		"the same, after a faked success and under a new name each time":                                  {all("auth")[3:]},
		"hostile quota; it states that nothing remains":                                                   {all("quota"), all("none")},
		"a flood of new scopes": {{"a flood of new scopes, tokens of 1 h"}},
		"a quota of 10 uses beside a health check, `Moderate()`, 4 h":                     {{"10 uses beside a health check each 1m0s, 4 h"}},
		"the incident with 40 uses a token, `Moderate()`; it states that nothing remains": {incident(false), incident(true)},
	}
}

// onEvidencePage asserts that the page on evidence says so.
func onEvidencePage(t *testing.T, format string, of ...any) {
	t.Helper()
	page, err := os.ReadFile("docs/evidence.md")
	require.NoError(t, err)
	if said := fmt.Sprintf(format, of...); !strings.Contains(string(page), said) {
		t.Errorf("docs/evidence.md does not say %q", said)
	}
}

// The rules of docs/evidence.md hold in the worlds that they were made for. The figures that are printed are the shares
// of calls served with a token that works, by operation; those that the page shows are these.
func TestBeliefWorlds(t *testing.T) {
	long := os.Getenv("TOKENGUARD_LONG") != ""
	var mu sync.Mutex
	first := map[string]float64{} // the share of a world's first operation
	t.Cleanup(func() { compareWithPage(t, first) })
	for _, c := range beliefCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.long && !long {
				t.Skip("under TOKENGUARD_LONG")
			}
			seeds := uint64(1)
			if c.random && long {
				seeds = 20
			}
			var calls, served []int
			var starts, dead, starved int
			for s := range seeds {
				w := c.make(s).play(t, s)
				if calls == nil {
					calls, served = make([]int, len(w.calls)), make([]int, len(w.calls))
				}
				for i := range w.calls {
					calls[i] += w.calls[i]
					served[i] += w.served[i]
				}
				starts, dead, starved = starts+len(w.starts), dead+w.dead, starved+w.starved
			}
			var shares []string
			for i := range calls {
				if calls[i] > 0 {
					shares = append(shares, fmt.Sprintf("%.1f", 100*float64(served[i])/float64(calls[i])))
				}
			}
			n := float64(seeds)
			mu.Lock()
			first[c.name] = 100 * float64(served[0]) / float64(calls[0])
			mu.Unlock()
			t.Logf("%v %% served, %.1f starts, %.0f calls with a dead token, %.0f left without one that works", shares, float64(starts)/n, float64(dead)/n, float64(starved)/n)
			for i, least := range c.least {
				assert.GreaterOrEqual(t, 100*float64(served[i])/float64(calls[i]), least, "operation %d", i)
			}
			assert.Zero(t, starved, "nobody leaves with nothing beside a token that works and that it has not refused")
			if c.starts > 0 {
				assert.LessOrEqual(t, float64(starts)/n, float64(c.starts), "starts")
			}
		})
	}
}

// compareWithPage holds the page's figures against those of the worlds that were played. first: the share of a world's
// first operation, by name.
func compareWithPage(t *testing.T, first map[string]float64) {
	shown := 0
	for row, groups := range pageRows() {
		var figures []string
		for _, group := range groups {
			var shares []float64
			for _, name := range group {
				if share, played := first[name]; played {
					shares = append(shares, share)
				}
			}
			if len(shares) < len(group) {
				break
			}
			least, most := fmt.Sprintf("%.1f", slices.Min(shares)), fmt.Sprintf("%.1f", slices.Max(shares))
			if least != most {
				least += " to " + most
			}
			figures = append(figures, strings.TrimSuffix(least, ".0")+" %")
		}
		if len(figures) == len(groups) {
			onEvidencePage(t, "\n| %s | %s | ", row, strings.Join(figures, "; "))
			shown++
		}
	}
	if len(first) == len(beliefCases(t)) {
		assert.Equal(t, len(pageRows()), shown, "worlds that the page names are not played")
	}
}

// anyWorld is a world that nobody chose, without an attacker.
func anyWorld(seed uint64) *beliefWorld {
	rng := rand.New(rand.NewPCG(seed, 300))
	pick := func(of ...time.Duration) time.Duration { return of[rng.IntN(len(of))] }
	maybe := func(p float64) bool { return rng.Float64() < p }
	w := &beliefWorld{lifetime: pick(20*time.Minute, time.Hour, 6*time.Hour, day), moderate: maybe(.3), lag: pick(0, 0, 5*time.Second, 30*time.Second)}
	if maybe(.5) {
		w.revoked = about(pick(time.Hour, 2*time.Hour, 6*time.Hour), seed)
	}
	if maybe(.3) {
		w.quota = 5 + rng.IntN(200)
	}
	if maybe(.3) {
		w.bursts, w.burst = about(pick(time.Hour, 4*time.Hour), seed+1), 30*time.Second
	}
	if maybe(.3) {
		w.false401 = .01 * rng.Float64()
	}
	if maybe(.3) {
		w.falseUse = .01 * rng.Float64()
	}
	w.ends = []endpoint{{}}
	for range rng.IntN(3) {
		e := endpoint{free: maybe(.3), denies: maybe(.3), states: maybe(.3), late: pick(0, 0, time.Minute)}
		if maybe(.3) {
			e.quota = 10 + rng.IntN(100)
		}
		w.ends = append(w.ends, e)
	}
	for i := range 1 + rng.IntN(4) {
		c := one(letters(i), every(pick(20*time.Second, time.Minute, 5*time.Minute)), jitter, at(rng.IntN(len(w.ends))))
		c.habit = []habit{tellsAll, tellsAll, tellsFailures, tellsNothing}[rng.IntN(4)]
		w.callers = append(w.callers, c)
	}
	return w
}

// In worlds that nobody chose, attackers take little from the others, and the limits hold.
func TestAnyBeliefWorld(t *testing.T) {
	worlds, lasts, long := uint64(3), 2*time.Hour, os.Getenv("TOKENGUARD_LONG") != ""
	if long {
		worlds, lasts = 20, day
	}
	kinds := []string{"auth", "quota", "none", "rate", "scope", "works"}
	shares := make([][3]float64, worlds)
	var played atomic.Int64
	t.Cleanup(func() {
		if int(played.Load()) == len(shares)*len(shares[0]) {
			compareMeans(t, shares, long)
		}
	})
	for seed := range worlds {
		for attackers := range shares[seed] {
			t.Run(fmt.Sprintf("seed %d, %d attackers", seed, attackers), func(t *testing.T) {
				t.Parallel()
				w, rng := anyWorld(seed), rand.New(rand.NewPCG(seed, 2))
				honest := len(w.callers)
				w.lasts = lasts
				for range attackers {
					w.callers = append(w.callers, attack(kinds[rng.IntN(len(kinds))], rng.IntN(2) == 0, rng.IntN(2) == 0))
				}
				w.play(t, seed)
				assert.Zero(t, w.starved, "left with nothing, beside a token that works and that they had not refused")
				var calls, served int
				for i := range honest {
					calls, served = calls+w.calls[i], served+w.served[i]
				}
				shares[seed][attackers] = float64(served) / float64(calls)
				played.Add(1)
			})
		}
	}
}

// compareMeans holds the page's means against those of the worlds that were played. many: few say nothing of them.
func compareMeans(t *testing.T, shares [][3]float64, many bool) {
	var mean [3]float64
	for _, world := range shares {
		for attackers, share := range world {
			mean[attackers] += share / float64(len(shares))
		}
	}
	t.Logf("%d worlds: mean share served %.3f without an attacker, %.3f beside one, %.3f beside two", len(shares), mean[0], mean[1], mean[2])
	if many {
		onEvidencePage(t, "of the %d that the command plays %.2f, %.2f and %.2f", len(shares), mean[0], mean[1], mean[2])
		assert.Greater(t, mean[1], .6*mean[0])
		assert.Greater(t, mean[2], .55*mean[0])
	}
}
