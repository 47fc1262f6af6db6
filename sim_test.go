package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A simulation of many processes on one store. Whatever touches the store or the upstream stops at a gate, and only a
// seeded scheduler opens gates, so that processes meet in every order, are killed or stopped between any two steps, and
// lose answers; and so that a seed always tells the same story.
//
//	TOKENGUARD_SEED=17 go test -run 'Simulation$' .   tells one story
//	TOKENGUARD_LONG=1 go test -run 'Simulation$' .    tells thousands

type simWorld struct {
	random  *rand.Rand
	begin   time.Time
	step    atomic.Int64 // of the wall clock
	mutate  func(d *document, now instant)
	noBoot  bool // the wall clock alone
	nextID  int
	procs   []*simProc // alive
	all     []*simProc
	stats   simStats
	history []string

	mu        sync.Mutex // guards what follows
	gates     []*simGate
	snap      Snapshot
	older     Snapshot
	check     simCheck
	violation error
}

type simStats struct{ asked, crashes, served, refused int }

// simGate is where a process waits for the scheduler.
type simGate struct {
	proc *simProc
	what string
	call int
	open chan simOutcome
}

type simOutcome struct {
	err  error
	roll int
}

type simProc struct {
	world   *simWorld
	id      int
	guard   *Guard
	ctx     context.Context
	cancel  context.CancelFunc
	calls   sync.WaitGroup
	stopped bool
	dead    bool // under world.mu
}

type simCall struct{}

var (
	errSimCrash = errors.New("this process was killed")
	errSimFault = errors.New("the store failed")
)

// pass waits for the scheduler.
func (p *simProc) pass(ctx context.Context, what string) simOutcome {
	w := p.world
	call, _ := ctx.Value(simCall{}).(int)
	g := &simGate{p, what, call, make(chan simOutcome, 1)}
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return simOutcome{err: errSimCrash}
	}
	w.gates = append(w.gates, g)
	w.mu.Unlock()
	return <-g.open
}

func (w *simWorld) ticks() int64 { return int64(time.Since(w.begin)) + int64(1000*time.Hour) }
func (w *simWorld) wall() time.Time {
	return time.Now().Add(time.Duration(w.step.Load())).AddDate(26, 0, 0)
}
func (w *simWorld) now() instant { return instant(w.ticks()) }

// simStore is the store as one process sees it.
type simStore struct{ proc *simProc }

func (s simStore) View(ctx context.Context, _ string) (Snapshot, error) {
	if out := s.proc.pass(ctx, "view"); out.err != nil {
		return Snapshot{}, out.err
	}
	w := s.proc.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.snap, nil
}

func (s simStore) Update(ctx context.Context, _ string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	out := s.proc.pass(ctx, "update")
	if out.err != nil {
		return Snapshot{}, out.err
	}
	if err := ctx.Err(); err != nil {
		return Snapshot{}, err
	}
	w := s.proc.world
	w.mu.Lock()
	if out.roll%8 == 0 { // an optimistic store that has to try again
		_, _ = fn(w.older)
	}
	snap := w.snap
	data, err := fn(snap)
	if err == nil && data != nil {
		data = w.mutated(data)
		w.older, snap = snap, Snapshot{Data: data, Rev: snap.Rev + 1}
		w.snap = snap
		w.fail(w.check.committed(w, data))
	}
	w.mu.Unlock()
	if err != nil || data == nil {
		return snap, err
	}
	if out := s.proc.pass(ctx, "updated"); out.err != nil {
		return Snapshot{}, out.err
	}
	return snap, nil
}

func (s simStore) Close() error { return nil }

func (w *simWorld) mutated(data []byte) []byte {
	if w.mutate == nil {
		return data
	}
	d, err := decodeDocument(data)
	if err == nil {
		w.mutate(d, d.Clock.Last)
		data, err = d.encode()
	}
	w.fail(err)
	return data
}

