package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// engine is a simulated server, in the bubble's time.
type engine struct {
	operations atomic.Int64
	down       atomic.Bool

	mu      sync.Mutex // guards what follows
	doc     tokenguard.Snapshot
	changed chan struct{} // closed and replaced at each commit
}

var errAway = errors.New("the engine does not answer")

// dice is one process' chance: the same in each run, whatever the others do. (The pauses between the guard's own looks,
// and the order within one instant, are not.)
type dice struct {
	mu sync.Mutex // guards r
	r  *rand.Rand
}

func newDice(process int) *dice { return &dice{r: rand.New(rand.NewPCG(97, uint64(process)))} }

func (d *dice) below(most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.r.Int64N(int64(most)))
}

func (d *dice) exponential(mean time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.r.ExpFloat64() * float64(mean))
}

// link is one process' way to the engine: it speaks the Store's protocol, and can be cut.
type link struct {
	*engine
	dice *dice
	cut  atomic.Bool
	seen atomic.Pointer[tokenguard.Snapshot]
	fail atomic.Pointer[time.Time] // of the last operation without an answer
}

// exchange is one round trip: latency, the engine's work, latency. It may be lost on either way.
func (l *link) exchange(work func()) error {
	if at := l.fail.Load(); at != nil && time.Since(*at) < recheck {
		return errAway
	}
	l.operations.Add(1)
	lost := func() error {
		time.Sleep(defaults().timeout)
		now := time.Now()
		l.fail.Store(&now)
		return errAway
	}
	time.Sleep(200*time.Microsecond + l.dice.below(time.Millisecond))
	if l.cut.Load() || l.down.Load() {
		return lost()
	}
	l.mu.Lock()
	work()
	l.mu.Unlock()
	time.Sleep(200*time.Microsecond + l.dice.below(time.Millisecond))
	if l.cut.Load() || l.down.Load() {
		return lost()
	}
	l.fail.Store(nil)
	return nil
}

func (l *link) View(context.Context, string) (snap tokenguard.Snapshot, err error) {
	err = l.exchange(func() { snap = l.doc })
	snap.Now = time.Now()
	if err == nil {
		l.seen.Store(&snap)
	}
	return snap, err
}

func (l *link) Update(
	ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error),
) (tokenguard.Snapshot, error) {
	confirmed := false
	if l.seen.Load() == nil {
		if _, err := l.View(ctx, name); err != nil {
			return tokenguard.Snapshot{}, err
		}
		confirmed = true
	}
	for {
		snap := *l.seen.Load()
		snap.Now = time.Now()
		data, err := fn(snap)
		if err != nil || data == nil {
			if confirmed {
				return snap, err
			}
			if _, err := l.View(ctx, name); err != nil {
				return tokenguard.Snapshot{}, err
			}
			confirmed = true
			continue
		}
		done, base := false, snap.Rev
		err = l.exchange(func() {
			if done = l.doc.Rev == base; done {
				l.doc = tokenguard.Snapshot{Data: data, Rev: base + 1, Epoch: "E"}
				close(l.changed)
				l.changed = make(chan struct{})
			}
			snap = l.doc
		})
		if err != nil {
			return tokenguard.Snapshot{}, err
		}
		snap.Now = time.Now()
		l.seen.Store(&snap)
		if confirmed = true; done {
			return snap, nil
		}
	}
}

func (l *link) Watch(ctx context.Context, _ string) <-chan struct{} {
	hints := make(chan struct{}, 1)
	go func() {
		defer close(hints)
		for {
			l.mu.Lock()
			changed := l.changed
			l.mu.Unlock()
			select {
			case <-changed:
				select {
				case hints <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return hints
}

func (l *link) Close() error { return nil }

// world is a fleet, its engine and its upstream.
type world struct {
	engine
	links   []*link
	began   time.Time
	reports bool // each call's success

	served, refused, away atomic.Int64
	lastAway              atomic.Int64 // when a call was last refused for the store, since began
	slowestStart          atomic.Int64 // first call

	mu     sync.Mutex // guards starts
	starts []time.Time
}

func (w *world) request(ctx context.Context, d *dice) (tokenguard.Token, error) {
	w.mu.Lock()
	w.starts = append(w.starts, time.Now())
	n := len(w.starts)
	w.mu.Unlock()
	select {
	case <-time.After(200*time.Millisecond + d.below(time.Second)):
		return tokenguard.NewTokenIn(fmt.Sprintf("simulated-%d", n), time.Hour), nil
	case <-ctx.Done():
		return tokenguard.Token{}, ctx.Err()
	}
}

// process calls about once in pace, and is started anew after a crash.
func (w *world) process(ctx context.Context, l *link, crash <-chan struct{}, pace time.Duration) {
	dice := l.dice
	for first := true; ctx.Err() == nil; first = false {
		g, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
			return w.request(ctx, dice)
		}, tokenguard.WithStore(l), tokenguard.WithName("n"))
		if err != nil {
			panic(err)
		}
		for crashed := false; !crashed; {
			began := time.Now()
			token, err := g.Token(ctx)
			if err == nil && w.reports {
				_ = g.Report(ctx, tokenguard.Outcome{TokenID: token.ID(), Latency: time.Second})
			}
			if ctx.Err() != nil {
				_ = g.Close()
				return
			}
			switch {
			case err == nil:
				w.served.Add(1)
			case errors.Is(err, tokenguard.ErrStore):
				w.away.Add(1)
				w.lastAway.Store(int64(time.Since(w.began)))
			default:
				w.refused.Add(1)
			}
			if first {
				for took, most := int64(time.Since(began)), w.slowestStart.Load(); took > most; most = w.slowestStart.Load() {
					if w.slowestStart.CompareAndSwap(most, took) {
						break
					}
				}
				first = false
			}
			select {
			case <-time.After(dice.exponential(pace)):
			case <-crash:
				crashed = true
			case <-ctx.Done():
			}
		}
		// A crash: nothing is handed over, and what this process knew is gone.
		old := l
		l = &link{engine: old.engine, dice: dice}
		old.cut.Store(true)
	}
}

// TestSimulatedFleet runs fleets of 10 to 10,000 processes for six hours in simulated time: a cold start, crashes,
// a partition of half the fleet and an outage of the engine.
func TestSimulatedFleet(t *testing.T) {
	sizes := []int{10, 100}
	if os.Getenv("TOKENGUARD_LONG") != "" {
		sizes = append(sizes, 1000, 10_000)
	}
	for _, reports := range []bool{false, true} {
		for _, n := range sizes {
			if reports && n*100 > sizes[len(sizes)-1] {
				continue // each commit is read by every process: slow to simulate
			}
			t.Run(fmt.Sprintf("%d reports=%v", n, reports), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { simulate(t, n, reports) })
			})
		}
	}
}

