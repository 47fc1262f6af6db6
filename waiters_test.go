package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// waitWorld is a guard with hundreds of callers in Wait, while others commit what they like.
type waitWorld struct {
	t      *testing.T
	guard  *Guard
	random *rand.Rand
	begin  time.Time
	ctx    context.Context
	calls  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	asked  map[string]int
	asks   map[string]Request // by caller, each of its own
	served map[string]string  // who was answered, and when
	known  []Token
}

var waitScopes = []string{"", "a", "b", "c"}

// request takes another time for each scope, so that no two scopes' answers come at one instant.
func (w *waitWorld) request(_ context.Context, req Request) (Token, error) {
	w.mu.Lock()
	w.asked[req.Scope]++
	n := w.asked[req.Scope]
	w.mu.Unlock()
	time.Sleep(time.Second + time.Duration(len(req.Scope)+n%7)*10*time.Millisecond)
	switch (n + len(req.Scope)) % 4 {
	case 0:
		return Token{}, Failed(broken)
	case 1:
		return Token{}, Failed(Failure{StatusCode: 429, Message: "too many requests", Header: map[string][]string{"Retry-After": {strconv.Itoa(90 + n)}}})
	}
	token := NewTokenIn(fmt.Sprintf("of %q, number %d", req.Scope, n), time.Duration(n%5+1)*7*time.Minute)
	w.mu.Lock()
	w.known = append(w.known, token)
	w.mu.Unlock()
	return token, nil
}

// someToken is a token that somebody was given lately.
func (w *waitWorld) someToken() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) == 0 {
		return ""
	}
	return w.known[max(0, len(w.known)-1-w.random.IntN(4))].ID()
}

// failure is one that a caller reports.
func (w *waitWorld) failure() Failure {
	return []Failure{quota, unauth, broken, slow, banned,
		{StatusCode: 429, Message: "too many requests", Header: map[string][]string{"Retry-After": {strconv.Itoa(30 + w.random.IntN(600))}}}}[w.random.IntN(6)]
}

// sleep has another caller wait.
func (w *waitWorld) sleep(n int) {
	req := Request{Scope: waitScopes[w.random.IntN(len(waitScopes))], Caller: fmt.Sprintf("%s %d", []string{"crawl", "index", "sync"}[w.random.IntN(3)], n)}
	if id := w.someToken(); id != "" && w.random.IntN(2) == 0 {
		req.Failing, req.Failure = id, w.failure()
		req.Failure.At = time.Now()
	}
	w.mu.Lock()
	w.asks[req.Caller] = req
	w.mu.Unlock()
	w.calls.Go(func() {
		grant, err := w.guard.Wait(w.ctx, req)
		if err != nil && w.ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.served[req.Caller] = fmt.Sprintf("at %v: %v, %v", time.Since(w.begin), grant.Token.ID(), err != nil)
	})
}

// change is what others do. Most of it helps nobody.
func (w *waitWorld) change(n int) {
	t, ctx := w.t, w.t.Context()
	switch roll := w.random.IntN(20); {
	case roll < 8:
		o := Outcome{TokenID: w.someToken(), Caller: []string{"crawl", "index", "sync", "else"}[w.random.IntN(4)]}
		if o.TokenID == "" {
			return
		}
		if w.random.IntN(3) > 0 {
			o.Failure = w.failure()
		}
		require.NoError(t, w.guard.Report(ctx, o))
	case roll < 10:
		token := NewTokenIn(fmt.Sprintf("adopted %d", n), time.Duration(w.random.IntN(40)+1)*time.Minute).WithScope(waitScopes[w.random.IntN(len(waitScopes))])
		require.NoError(t, w.guard.Adopt(ctx, token))
		w.mu.Lock()
		w.known = append(w.known, token)
		w.mu.Unlock()
	case roll < 11:
		require.NoError(t, w.guard.Clear(ctx, Clear{Backoff: w.random.IntN(2) == 0, RetryAfter: w.random.IntN(2) == 0, Suspicion: "*"}))
	default:
		time.Sleep([]time.Duration{time.Millisecond, time.Second, 20 * time.Second, time.Minute, 6 * time.Minute, 40 * time.Minute}[w.random.IntN(6)])
	}
}