// fail keeps the first violation; mu is held.
func (w *simWorld) fail(err error) {
	if w.violation == nil {
		w.violation = err
	}
}

func (w *simWorld) birth() error {
	w.nextID++
	p := &simProc{world: w, id: w.nextID}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	g, err := New(p.request, WithStore(simStore{p}), WithName("sim"), WithFreshness(0),
		WithClassifier(func(f Failure) Class { return Class(f.Message) }))
	if err != nil {
		return err
	}
	g.meter.wall = w.wall
	if !w.noBoot {
		g.meter.boot, g.meter.ticks = "this boot", w.ticks
	}
	g.meter.offset.Store(int64(unixNano(w.wall())) - g.meter.progress())
	g.owner = fmt.Sprintf("p%d", p.id)
	g.jitter = func(d time.Duration) time.Duration { return d / 2 }
	p.guard = g
	w.procs, w.all = append(w.procs, p), append(w.all, p)
	return nil
}

// kill ends a process as SIGKILL does: nothing that it still does has an effect.
func (w *simWorld) kill(p *simProc) {
	w.mu.Lock()
	p.dead = true
	var mine []*simGate
	w.gates = slices.DeleteFunc(w.gates, func(g *simGate) bool {
		if g.proc == p {
			mine = append(mine, g)
		}
		return g.proc == p
	})
	w.mu.Unlock()
	for _, g := range mine {
		g.open <- simOutcome{err: errSimCrash}
	}
	p.cancel()
	w.procs = slices.DeleteFunc(w.procs, func(q *simProc) bool { return p == q })
}

// request is the upstream, seen from a process. It stops with its context.
func (p *simProc) request(ctx context.Context, req Request) (Token, error) {
	w := p.world
	if out := p.pass(ctx, "ask"); out.err != nil {
		return Token{}, out.err
	}
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	w.mu.Lock()
	w.fail(w.check.asked(w.now()))
	w.mu.Unlock()
	out := p.pass(ctx, "answer")
	if out.err != nil {
		return Token{}, out.err
	}
	failed := func(class Class, header map[string][]string) (Token, error) {
		return Token{}, Failed(Failure{StatusCode: 500, Message: string(class), Header: header})
	}
	switch out.roll % 20 {
	case 0, 1:
		return failed(ClassTransient, nil)
	case 2:
		return failed(ClassRateLimited, map[string][]string{"Retry-After": {strconv.Itoa(60 * (1 + out.roll/20%100))}})
	case 3:
		return failed(ClassForbidden, nil)
	case 4:
		panic("the user's function panics")
	case 5:
		runtime.Goexit()
	case 6:
		return Token{}, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	life := []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour}[out.roll/20%4]
	return NewTokenIn(w.check.issue(req.Scope, w.now(), life), life), nil
}

// ask has a process call Acquire.
func (w *simWorld) ask(p *simProc, n int, req Request) {
	ctx := context.WithValue(p.ctx, simCall{}, n)
	p.calls.Go(func() {
		w.mu.Lock()
		before := w.check.usable(w.now(), req.Scope)
		dead := w.check.deadNow()
		w.mu.Unlock()
		grant, err := p.guard.Acquire(ctx, req)
		w.mu.Lock()
		defer w.mu.Unlock()
		if err == nil {
			w.stats.served++
		} else {
			w.stats.refused++
		}
		p.guard.shelf.mu.Lock()
		private := len(p.guard.unsaved) > 0 // it knows more than the shared state
		p.guard.shelf.mu.Unlock()
		if !p.dead && !(err != nil && private) {
			w.fail(w.check.answered(w.now(), req, before, dead, grant, err))
		}
	})
}

func (w *simWorld) pending() (ready []*simGate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.gates {
		if !g.proc.stopped {
			ready = append(ready, g)
		}
	}
	slices.SortStableFunc(ready, func(a, b *simGate) int {
		return (a.proc.id-b.proc.id)<<20 + (a.call - b.call)
	})
	return ready
}

