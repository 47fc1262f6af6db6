package tokenguard_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// modelCase is a world of the reference model of the rules, and what the model serves there, in per cent by operation: the
// mean over the same two seeds.
type modelCase struct {
	name  string
	make  func(seed uint64) *beliefWorld
	model []float64
}

// modelCases are those worlds that beliefCases lacks.
func modelCases() (all []modelCase) {
	add := func(name string, model []float64, make func(seed uint64) *beliefWorld) {
		all = append(all, modelCase{name, make, model})
	}
	two := func(a, b worldCaller) []worldCaller { return []worldCaller{a, b} }
	revoked := func(s uint64) []time.Duration { return about(2*time.Hour, s) }
	b := func(change ...func(*worldCaller)) worldCaller {
		return one("b", append([]func(*worldCaller){phase(25 * time.Second)}, change...)...)
	}
	add("silent, revoked each 2 h", []float64{5}, func(s uint64) *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("a", silent)}, lifetime: day, revoked: revoked(s)}
	})
	add("failures only beside all, revoked each 2 h", []float64{99.4, 99.3}, func(s uint64) *beliefWorld {
		return &beliefWorld{callers: two(one("a", failuresOnly), b()), lifetime: day, revoked: revoked(s)}
	})
	for life, figures := range map[time.Duration][][]float64{
		time.Hour: {{59.6, 59.5, 60.1}, {61.8, 62.2, 64.6}, {58.9, 64.5, 66}}, day: {{99.4, 99.4, 99.7}, {99.3, 99.4, 99.7}, {98.6, 99.8, 99.7}},
	} {
		for i, late := range []time.Duration{0, time.Minute, 10 * time.Minute} {
			add(fmt.Sprintf("a revocation reaches two of three %v late, tokens of %v", late, life), figures[i], func(s uint64) *beliefWorld {
				return &beliefWorld{callers: []worldCaller{one("a"), b(at(1)), one("c", at(1), every(10*time.Minute), phase(45*time.Second))},
					ends: []endpoint{{}, {late: late}}, lifetime: life, revoked: revoked(s)}
			})
		}
	}
	for _, moderate := range []bool{false, true} {
		lasts, model := 4*time.Hour, []float64{33.3, 100}
		if moderate {
			lasts, model = day, []float64{34, 100}
		}
		add(fmt.Sprintf("10 uses beside a health check, %v", lasts), model, func(uint64) *beliefWorld {
			return &beliefWorld{callers: two(one("chat"), one("health", at(1), phase(30*time.Second))), ends: []endpoint{{}, {free: true}}, lifetime: day, quota: 10, moderate: moderate, lasts: lasts}
		})
	}
	for kind, figures := range map[string][]float64{ // alone, after a success, new names, both
		"auth": {79.9, 29.6, 21.7, 75.2}, "quota": {43.8, 83.3, 43.8, 83.3}, "none": {43.8, 43.8, 43.8, 78.7}, "rate": {83.3}, "scope": {79.2},
	} {
		for v, share := range figures {
			add(fmt.Sprintf("silent beside hostile %s %d", kind, v), []float64{share}, func(uint64) *beliefWorld {
				return &beliefWorld{callers: two(one("a", silent), attack(kind, v&1 == 1, v&2 == 2)), lifetime: time.Hour}
			})
		}
	}
	for often, kinds := range map[time.Duration]map[string][]float64{
		time.Minute:      {"auth": {80.1, 80.1, 80.1, 76.4}, "quota": {81.9, 83.9, 83, 83.9}, "rate": {83.9}, "scope": {73.5}},
		10 * time.Minute: {"auth": {79.9, 75.8, 79.9, 75.4}, "quota": {81.7, 83.7, 81.7, 83.7}, "none": {81.7, 81.7, 81.7, 78.2}, "rate": {89.6}, "scope": {40.1}},
		30 * time.Minute: {"auth": {76, 69.8, 75, 74}, "quota": {80.2, 81.2, 79.2, 81.2}, "none": {80.2, 79.2, 79.2, 77.1}, "rate": {99}, "scope": {0}},
	} {
		for kind, figures := range kinds {
			for v, share := range figures {
				add(fmt.Sprintf("each %v beside hostile %s %d", often, kind, v), []float64{share}, func(uint64) *beliefWorld {
					hostile := attack(kind, v&1 == 1, v&2 == 2)
					hostile.phase, hostile.jitter = 0, true
					return &beliefWorld{callers: two(one("a", every(often), jitter), hostile), lifetime: time.Hour}
				})
			}
		}
	}
	for life, share := range map[time.Duration]float64{time.Hour: 57.5, day: 97.2} {
		add(fmt.Sprintf("one that lies that all works, revoked each 2 h, tokens of %v", life), []float64{share}, func(s uint64) *beliefWorld {
			return &beliefWorld{callers: two(one("a"), attack("works", false, false)), lifetime: life, revoked: revoked(s)}
		})
	}
	add("a newcomer first after each revocation", []float64{100, 100}, func(uint64) *beliefWorld {
		return &beliefWorld{callers: two(one("a", phase(40*time.Second)), one("new ", crowd(26), every(6*time.Hour), phase(6*time.Hour+20*time.Second))), lifetime: day,
			revoked: []time.Duration{6 * time.Hour, 12 * time.Hour, 18 * time.Hour}}
	})
	add("a newcomer stays and reports failures", []float64{99.1, 99.4}, func(s uint64) *beliefWorld {
		return &beliefWorld{callers: two(one("a", phase(40*time.Second)), one("n", failuresOnly)), lifetime: day, revoked: revoked(s)}
	})
	for life, figures := range map[time.Duration][]float64{time.Hour: {56.9, 100}, day: {69.4, 100}} {
		add(fmt.Sprintf("two operations with 40 uses each, Moderate, tokens of %v", life), figures, func(uint64) *beliefWorld {
			return &beliefWorld{callers: two(one("a", every(30*time.Second)), one("b", at(1), every(2*time.Minute), phase(15*time.Second))), ends: []endpoint{{quota: 40}, {quota: 40}}, lifetime: life, moderate: true}
		})
	}
	add("1 % false 401, failures only", []float64{100}, func(uint64) *beliefWorld {
		return &beliefWorld{callers: []worldCaller{one("a", failuresOnly)}, lifetime: day, false401: .01}
	})
	add("64 names in turn beside one that is refused", []float64{100}, func(uint64) *beliefWorld {
		return &beliefWorld{callers: two(one("p ", crowd(64), every(10*time.Second)), one("b", at(1), phase(5*time.Second))), ends: []endpoint{{}, {denies: true}}, lifetime: day}
	})
	for lag, figures := range map[time.Duration][]float64{10 * time.Second: {99.1, 99.1, 99.3}, time.Minute: {97.9, 98, 98.1}} {
		add(fmt.Sprintf("a token that spreads in %v, revoked each 2 h", lag), figures, func(s uint64) *beliefWorld {
			return &beliefWorld{callers: []worldCaller{one("a", every(20*time.Second)), one("b", every(20*time.Second), phase(5*time.Second), failuresOnly), one("c", every(20*time.Second), phase(12*time.Second))},
				lifetime: day, lag: lag, revoked: revoked(s)}
		})
	}
	add("without names, one is refused", []float64{1.4}, func(uint64) *beliefWorld {
		return &beliefWorld{callers: two(one(""), one("", at(1), phase(30*time.Second))), ends: []endpoint{{}, {denies: true}}, lifetime: day, unnamed: true}
	})
	add("without names, 10 uses and a health check, Moderate, 4 h", []float64{33.3, 100}, func(uint64) *beliefWorld {
		return &beliefWorld{callers: two(one(""), one("", at(1), phase(30*time.Second))), ends: []endpoint{{}, {free: true}}, lifetime: day, quota: 10, moderate: true, lasts: 4 * time.Hour, unnamed: true}
	})
	for life, figures := range map[time.Duration][2][]float64{time.Hour: {{65.9, 65.6, 0, 65.6, 65.6, 65.6}, {60.6, 60.9, 0, 62.8, 62.8, 62.7}}, day: {{73.4, 89.3, 0, 89.2, 89.2, 89.4}, {22.1, 34.4, 0, 33.3, 31.4, 34.2}}} {
		for attacked, model := range figures {
			add(fmt.Sprintf("of all sorts, tokens of %v, %d hostile", life, 4*attacked), model, func(s uint64) *beliefWorld {
				w := &beliefWorld{lifetime: life, lag: 10 * time.Second, revoked: about(4*time.Hour, s), false401: .001, falseUse: .001, bursts: about(4*time.Hour, s+77), burst: 30 * time.Second,
					ends: []endpoint{{quota: 200}, {free: true}, {denies: true}, {}},
					callers: []worldCaller{one("chat", every(20*time.Second), jitter), one("health", at(1), jitter), one("denied", at(2), jitter), one("fo", at(3), every(40*time.Second), jitter, failuresOnly),
						one("silent", at(3), every(40*time.Second), jitter, silent), one("p ", crowd(40), at(3), every(30*time.Second), jitter)}}
				if attacked == 1 {
					w.callers = append(w.callers, attack("auth", false, false), attack("none", true, false), attack("rate", false, false), attack("scope", false, false))
				}
				return w
			})
		}
	}
	return all
}

