package tokenguard

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// A simulation of many processes on one store. Whatever touches the store or the upstream stops at a gate, and only a
// seeded scheduler opens gates, so that processes meet in every order, are killed or stopped between any two steps, and
// lose answers; and so that a seed always tells the same story.
//
//	TOKENGUARD_SEED=17 go test -run 'Simulation$' .   tells one story
//	TOKENGUARD_LONG=1 go test -run 'Simulation$' .    tells thousands

// act does one random thing.
func (w *simWorld) act(n int) error {
	ready := w.pending()
	if w.inTurn {
		w.actInTurn(n, ready)
		return nil
	}
	if w.faults != nil && w.random.IntN(6) == 0 {
		return w.actFault(n)
	}
	p := w.procs[w.random.IntN(len(w.procs))]
	switch roll := w.random.IntN(100); {
	case roll < 60 && len(ready) > 0:
		g, out := ready[w.random.IntN(len(ready))], simOutcome{roll: w.random.IntN(1 << 20)}
		if g.what != "ask" && g.what != "answer" && (g.proc.away || w.random.IntN(20) == 0) {
			out.err = errSimFault // before the commit, or after it: the answer is lost
		}
		w.note("p%d %s %v (roll %d)", g.proc.id, g.what, out.err, out.roll%20)
		w.release(g, out)
	case roll < 75:
		d := []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 285 * time.Second, 6 * time.Minute, 25 * time.Minute, 3 * time.Hour}
		time.Sleep(d[w.random.IntN(len(d))])
	case roll < 90:
		req := Request{Scope: simScopes[w.random.IntN(len(simScopes))]}
		w.note("p%d calls for %q", p.id, req.Scope)
		w.ask(p, n, req)
	case roll < 93, w.blames && roll < 99:
		w.report(p, n)
	case roll < 95:
		p.stopped = !p.stopped
		w.note("p%d stopped: %v", p.id, p.stopped)
	case roll < 97:
		steps := []time.Duration{-400 * 24 * time.Hour, -2 * time.Hour, -time.Second, time.Second, 2 * time.Hour, 400 * 24 * time.Hour}
		by := steps[w.random.IntN(len(steps))]
		w.step.Add(int64(by))
		w.mu.Lock()
		w.check.stepped(max(by, 0))
		w.mu.Unlock()
		w.note("wall clock at %v", time.Duration(w.step.Load()))
	default:
		w.note("p%d killed", p.id)
		w.stats.crashes++
		w.kill(p)
		return w.birth()
	}
	return nil
}

// actInTurn lets every call run to its end before the next one comes, with nothing between that goes wrong: but the upstream
// may be reached late. What only such a story shows is in a few of these, where act has hundreds without it.
func (w *simWorld) actInTurn(n int, ready []*simGate) {
	late := slices.ContainsFunc(ready, func(g *simGate) bool { return g.what == "ask" }) && w.random.IntN(2) == 0
	switch {
	case late:
		time.Sleep(20 * time.Second)
	case len(ready) > 0:
		w.note("p%d %s", ready[0].proc.id, ready[0].what)
		w.release(ready[0], simOutcome{roll: 19}) // a token of half a minute
	case w.random.IntN(2) == 0:
		time.Sleep(285 * time.Second)
	default:
		p := w.procs[w.random.IntN(len(w.procs))]
		w.note("p%d calls", p.id)
		w.ask(p, n, Request{})
	}
}

// report says that a token, or the caller's own, is dead or spent.
func (w *simWorld) report(p *simProc, n int) {
	w.mu.Lock()
	id := w.check.someToken(w.random.IntN(1 << 20))
	w.mu.Unlock()
	if id == "" {
		return
	}
	class := []Class{ClassAuthInvalid, ClassQuotaExhausted, ClassTransient, ClassNone}[w.random.IntN(4)]
	if w.blames {
		class = ClassAuthInvalid
	}
	o := Outcome{TokenID: id}
	if class != ClassNone {
		o.Failure = Failure{StatusCode: 400, Message: string(class)}
	}
	w.note("p%d reports %s of %s", p.id, class, id)
	ctx := context.WithValue(p.ctx, simCall{}, n)
	p.calls.Go(func() { _ = p.guard.Report(ctx, o) })
}

// run plays a story of so many steps and returns the first violation.
func (w *simWorld) run(steps int) error {
	for range 3 {
		if err := w.birth(); err != nil {
			return err
		}
	}
	broken := func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.violation
	}
	err := error(nil)
	for n := 0; n < steps && err == nil; n++ {
		synctest.Wait()
		if err = w.act(n + 1); err == nil {
			err = broken()
		}
	}
	if err == nil {
		err = w.calm()
	}
	if err == nil {
		err = broken()
	}
	for len(w.procs) > 0 {
		w.kill(w.procs[0])
	}
	for _, p := range w.all {
		p.calls.Wait()
		_ = p.guard.Close()
	}
	return err
}

