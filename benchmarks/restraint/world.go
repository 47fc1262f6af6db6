// Package restraint replays workloads over simulated days against a simulated upstream, and counts what each way of
// holding tokens asks of the upstream and how many requests go out with a token that works.
package restraint

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// Call is one request that needs a token.
type Call struct {
	At      time.Duration // since the world began
	Process int
	Restart bool   // its process is new: what was in its memory is gone
	Caller  string // the operation, as tokenguard.Request has it; empty: all calls of the world are one
}

// World is a workload and the upstream that it meets.
type World struct {
	Name     string
	Random   bool // differs by seed
	Calls    func(r *rand.Rand) []Call
	Lifetime time.Duration
	Uses     int           // calls that a token is good for; 0: any number
	Revoked  time.Duration // mean time between two revocations of all tokens; 0: none
	Fails    float64       // share of the minutes in which every acquisition fails
	FailN    int           // the first so many acquisitions fail
	Retries  int           // how often a call that failed is tried again at once, at least once
	Moderate bool          // the hard limits are those of tokenguard.Moderate
}

// upstream mints tokens and knows which work.
type upstream struct {
	World
	seed    uint64
	revokes []time.Duration
	minted  int
	tokens  map[string]*token
}

type token struct {
	value string
	born  time.Duration
	uses  int
}

func newUpstream(w World, seed uint64) *upstream {
	u := &upstream{World: w, seed: seed, tokens: map[string]*token{}}
	r := rand.New(rand.NewPCG(seed, 2))
	for at := time.Duration(0); w.Revoked > 0 && at < 48*time.Hour; {
		at += time.Duration(r.ExpFloat64() * float64(w.Revoked))
		u.revokes = append(u.revokes, at)
	}
	return u
}

// down reports whether an acquisition in this minute fails.
func (u *upstream) down(at time.Duration) bool {
	if u.Fails == 0 {
		return false
	}
	h := fnv.New64a()
	fmt.Fprint(h, u.seed, at/time.Minute)
	return float64(h.Sum64()%1000) < 1000*u.Fails
}

func (u *upstream) mint(at time.Duration) *token {
	u.minted++
	if u.minted <= u.FailN || u.down(at) {
		return nil
	}
	t := &token{value: fmt.Sprintf("simulated %d", u.minted), born: at}
	u.tokens[t.value] = t
	return t
}

// ends is when the token dies of age or revocation.
func (u *upstream) ends(t *token) time.Duration {
	end := t.born + u.Lifetime
	for _, r := range u.revokes {
		if r > t.born {
			return min(end, r)
		}
	}
	return end
}

func (u *upstream) works(t *token, at time.Duration) bool {
	return t != nil && at < u.ends(t) && (u.Uses == 0 || t.uses < u.Uses)
}

// use makes a request with the token: 200, 401 or 429.
func (u *upstream) use(t *token, at time.Duration) int {
	switch {
	case at >= u.ends(t):
		return 401
	case u.Uses > 0 && t.uses >= u.Uses:
		return 429
	}
	t.uses++
	return 200
}

func steady(span, every time.Duration) func(*rand.Rand) []Call {
	return func(*rand.Rand) (calls []Call) {
		for at := every; at <= span; at += every {
			calls = append(calls, Call{At: at})
		}
		return calls
	}
}

// diurnal calls come at random, busiest at noon.
func diurnal(r *rand.Rand) (calls []Call) {
	for at := time.Duration(0); at < 24*time.Hour; {
		hour := at.Hours()
		busy := max(0.02, 1-(hour-12)*(hour-12)/100)
		at += time.Duration(r.ExpFloat64() * float64(20*time.Second) / busy)
		if at < 24*time.Hour {
			calls = append(calls, Call{At: at})
		}
	}
	return calls
}

func bursts(n, size int, span time.Duration) func(*rand.Rand) []Call {
	return func(r *rand.Rand) (calls []Call) {
		for range n {
			at := time.Duration(r.Int64N(int64(span - 20*time.Minute)))
			for range size {
				at += time.Duration(r.ExpFloat64() * float64(3*time.Second))
				calls = append(calls, Call{At: at})
			}
		}
		return inOrder(calls)
	}
}

func processes(n int, every, life time.Duration) func(*rand.Rand) []Call {
	return func(r *rand.Rand) (calls []Call) {
		for p := range n {
			born := time.Duration(r.Int64N(int64(life)))
			for at := time.Duration(r.Int64N(int64(every))); at < 24*time.Hour; at += every {
				restart := at >= born
				for at >= born {
					born += life
				}
				calls = append(calls, Call{At: at, Process: p, Restart: restart})
			}
		}
		return inOrder(calls)
	}
}

func inOrder(calls []Call) []Call {
	slices.SortStableFunc(calls, func(a, b Call) int { return int(a.At - b.At) })
	return calls
}

// incident reads the recorded afternoon.
func incident(path string) func(*rand.Rand) []Call {
	return func(*rand.Rand) (calls []Call) {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		ids := map[string]int{}
		var first time.Time
		for s := bufio.NewScanner(f); s.Scan(); {
			var line struct {
				At      time.Time `json:"at"`
				Process string    `json:"process"`
				Restart bool      `json:"restart"`
				Caller  string    `json:"caller"`
			}
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				panic(err)
			}
			if first.IsZero() {
				first = line.At
			}
			if _, ok := ids[line.Process]; !ok {
				ids[line.Process] = len(ids)
			}
			calls = append(calls, Call{At: line.At.Sub(first) + time.Second, Process: ids[line.Process], Restart: line.Restart, Caller: line.Caller})
		}
		return inOrder(calls)
	}
}

// Worlds are those of the published table. trace is the incident's file.
func Worlds(trace string) []World {
	long := steady(24*time.Hour, 30*time.Second)
	return []World{
		{Name: "the incident", Calls: incident(trace), Lifetime: time.Hour},
		{Name: "the incident, its first acquisition fails", Calls: incident(trace), Lifetime: time.Hour, FailN: 1},
		{Name: "the incident, 40 uses a token", Calls: incident(trace), Lifetime: time.Hour, Uses: 40},
		{Name: "24 h, a call each 30 s, tokens of 60 min", Calls: long, Lifetime: time.Hour},
		{Name: "the same, revoked every 2 h or so", Calls: long, Lifetime: time.Hour, Revoked: 2 * time.Hour, Random: true},
		{Name: "the same, 20 % of acquisitions fail", Calls: long, Lifetime: time.Hour, Fails: 0.2, Random: true},
		{Name: "the same, each call retried 5 times at once, 60 uses", Calls: long, Lifetime: time.Hour, Uses: 60, Retries: 5},
		{Name: "24 h, busiest at noon, 200 uses", Calls: diurnal, Lifetime: time.Hour, Uses: 200, Random: true},
		{Name: "tokens of 24 h", Calls: long, Lifetime: 24 * time.Hour},
		{Name: "tokens of 5 min", Calls: long, Lifetime: 5 * time.Minute},
		{Name: "tokens of 5 min, Moderate's limits", Calls: long, Lifetime: 5 * time.Minute, Moderate: true},
		{Name: "8 processes, restarts every 10 min", Calls: processes(8, 4*time.Minute, 10*time.Minute), Lifetime: time.Hour, Random: true},
		{Name: "8 h, 4 bursts of 200, 100 uses", Calls: bursts(4, 200, 8*time.Hour), Lifetime: time.Hour, Uses: 100, Random: true},
		{Name: "8 h, a call each 30 s, 40 uses", Calls: steady(8*time.Hour, 30*time.Second), Lifetime: time.Hour, Uses: 40},
	}
}
