package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
)

// sleepers are the callers of the guard that sleep.
func sleepers(g *Guard) []*waiter {
	g.waiters.mu.Lock()
	defer g.waiters.mu.Unlock()
	return slices.Collect(maps.Keys(g.waiters.asleep))
}

// Ten thousand callers wait in Acquire for another process, which takes its time, while this one and others commit what helps
// none of them: nobody decides again. All have the token as soon as it is there.
func TestACommitThatHelpsNobodyWakesNobodyInAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		callers, commits := int(amount(2_000, 10_000)), 90
		store := WithStore(NewMemoryStore())
		never := func(context.Context, Request) (Token, error) { return Token{}, errors.New("asked") }
		g := newTestGuard(t, never, store, WithName("n"), WithDedup(DedupConfig{MaxWaiters: callers}))
		other := newTestGuard(t, func(context.Context, Request) (Token, error) {
			time.Sleep(9500 * time.Millisecond)
			return NewTokenIn("of the other", time.Hour), nil
		}, store, WithName("n"))
		var calls sync.WaitGroup
		begin := time.Now()
		calls.Go(func() { _, err := other.Token(t.Context()); assert.NoError(t, err) })
		synctest.Wait()
		for range callers {
			calls.Go(func() {
				grant, err := g.Acquire(t.Context(), Request{Caller: "crawl"})
				assert.NoError(t, err)
				assert.Equal(t, "of the other", grant.Token.Value())
				assert.Equal(t, SourceShared, grant.Source)
			})
		}
		synctest.Wait()
		asleep := map[*waiter]bool{}
		for _, s := range sleepers(g) {
			asleep[s] = true
		}
		require.Len(t, asleep, callers)
		again := 0 // decisions
		for n := range commits {
			by := g
			if n%3 == 0 {
				by = other
			}
			require.NoError(t, by.Adopt(t.Context(), NewTokenIn(fmt.Sprint("of others ", n), time.Hour).WithScope("other")))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			for _, s := range sleepers(g) {
				if !asleep[s] {
					asleep[s] = true
					again++
				}
			}
		}
		assert.Zero(t, again)
		calls.Wait()
		assert.Less(t, time.Since(begin), 10*time.Second)
	})
}

// A change between a decision to wait and the sleep is not slept over.
func TestNoChangeIsLostBeforeTheSleepInAcquire(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		c := &acquireCall{q: &decide.Request{}, since: r.waiters.mark()}
		require.NoError(t, r.Adopt(t.Context(), NewToken("from elsewhere", time.Time{})))
		assert.Nil(t, r.waiters.enterGate(c, &decide.Decision{Answer: decide.AnswerWait}))
		assert.Empty(t, r.waiters.asleep)
	})
}

// One that is due when another sleeps on is due at its own time.
func TestThoseWhoSleepOnAreDueAtTheirOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := WithStore(NewMemoryStore())
		g := newTestGuard(t, func(context.Context, Request) (Token, error) { return Token{}, Failed(broken) }, store, WithName("n"))
		for n, timeout := range []time.Duration{11 * time.Second, 22 * time.Second} { // their leases end 5 s later
			other := newTestGuard(t, func(context.Context, Request) (Token, error) { select {} }, store, WithName("n"), WithRequestTimeout(timeout))
			scope := fmt.Sprint("scope ", n)
			a, _, err := other.flights.charge(t.Context(), &decide.Request{Kind: "anonymous", Scope: scope})
			require.NoError(t, err)
			require.NotEmpty(t, a.ID, n)
			calls := make(chan time.Duration, 1)
			begin := time.Now()
			go func() {
				_, err := g.Acquire(t.Context(), Request{Scope: scope})
				assert.Error(t, err)
				calls <- time.Since(begin)
			}()
			time.Sleep(time.Second)
			_ = g.Adopt(t.Context(), NewTokenIn(fmt.Sprint("of others ", n), time.Hour).WithScope("other"))
			took := <-calls
			assert.GreaterOrEqual(t, took, timeout+5*time.Second)
			assert.Less(t, took, timeout+5500*time.Millisecond)
			time.Sleep(10 * time.Minute)
		}
	})
}

// Between two looks of a caller that waits for a place one acquisition ends and another begins, whose process dies: the place is
// free at the end of that one's lease, which is the sooner one.
func TestAPlaceThatIsFreeSooner(t *testing.T) {
	for _, door := range []string{"Acquire", "Wait"} {
		t.Run(door, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := WithStore(struct{ Store }{NewMemoryStore()}) // without Watch, whose hints come between any two commits
				open := func(timeout time.Duration) *Guard {
					return newTestGuard(t, gives("own", time.Hour), store, WithName("n"), WithRequestTimeout(timeout), WithDedup(DedupConfig{MaxConcurrent: 1}),
						WithRateLimits(RateLimits{MinInterval: time.Nanosecond, MaxRequestsPerHour: 100, MaxRequestsPerDay: 1000}))
				}
				charge := func(g *Guard, scope string) ledger.Attempt {
					a, _, err := g.flights.charge(t.Context(), &decide.Request{Kind: "anonymous", Scope: scope})
					require.NoError(t, err)
					require.NotEmpty(t, a.ID)
					return a
				}
				begin := time.Now()
				long, short, g := open(time.Minute), open(7*time.Second), open(time.Minute)
				a := charge(long, "a")
				done := make(chan time.Duration, 1)
				go func() {
					var err error
					if door == "Wait" {
						_, err = g.Wait(t.Context(), Request{Scope: "mine"})
					} else {
						_, err = g.Acquire(t.Context(), Request{Scope: "mine"})
					}
					assert.NoError(t, err)
					done <- time.Since(begin)
				}()
				time.Sleep(2 * time.Second)
				require.Len(t, sleepers(g), 1)
				require.NoError(t, long.flights.finish(&decide.Request{Kind: "anonymous", Scope: "a"}, a, a.Start, NewTokenIn("of a", time.Hour).WithScope("a"), nil).err)
				time.Sleep(time.Nanosecond)
				charge(short, "b")
				took := <-done
				assert.GreaterOrEqual(t, took, 14*time.Second)
				assert.Less(t, took, 14500*time.Millisecond)
			})
		})
	}
}