func (w *simWorld) release(g *simGate, out simOutcome) {
	w.mu.Lock()
	w.gates = slices.DeleteFunc(w.gates, func(other *simGate) bool { return other == g })
	w.mu.Unlock()
	g.open <- out
}

func (w *simWorld) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%8.1fs ", time.Since(w.begin).Seconds())+fmt.Sprintf(format, args...))
}

var simScopes = []string{"", "b"}

// act does one random thing.
func (w *simWorld) act(n int) error {
	ready := w.pending()
	p := w.procs[w.random.IntN(len(w.procs))]
	switch roll := w.random.IntN(100); {
	case roll < 60 && len(ready) > 0:
		g, out := ready[w.random.IntN(len(ready))], simOutcome{roll: w.random.IntN(1 << 20)}
		if g.what != "ask" && g.what != "answer" && w.random.IntN(20) == 0 {
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
	case roll < 93:
		w.report(p, n)
	case roll < 95:
		p.stopped = !p.stopped
		w.note("p%d stopped: %v", p.id, p.stopped)
	case roll < 97:
		steps := []time.Duration{-400 * 24 * time.Hour, -2 * time.Hour, -time.Second, time.Second, 2 * time.Hour, 400 * 24 * time.Hour}
		w.step.Add(int64(steps[w.random.IntN(len(steps))]))
		w.note("wall clock at %v", time.Duration(w.step.Load()))
	default:
		w.note("p%d killed", p.id)
		w.stats.crashes++
		w.kill(p)
		return w.birth()
	}
	return nil
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
	for _, p := range w.procs {
		p.stopped = false
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
			w.note("calm: p%d %s for call %d", g.proc.id, g.what, g.call)
			w.release(g, simOutcome{roll: 19}) // a token of an hour
			synctest.Wait()
		}
		if len(ready) == 0 {
			busy = 0
			time.Sleep(100 * time.Millisecond)
		}
	}
	return errors.New("I5: a call did not end")
}

func simulate(t *testing.T, seed uint64, steps int, change func(*simWorld)) (w *simWorld, err error) {
	synctest.Test(t, func(*testing.T) {
		w = &simWorld{random: rand.New(rand.NewPCG(seed, 97)), begin: time.Now()}
		if change != nil {
			change(w)
		}
		err = w.run(steps)
	})
	return w, err
}

func TestSimulation(t *testing.T) {
	first, count := uint64(0), uint64(300)
	if os.Getenv("TOKENGUARD_LONG") != "" {
		count = 5000
	}
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

// The same seed tells the same story, or no failure could be looked into.
func TestSimulationRepeats(t *testing.T) {
	for seed := range uint64(5) {
		a, err := simulate(t, seed, 200, nil)
		require.NoError(t, err)
		b, err := simulate(t, seed, 200, nil)
		require.NoError(t, err)
		require.Equal(t, a.history, b.history)
	}
}

// The simulation finds each wrong rule, so it would find ours.
func TestSimulationCatchesWrongRules(t *testing.T) {
	wrong := map[string]func(*simWorld){
		"the wall clock alone": func(w *simWorld) { w.noBoot = true },
		"no fencing": func(w *simWorld) {
			w.mutate = func(d *document, now instant) { // a late result ends whatever runs
				if slices.ContainsFunc(d.Attempts, func(a attempt) bool { return a.Landed && a.End == now && a.End.sub(a.Start) > 35*time.Second }) {
					d.dropAttempts(func(a attempt) bool { return a.inProgress(now) })
				}
			}
		},
		"forget rejections": func(w *simWorld) {
			w.mutate = func(d *document, _ instant) {
				for _, r := range d.Tokens {
					r.Rejected = 0
				}
			}
		},
	}
	for name, rule := range wrongRules {
		wrong[name] = func(w *simWorld) { w.mutate = rule(Conservative().RateLimit) }
	}
	for name, change := range wrong {
		t.Run(name, func(t *testing.T) {
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