// overslept is the first of those who sleep that would be answered otherwise now if it asked, or could be sooner than it
// is going to ask. Explain knows nothing of who sleeps. What waits for a commit wakes with it: a use from the cache, which
// proves its token, wakes nobody by itself.
func (w *waitWorld) overslept() error {
	var asleep []*waiter
	w.guard.waiters.mu.Lock()
	for s := range w.guard.waiters.asleep {
		asleep = append(asleep, s)
	}
	w.guard.waiters.mu.Unlock()
	view := w.guard.waiters.view()
	for _, s := range asleep {
		w.mu.Lock()
		req := w.asks[s.q.Caller]
		w.mu.Unlock()
		x, err := w.guard.Explain(w.ctx, req)
		if err != nil {
			return err
		}
		v, at := x.Verdict, view.at
		if committed := w.guard.inputs.on(s.q, view.rev, at.Now); view.waits && committed.Decide(at.Now).Answer == decide.AnswerRefuse && committed.RetryAt(at.Now) >= s.until {
			continue
		}
		switch {
		case v.Answer != AnswerRefuse, v.RetryAt.IsZero():
			return fmt.Errorf("%q sleeps, and would be answered: %s %s, %s", s.q.Caller, v.Answer, v.Reason, v.Detail)
		case s.until != timeline.Never && v.RetryAt.Before(at.Time(s.until)):
			return fmt.Errorf("%q sleeps until %v, and could be served at %v", s.q.Caller, at.Time(s.until), v.RetryAt)
		}
	}
	return nil
}

// playWaits plays a story, and returns who was served when.
func playWaits(t *testing.T, seed uint64, waiters, steps int, change func(*Guard), opts ...Option) (served map[string]string, overslept error) {
	synctest.Test(t, func(t *testing.T) {
		w := &waitWorld{t: t, random: rand.New(rand.NewPCG(seed, 12)), begin: time.Now(), asked: map[string]int{}, asks: map[string]Request{}, served: map[string]string{}}
		var leave context.CancelFunc
		w.ctx, leave = context.WithCancel(t.Context())
		g, err := New(w.request, opts...)
		require.NoError(t, err)
		if w.guard = g; change != nil {
			change(g)
		}
		for n := range steps {
			if n%(steps/10) == 0 {
				for i := range waiters / 10 {
					w.sleep(n*waiters + i)
					synctest.Wait() // else the order of their reports is one of chance
				}
			}
			w.change(n)
			synctest.Wait()
			if overslept == nil {
				overslept = w.overslept()
			}
		}
		leave()
		w.calls.Wait()
		require.NoError(t, g.Close())
		served = w.served
	})
	return served, overslept
}

// Whatever is committed, nobody sleeps that would be answered if it asked.
func TestNobodyOversleeps(t *testing.T) {
	stories := amount(2, 300)
	answered := 0
	for seed := range stories {
		served, overslept := playWaits(t, seed, 200, 60, nil)
		require.NoError(t, overslept, "seed %d", seed)
		answered += len(served)
	}
	assert.NotZero(t, answered)
	t.Logf("%d stories, %d served", stories, answered)
}

// Each is served at the instant at which it would be if every change woke all. No start is left in the budget: who may start
// first is a matter of who happens to run first.
func TestWaitersAreServedAsIfAllAsked(t *testing.T) {
	spent := WithRateLimits(RateLimits{MaxRequestsPerHour: 1, MaxRequestsPerDay: 1})
	stories, helped := amount(1, 30), 0
	for seed := range stories {
		story := func(all bool) (map[string]string, error) {
			return playWaits(t, seed, 100, 80, func(g *Guard) {
				g.waiters.all = all
				require.NoError(t, g.Adopt(context.Background(), NewTokenIn("the budget", time.Minute)))
			}, spent)
		}
		served, overslept := story(false)
		require.NoError(t, overslept, "seed %d", seed)
		naive, _ := story(true)
		require.Len(t, served, len(naive), "seed %d", seed)
		for caller, what := range naive {
			require.Equal(t, what, served[caller], "seed %d, %q", seed, caller)
		}
		helped += len(naive)
	}
	t.Logf("%d stories, %d served", stories, helped)
	assert.Greater(t, helped, 50*int(stories))
}

// A thousand callers of one question sleep over commits that help none of them, and are all served by the one that does.
func TestACommitThatHelpsNobodyWakesNobody(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{Scope: "other"})
		var calls sync.WaitGroup
		for range 1000 {
			calls.Go(func() {
				grant, err := r.Wait(t.Context(), Request{Caller: "crawl"})
				assert.NoError(t, err)
				assert.Equal(t, "from elsewhere", grant.Token.Value())
			})
		}
		synctest.Wait()
		before := r.Stats()
		for n := range 93 {
			require.NoError(t, r.Adopt(t.Context(), NewTokenIn(fmt.Sprint("of others ", n), time.Hour).WithScope("other")))
			synctest.Wait()
		}
		after := r.Stats()
		require.Equal(t, before.Store.Revision+93, after.Store.Revision)
		assert.Equal(t, before.Calls.Total, after.Calls.Total, "nobody has asked again")
		start := time.Now()
		require.NoError(t, r.Adopt(t.Context(), NewToken("from elsewhere", time.Time{})))
		calls.Wait()
		assert.Zero(t, time.Since(start))
	})
}

// A change between a refusal and the sleep is not slept over.
func TestNoChangeIsLostBeforeTheSleep(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{Scope: "other"})
		var a asking
		_, err := ask(t.Context(), r.Guard, &Request{}, &a)
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.NoError(t, r.Adopt(t.Context(), NewToken("from elsewhere", time.Time{})))
		assert.Nil(t, r.waiters.enter(a.q, refused.Verdict.RetryAt, a.since))
		assert.Empty(t, r.waiters.asleep)
	})
}

