package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

type simWorld struct {
	random  *rand.Rand
	begin   time.Time
	first   timeline.Instant // true time of begin
	faults  *simFaults       // nil: the story has none of those
	step    atomic.Int64     // of the wall clock
	mutate  func(d *ledger.Document, now timeline.Instant)
	noBoot  bool // the wall clock alone
	blames  bool // all that is reported is that tokens are dead
	inTurn  bool // one call after the other, and no faults
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
	skew    time.Duration    // of its wall clock
	guess   timeline.Instant // of the meter, minus true time, before it has read a document
	away    bool             // cut off from the store
	stopped bool
	dead    bool             // under world.mu
	passed  timeline.Instant // when it last came through a gate; under world.mu
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

func (w *simWorld) ticks() int64 {
	return int64(time.Since(w.begin)) + int64(1000*time.Hour) + w.slept()
}

// slept is how long the machine was suspended.
func (w *simWorld) slept() int64 {
	if w.faults == nil {
		return 0
	}
	return w.faults.suspended.Load()
}

func (w *simWorld) wall() time.Time {
	return time.Now().Add(time.Duration(w.step.Load()+w.slept())).AddDate(26, 0, 0)
}
func (w *simWorld) now() timeline.Instant { return timeline.Instant(w.ticks()) }

// simStore is the store as one process sees it.
type simStore struct{ proc *simProc }

func (s simStore) View(ctx context.Context, _ string) (Snapshot, error) {
	if out := s.proc.pass(ctx, "view"); out.err != nil {
		return Snapshot{}, out.err
	}
	w := s.proc.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults.stamp(s.proc, w.snap), nil
}

func (s simStore) Update(ctx context.Context, _ string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	began := s.proc.world.now()
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
		_, _ = fn(w.faults.stamp(s.proc, w.older))
	}
	snap := w.faults.stamp(s.proc, w.snap)
	data, err := fn(snap)
	if err == nil && data != nil {
		data = w.mutated(data)
		w.older, w.snap = w.snap, Snapshot{Data: data, Rev: snap.Rev + 1}
		snap = w.faults.stamp(s.proc, w.snap)
		w.fail(w.check.committed(w, s.proc, data, began))
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
	d, err := ledger.Decode(data)
	if err == nil {
		w.mutate(d, d.Clock.Last)
		data, err = d.Encode()
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
	opts := []Option{WithStore(simStore{p}), WithName("sim"), WithFreshness(0), WithClassifier(func(f Failure) Class { return Class(f.Message) })}
	if w.faults != nil {
		if w.faults.remote {
			p.skew = w.someSkew()
		}
		if w.random.IntN(3) == 0 {
			opts = append(opts, WithPersonalToken(p.personal))
		}
	}
	g, err := New(p.request, opts...)
	if err != nil {
		return err
	}
	boot, ticks := w.boot()
	g.meter.Simulate(p.wall, boot, ticks)
	p.guess = timeline.UnixNano(p.wall()) - w.now()
	w.mu.Lock()
	w.check.guesses(w.now(), w.now()+p.guess)
	w.mu.Unlock()
	g.flights.owner = fmt.Sprintf("p%d", p.id)
	g.replica.Jitter = func(d time.Duration) time.Duration { return d / 2 }
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
	began := w.now()
	if out := p.pass(ctx, "ask"); out.err != nil {
		return Token{}, out.err
	}
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	if w.now().Sub(began) >= 30*time.Second {
		// Go's timers stood still in a suspend. In the second after the resume it may be asked for all the same.
		if time.Since(w.faults.resumed) > time.Second {
			w.mu.Lock()
			w.fail(fmt.Errorf("I1: a function goes on %v after its deadline", w.now().Sub(began)-30*time.Second))
			w.mu.Unlock()
		}
		return Token{}, context.DeadlineExceeded
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
	value := w.check.issue(req.Scope, began, w.now(), life, p.guard.meter.Read().Doubt, w.faults != nil && out.roll%7 == 0)
	if w.faults != nil && out.roll%3 == 0 { // an expiry that the upstream states by the time of day, which this process knows
		return NewToken(value, p.wall().Add(life)), nil
	}
	return NewTokenIn(value, life), nil
}

// ask has a process call Acquire.
func (w *simWorld) ask(p *simProc, n int, req Request) {
	ctx := context.WithValue(p.ctx, simCall{}, n)
	p.calls.Go(func() {
		w.called(ctx, p, req, func() (Grant, error) { return p.guard.Acquire(ctx, req) })
	})
}

// called checks the answer to a call.
func (w *simWorld) called(ctx context.Context, p *simProc, req Request, call func() (Grant, error)) {
	w.mu.Lock()
	before := w.check.usable(w.now(), req.Scope)
	dead := w.check.deadNow(w.now())
	w.mu.Unlock()
	grant, err := call()
	own := p.guard.replica.Newest() // a success that this process has heard disproves a refusal before it is stored
	pending := p.guard.replica.AllPending()
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := grant.Token.ID(); len(pending[id].Successes) > 0 || own != nil && own.Doc.Tokens[id] != nil && !own.Doc.Tokens[id].By("").Stands() {
		delete(dead, id)
	}
	if err == nil {
		w.stats.served++
	} else {
		w.stats.refused++
	}
	private := p.guard.replica.Unsaved() > 0 // it knows more than the shared state
	// A caller that leaves while its process waits for the store, or for the source of the personal token, has asked for less
	// than an answer.
	left := ctx.Err() != nil && (p.stopped || p.passed == w.now() || slices.ContainsFunc(w.gates, func(g *simGate) bool { return g.proc == p }))
	// Where the store took long to answer, its clock may be earlier by as much, and tokens end that may have ended.
	doubts := p.guard.meter.Read().Doubt > 0
	if !p.dead && !(err != nil && (private || left || doubts)) {
		w.fail(w.check.answered(w.now(), req, before, dead, grant, err))
	}
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
	g.proc.passed = w.now()
	w.mu.Unlock()
	g.open <- out
}

func (w *simWorld) note(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf("%8.1fs ", time.Since(w.begin).Seconds())+fmt.Sprintf(format, args...))
}

var simScopes = []string{"", "b"}