// gateWorld is two processes on one state: callers of the one wait for acquisitions of both, while both commit what they like.
type gateWorld struct {
	t      *testing.T
	random *rand.Rand
	guards [2]*Guard
	calls  sync.WaitGroup
	ctx    context.Context

	mu    sync.Mutex // guards what follows
	asked int
	known []Token
	slept int // sleeps that were looked at
}

func (w *gateWorld) request(_ context.Context, req Request) (Token, error) {
	w.mu.Lock()
	w.asked++
	n := w.asked
	w.mu.Unlock()
	time.Sleep(time.Duration(3+n%40)*time.Second + time.Duration(len(req.Scope))*time.Millisecond)
	if n%4 == 0 {
		return Token{}, Failed(broken)
	}
	token := NewTokenIn(fmt.Sprintf("of %q, number %d", req.Scope, n), time.Duration(n%5+1)*7*time.Minute)
	w.mu.Lock()
	w.known = append(w.known, token)
	w.mu.Unlock()
	return token, nil
}

func (w *gateWorld) step(n int) {
	g := w.guards[w.random.IntN(2)]
	scope := waitScopes[w.random.IntN(len(waitScopes))]
	w.mu.Lock()
	known := w.known
	w.mu.Unlock()
	switch roll := w.random.IntN(20); {
	case roll < 7:
		for i := range 1 + w.random.IntN(20) {
			req := Request{Scope: scope, Caller: fmt.Sprintf("%s %d", []string{"crawl", "index"}[i%2], n*100+i)}
			if len(known) > 0 && i%3 == 0 {
				req.Failing, req.Failure = known[len(known)-1].ID(), []Failure{quota, unauth, broken}[w.random.IntN(3)]
			}
			w.calls.Go(func() { _, _ = g.Acquire(w.ctx, req) })
		}
	case roll < 10 && len(known) > 0:
		o := Outcome{TokenID: known[w.random.IntN(len(known))].ID(), Caller: "else"}
		if w.random.IntN(2) == 0 {
			o.Failure = []Failure{quota, unauth, slow}[w.random.IntN(3)]
		}
		_ = g.Report(w.ctx, o)
	case roll < 12:
		_ = g.Adopt(w.ctx, NewTokenIn(fmt.Sprint("adopted ", n), time.Duration(w.random.IntN(40)+1)*time.Minute).WithScope(scope))
	case roll < 13:
		_ = g.Clear(w.ctx, Clear{Backoff: true, RetryAfter: w.random.IntN(2) == 0, Suspicion: "*"})
	default:
		time.Sleep([]time.Duration{time.Millisecond, time.Second, 7 * time.Second, 30 * time.Second, 6 * time.Minute}[w.random.IntN(5)])
	}
}

// overslept is the first call that sleeps though it would be answered on the newest revision that its process knows.
func (w *gateWorld) overslept() error {
	for _, g := range w.guards {
		_, _, _ = g.replica.Look(w.ctx)
	}
	synctest.Wait()
	for n, g := range w.guards {
		rev, at, ok := g.replica.Settled()
		if !ok {
			continue
		}
		for _, s := range sleepers(g) {
			w.slept++
			q := *s.q
			in := g.inputs.on(&q, rev, at.Now)
			in.Placed = s.placed
			if d := in.Decide(at.Now); d.Answer != decide.AnswerWait && in.Decide(rev.At.Now).Answer != decide.AnswerWait {
				return fmt.Errorf("process %d: %q of %q sleeps until %v, and would be answered: %v %v", n, s.q.Caller, s.q.Scope, at.Time(s.until), d.Answer, d.Reason)
			}
			if at.Now >= s.until.Plus(time.Second) {
				return fmt.Errorf("process %d: %q has slept since %v", n, s.q.Caller, at.Time(s.until))
			}
		}
	}
	return nil
}

// Whatever is committed, nobody sleeps in Acquire that would be answered, or longer than it meant to.
func TestNobodyOversleepsInAcquire(t *testing.T) {
	stories, slept := uint64(4), 0
	if os.Getenv("TOKENGUARD_LONG") != "" {
		stories = 200
	}
	for seed := range stories {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWorld{t: t, random: rand.New(rand.NewPCG(seed, 17))}
			ctx, leave := context.WithCancel(t.Context())
			w.ctx = ctx
			store := WithStore(NewMemoryStore())
			for n := range w.guards {
				w.guards[n] = newTestGuard(t, w.request, store, WithName("n"), WithRequestTimeout(30*time.Second),
					WithDedup(DedupConfig{MaxConcurrent: 1}), WithRateLimits(RateLimits{MinInterval: time.Second, MaxRequestsPerHour: 100, MaxRequestsPerDay: 1000}))
			}
			for n := range 150 {
				w.step(n)
				synctest.Wait()
				require.NoError(t, w.overslept(), "seed %d, step %d", seed, n)
			}
			leave()
			w.calls.Wait()
			slept += w.slept
		})
	}
	t.Logf("%d stories, %d sleeps looked at", stories, slept)
	assert.NotZero(t, slept)
}