// A caller that stops waiting is told what keeps it from a token now, not what did when it fell asleep.
func TestTheLastRefusalIsOfNow(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{Scope: "other"})
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := r.Wait(ctx, Request{}); done <- err }()
		time.Sleep(time.Minute)
		require.NoError(t, r.Adopt(t.Context(), NewTokenIn("of others", time.Hour).WithScope("other")))
		synctest.Wait()
		leave()
		err := <-done
		require.ErrorIs(t, err, context.Canceled)
		want := r.no(ReasonMinInterval, Request{})
		require.Equal(t, 5*time.Minute, in(want.Verdict.RetryAt))
		var refused *RefusedError
		require.True(t, errors.As(err, &refused))
		assert.Equal(t, want.Verdict, refused.Verdict)
	})
}

// A failure that a caller in Wait reported is one failure, also after a step of the wall clock, which makes another instant
// of the same time of day.
func TestAskingAgainAfterAStepOfTheClockIsNoNewFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &upstream{}
		g, err := New(up.request)
		require.NoError(t, err)
		begin, step := time.Now(), atomic.Int64{}
		g.SimulateClock(func() time.Time { return time.Now().Add(time.Duration(step.Load())) }, "boot", func() int64 { return int64(time.Since(begin)) + int64(time.Hour) })
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		ctx, leave := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		calls.Go(func() { _, _ = g.Wait(ctx, Request{Caller: "crawl", Failing: token.ID(), Failure: quota}) })
		synctest.Wait()
		before := g.replica.Newest().Doc.Tokens[token.ID()].By("crawl")
		require.NotNil(t, before)
		g.waiters.all = true
		for range 5 {
			time.Sleep(90 * time.Second)
			step.Add(-int64(10 * time.Minute))
			require.NoError(t, g.Clear(t.Context(), Clear{RetryAfter: true}))
			require.NoError(t, g.Adopt(t.Context(), NewTokenIn(fmt.Sprint("another ", step.Load()), time.Hour).WithScope("b")))
			synctest.Wait()
		}
		assert.Equal(t, *before, *g.replica.Newest().Doc.Tokens[token.ID()].By("crawl"))
		leave()
		calls.Wait()
		require.NoError(t, g.Close())
	})
}

// A commit that comes while those who wait are looked through for the one before it is not lost.
func TestAChangeDuringASweepIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &upstream{}
		g, err := New(up.request)
		require.NoError(t, err)
		begin, during := time.Now(), atomic.Bool{}
		g.SimulateClock(func() time.Time {
			if during.CompareAndSwap(true, false) { // the sweep has its revision, and reads the clock
				assert.NoError(t, g.Adopt(t.Context(), NewTokenIn("from elsewhere", time.Hour)))
			}
			return time.Now()
		}, "boot", func() int64 { return int64(time.Since(begin)) + int64(time.Hour) })
		_, err = g.Acquire(t.Context(), Request{Scope: "other"})
		require.NoError(t, err)
		var calls sync.WaitGroup
		calls.Go(func() {
			grant, err := g.Wait(t.Context(), Request{})
			assert.NoError(t, err)
			assert.Equal(t, "from elsewhere", grant.Token.Value())
		})
		synctest.Wait()
		during.Store(true)
		g.replica.Wake()
		calls.Wait()
		assert.Zero(t, time.Since(begin))
		require.NoError(t, g.Close())
	})
}

// A secret that becomes known while a caller sleeps is taken out of the words that it came with (I10).
func TestWordsOfAWaiterHideWhatBecameASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var texts []string
		fetched := 0
		g, err := New(func(context.Context, Request) (Token, error) {
			fetched++
			return NewTokenIn(fmt.Sprintf("token number %d of many", fetched), 2*time.Minute), nil
		},
			WithRateLimits(RateLimits{MaxRequestsPerHour: 1}), WithObserver(func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				texts = append(texts, string(e.Kind)+": "+e.Text+" "+e.Verdict.Detail)
			}))
		require.NoError(t, err)
		defer g.Close()
		first, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := g.Wait(ctx, Request{Failing: first.ID(), Failure: Failure{StatusCode: 401, Message: "the session plumtreehouse has expired"}})
			done <- err
		}()
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		mu.Lock()
		texts = nil // it was nobody's secret so far
		mu.Unlock()
		require.NoError(t, g.Adopt(t.Context(), NewTokenIn("plumtreehouse", time.Hour).WithScope("other")))
		synctest.Wait()
		require.NoError(t, <-done)
		mu.Lock()
		defer mu.Unlock()
		for _, text := range texts {
			require.NotContains(t, text, "plumtreehouse")
		}
		require.NotEmpty(t, texts)
	})
}