// The guard serves in the model's worlds what the model does, by what it says at once: the model's processes are one here.
func TestBeliefModelWorlds(t *testing.T) {
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("under TOKENGUARD_LONG")
	}
	// Points that a mean of two days may lie below the model's. Where flukes are thrown they fall otherwise there: 2.2 are
	// needed in one such world, 1.8 elsewhere.
	const seeds, points = 2, 2.5
	var guards, models, n, operations float64
	var mu sync.Mutex
	t.Cleanup(func() {
		t.Logf("mean over %.0f operations of %d worlds: %.1f %% served, the model %.1f %%", n, len(modelCases()), guards/n, models/n)
		if n == operations {
			onEvidencePage(t, "# %d more, a few minutes: %.1f %% in the mean of all operations, the model %.1f %%\n", len(modelCases()), guards/n, models/n)
			onEvidencePage(t, "In %d further worlds, whose shares by a model of these rules are in `beliefmodel_test.go`, the guard serves %.1f %% in the mean and the model %.1f %%.", len(modelCases()), guards/n, models/n)
		}
	})
	for _, c := range modelCases() {
		operations += float64(len(c.model))
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			calls, served := make([]int, len(c.model)), make([]int, len(c.model))
			starts := 0
			for s := range uint64(seeds) {
				w := c.make(s).play(t, s)
				for i := range calls {
					calls[i], served[i] = calls[i]+w.calls[i], served[i]+w.served[i]
				}
				starts += len(w.starts)
				assert.Zero(t, w.starved)
			}
			var shares []string
			for i, model := range c.model {
				share := 100 * float64(served[i]) / float64(calls[i])
				shares = append(shares, fmt.Sprintf("%.1f", share))
				assert.GreaterOrEqual(t, share, model-points, "operation %d", i)
				mu.Lock()
				guards, models, n = guards+share, models+model, n+1
				mu.Unlock()
			}
			t.Logf("%s %% served, the model %.1f; %.1f starts", strings.Join(shares, " "), c.model, float64(starts)/seeds)
		})
	}
}

// An operation whose endpoint refuses every token is not heard for a dead token besides (R7): in a day of calls of all sorts
// its starts would be missing in the evening, when an operation with a quota of its own needs them.
func TestTheRefusedOneTakesNoStartsOfTheDay(t *testing.T) {
	for _, c := range modelCases() {
		if c.name != "of all sorts, tokens of 24h0m0s, 0 hostile" {
			continue
		}
		w := c.make(0)
		w.lasts = time.Duration(amount(8, 24)) * time.Hour
		w.play(t, 0)
		chat := 100 * float64(w.served[0]) / float64(w.calls[0])
		t.Logf("%.1f %% of the calls with a quota served, %d starts in %v", chat, len(w.starts), w.lasts)
		if w.lasts == day {
			assert.Greater(t, chat, 63., "54.3 if it is heard")
			return
		}
		assert.LessOrEqual(t, len(w.starts), 10, "12 if it is heard")
		return
	}
	t.Fatal("there is no such world")
}