// A fleet that starts cold and reports each success does not commit all its first reports at the same instant: each of
// these commits would make all others that are under way ask again.
func TestSimulatedFirstReports(t *testing.T) {
	sizes := []int{100, 300}
	if os.Getenv("TOKENGUARD_LONG") != "" {
		sizes = append(sizes, 1000)
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{began: time.Now(), reports: true}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				w.start(ctx, &wg, n, 10*time.Second)
				time.Sleep(59 * time.Second)
				perProcess := float64(w.operations.Load()) / float64(n)
				t.Logf("%d processes: %.1f operations each in the first minute", n, perProcess)
				require.Less(t, perProcess, 30.0)
				wg.Wait()
			})
		})
	}
}

// start starts n processes, each with a link and a way to crash it.
func (w *world) start(ctx context.Context, wg *sync.WaitGroup, n int, pace time.Duration) (crashes []chan struct{}) {
	w.changed = make(chan struct{})
	for i := range n {
		crash := make(chan struct{}, 1)
		crashes = append(crashes, crash)
		l := &link{engine: &w.engine, dice: newDice(i)}
		w.links = append(w.links, l)
		wg.Go(func() { w.process(ctx, l, crash, pace) })
	}
	return crashes
}

func simulate(t *testing.T, n int, reports bool) {
	const lasts, away, pace = 6 * time.Hour, 10 * time.Minute, time.Minute
	w := &world{began: time.Now(), reports: reports}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var wg sync.WaitGroup
	crashes := w.start(ctx, &wg, n, pace)
	wg.Go(func() { // one process in a hundred an hour, at least one
		victims := rand.New(rand.NewPCG(97, 97))
		for {
			select {
			case <-time.After(time.Hour / time.Duration(max(n/100, 1))):
			case <-ctx.Done():
				return
			}
			select {
			case crashes[victims.IntN(n)] <- struct{}{}:
			default: // it has not got over the last one
			}
		}
	})

	time.Sleep(10 * time.Second)
	w.mu.Lock()
	require.Len(t, w.starts, 1, "a cold start is one acquisition")
	w.mu.Unlock()
	require.EqualValues(t, n, min(w.served.Load(), int64(n)))
	cold := w.operations.Load()

	time.Sleep(2*time.Hour - time.Since(w.began))
	for _, l := range w.links[:n/2] {
		l.cut.Store(true)
	}
	time.Sleep(away)
	for _, l := range w.links[:n/2] {
		l.cut.Store(false)
	}
	time.Sleep(4*time.Hour - time.Since(w.began))
	w.down.Store(true)
	time.Sleep(away)
	w.down.Store(false)
	wg.Wait()
	time.Sleep(time.Minute) // for who still asks, of those who crashed
	w.mu.Lock()
	defer w.mu.Unlock()

	total := w.served.Load() + w.refused.Load() + w.away.Load()
	share := func(k int64) float64 { return 100 * float64(k) / float64(total) }
	t.Logf("%6d processes: %2d starts; cold start: %d operations, slowest first call %v; %d calls: %.3f %% served, "+
		"%.3f %% refused by a rule, %.3f %% for the store; %.1f operations per process and hour; last refusal for the store "+
		"%v after the outage began",
		n, len(w.starts), cold, time.Duration(w.slowestStart.Load()).Round(time.Millisecond), total, share(w.served.Load()),
		share(w.refused.Load()), share(w.away.Load()), float64(w.operations.Load()-cold)/float64(n)/lasts.Hours(),
		(time.Duration(w.lastAway.Load()) - 4*time.Hour).Round(time.Second))
	for i, start := range w.starts {
		if i >= 1 {
			require.GreaterOrEqual(t, start.Sub(w.starts[i-1]), 5*time.Minute)
		}
		if i >= 3 {
			require.Greater(t, start.Sub(w.starts[i-3]), time.Hour)
		}
	}
	require.LessOrEqual(t, len(w.starts), 20)
	require.Greater(t, share(w.served.Load()), 95.0)
}