// calm is I5 and I6: once nothing interferes any more, every call ends within the lease and a little.
func (w *simWorld) calm() error {
	w.faults.calm()
	for _, p := range w.procs {
		p.stopped, p.away = false, false
	}
	if err := w.birth(); err != nil { // it meets whatever the killed left behind
		return err
	}
	for i, p := range w.procs {
		w.ask(p, 1<<19+i, Request{})
	}
	idle := make(chan struct{})
	procs := slices.Clone(w.procs)
	go func() {
		for _, p := range procs {
			p.calls.Wait()
		}
		close(idle)
	}()
	busy := 0 // rounds without rest: who asks again without end never lets time pass
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end) && busy < 1000; {
		synctest.Wait()
		select {
		case <-idle:
			return nil
		default:
		}
		ready := w.pending()
		busy++
		for _, g := range ready {
			if g.what == "personal" { // it hangs on
				continue
			}
			w.note("calm: p%d %s for call %d", g.proc.id, g.what, g.call)
			w.release(g, simOutcome{roll: 19}) // a token of an hour
			synctest.Wait()
		}
		if !slices.ContainsFunc(ready, func(g *simGate) bool { return g.what != "personal" }) {
			busy = 0
			time.Sleep(100 * time.Millisecond)
		}
	}
	return errors.New("I5: a call did not end")
}

func simulate(t *testing.T, seed uint64, steps int, change func(*simWorld)) (w *simWorld, err error) {
	// Two callers of one process that the same event wakes would race for who leads, and so for the order of the gates.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(*testing.T) {
		w = &simWorld{random: rand.New(rand.NewPCG(seed, 97)), begin: time.Now()}
		w.first = w.now()
		w.check = simCheck{tokens: map[string]simToken{}, adoptable: map[string]simAdopted{}, personal: map[string]bool{}}
		if seed%2 == 1 {
			w.mix()
		}
		if change != nil {
			change(w)
		}
		err = w.run(steps)
	})
	return w, err
}

func TestSimulation(t *testing.T) {
	first, count := uint64(0), amount(50, 5000)
	if s := os.Getenv("TOKENGUARD_SEED"); s != "" {
		var err error
		first, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		count = 1
	}
	var sum simStats
	for seed := first; seed < first+count; seed++ {
		w, err := simulate(t, seed, 200, nil)
		if err != nil {
			for _, line := range w.history[max(0, len(w.history)-90):] {
				t.Log(line)
			}
			t.Fatalf("seed %d: %v\nagain: TOKENGUARD_SEED=%d go test -run 'Simulation$' .", seed, err, seed)
		}
		sum.asked += len(w.check.asks)
		sum.crashes += w.stats.crashes
		sum.served += w.stats.served
		sum.refused += w.stats.refused
	}
	t.Logf("%d stories: %d acquisitions, %d crashes, %d calls served, %d not", count, sum.asked, sum.crashes, sum.served, sum.refused)
}

// The same seed tells the same story, or no failure could be looked into. In the calm at its end all calls go on at once:
// which of two for one scope is the first to ask is up to the scheduler.
func TestSimulationRepeats(t *testing.T) {
	for seed := range uint64(5) {
		var stories [2][]string
		for i := range stories {
			w, err := simulate(t, seed, 200, nil)
			require.NoError(t, err)
			calm := slices.IndexFunc(w.history, func(line string) bool { return strings.Contains(line, " calm: ") })
			require.NotZero(t, calm)
			if stories[i] = w.history; calm > 0 {
				stories[i] = w.history[:calm]
			}
		}
		require.Equal(t, stories[0], stories[1])
	}
}

// The simulation finds each wrong rule, so it would find ours.
func TestSimulationCatchesWrongRules(t *testing.T) {
	wrong := map[string]func(*simWorld){
		"the wall clock alone": func(w *simWorld) { w.noBoot = true },
		"no fencing": func(w *simWorld) {
			w.mutate = func(d *ledger.Document, now timeline.Instant) { // a late result ends whatever runs
				if slices.ContainsFunc(d.Attempts, func(a ledger.Attempt) bool { return a.Landed && a.End == now && a.End.Sub(a.Start) > 35*time.Second }) {
					dropAttempts(d, func(a ledger.Attempt) bool { return a.InProgress(now) })
				}
			}
		},
		"its own clock for the store's": func(w *simWorld) {
			w.mix()
			w.faults.remote, w.faults.ownClocks = true, true
		},
		"a suspend is no time": func(w *simWorld) {
			w.mix()
			w.faults.remote, w.faults.noSuspend = false, true
		},
		"forget rejections": func(w *simWorld) {
			w.blames, w.faults = true, nil
			w.mutate = func(d *ledger.Document, _ timeline.Instant) {
				for _, r := range d.Tokens {
					r.Rejected, r.Evidence = 0, nil
				}
			}
		},
	}
	for name, rule := range wrongRules {
		wrong[name] = func(w *simWorld) { w.mutate = rule(Conservative().RateLimit) }
	}
	if os.Getenv("TOKENGUARD_LONG") == "" { // among the others it shows in the 625th
		change := wrong["count from the start"]
		wrong["count from the start"] = func(w *simWorld) {
			change(w)
			w.inTurn, w.faults = true, nil
		}
	}
	for name, change := range wrong {
		t.Run(name, func(t *testing.T) {
			if name == "forget rejections" && os.Getenv("TOKENGUARD_LONG") == "" {
				t.Skip("shows in one story of hundreds; TOKENGUARD_LONG=1 looks for it")
			}
			for seed := range uint64(2000) {
				if _, err := simulate(t, seed, 200, change); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("no story showed it")
		})
	}
}
