package tokenguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// within is the largest number of starts in any half-open window.
func within(starts []time.Time, window time.Duration) (most int) {
	for i, s := range starts {
		n := 0
		for _, u := range starts[i:] {
			if u.Sub(s) < window {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// I1: to see it fail, let Window start its search one attempt later, or spacing leave the newest out.
// I2: to see it fail, return 0 from ledger.Doubled.
// Three processes that restart and die, a hundred scopes, an upstream that fails in every way, over a week.
func TestI1andI2(t *testing.T) {
	store := NewMemoryStore()
	rnd, fate := rand.New(rand.NewPCG(3, 4)), rand.New(rand.NewPCG(5, 6)) // fate under mu
	var mu sync.Mutex
	var starts, ends []time.Time
	var closedUntil time.Time
	days := time.Duration(amount(3, 7))
	violations := 0
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, func(ctx context.Context, req Request) (Token, error) {
			now := time.Now()
			mu.Lock()
			starts = append(starts, now)
			if now.Before(closedUntil) {
				violations++
			}
			what, took := fate.IntN(7), time.Duration(fate.IntN(40))*time.Second
			mu.Unlock()
			defer func() {
				mu.Lock()
				ends = append(ends, time.Now())
				mu.Unlock()
			}()
			select {
			case <-time.After(took):
			case <-ctx.Done():
				return Token{}, ctx.Err()
			}
			if what == 0 || what == 1 || what == 4 {
				mu.Lock()
				closedUntil = time.Now().Add(10 * time.Minute)
				mu.Unlock()
			}
			switch what {
			case 0:
				panic("oh")
			case 1:
				runtime.Goexit()
			case 2:
				return Token{}, Failed(banned)
			case 3:
				mu.Lock()
				closedUntil = time.Now().Add(2 * time.Hour)
				mu.Unlock()
				return Token{}, Failed(Failure{StatusCode: 503, Header: map[string][]string{"Retry-After": {"7200"}}, Message: "service unavailable"})
			case 4:
				return Token{}, Failed(broken)
			}
			return NewTokenIn(fmt.Sprint("v", now.UnixNano()), 5*time.Minute), nil
		})
		processes := []*Guard{r.Guard, r.open(WithStore(store), WithName("x")), r.open(WithStore(store), WithName("x"))}
		var calls sync.WaitGroup
		for end := time.Now().Add(days * allDay); time.Now().Before(end); time.Sleep(time.Duration(rnd.IntN(240)) * time.Second) {
			i := rnd.IntN(len(processes))
			if rnd.IntN(50) == 0 { // a crash: nobody closes it
				processes[i] = r.open(WithStore(store), WithName("x"))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rnd.IntN(60))*time.Second)
			scope := fmt.Sprint("s", rnd.IntN(100))
			g := processes[i]
			calls.Go(func() { defer cancel(); _, _ = g.Acquire(ctx, Request{Scope: scope}) })
		}
		calls.Wait()
		for _, g := range processes {
			require.NoError(t, g.Close())
		}
	}, WithStore(store), WithName("x"))
	slices.SortFunc(starts, time.Time.Compare)
	slices.SortFunc(ends, time.Time.Compare)
	assert.LessOrEqual(t, within(starts, time.Hour), 3)
	assert.LessOrEqual(t, within(starts, allDay), 20)
	assert.Equal(t, 1, within(starts, 300*time.Second))
	for _, s := range starts {
		for _, e := range ends {
			assert.False(t, s.After(e) && s.Sub(e) < 300*time.Second, "%v after an end", s.Sub(e))
		}
	}
	assert.Greater(t, len(starts), 7*int(days), "the days were not idle")
	assert.Zero(t, violations, "I2")
}

// I3: to see it fail, drop one of the conditions of Usable, or reportedDead from Pick.
func TestI3(t *testing.T) {
	for name, change := range map[string]func(*ledger.Token){
		"rejected": func(r *ledger.Token) { r.Rejected = at(-1) }, "spent": spent(-1), "expired": func(r *ledger.Token) { r.Expiry = t0 },
	} {
		assert.NotEqual(t, AnswerServe, scene{token: aged(-40, change)}.view(t).Decide(t0).Answer, name)
	}
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, gives("a", 2*time.Hour), gives("b", 2*time.Hour), gives("c", 30*time.Minute), gives("d", time.Hour))
		a := r.must(Request{}).Token.ID()
		time.Sleep(40 * time.Minute)
		_, err := r.Acquire(t.Context(), Request{Failing: a, Failure: quota})
		require.NoError(t, err)
		for _, f := range []Failure{unauth, quota} {
			grant, err := r.Acquire(t.Context(), Request{Failing: a, Failure: f})
			if err == nil {
				assert.NotEqual(t, a, grant.Token.ID(), "its reporter never gets it")
			}
		}
		require.True(t, r.replica.Newest().Doc.Tokens[a].By("").Stands())
		b := r.must(Request{}).Token
		assert.Equal(t, "b", b.Value())
		time.Sleep(time.Until(b.Expiry()) - time.Nanosecond)
		c := r.must(Request{})
		assert.Equal(t, "c", c.Token.Value(), "b is in its last stretch, and another may be had")
		time.Sleep(time.Until(c.Token.Expiry())) // its very end
		if grant, err := r.Acquire(t.Context(), Request{}); err == nil {
			assert.NotEqual(t, "c", grant.Token.Value())
		}
	})
}

// I4: to see it fail, return the gate's, the manager's or the limiter's refusal before the cached token in Decide.
func TestI4(t *testing.T) {
	for _, c := range []struct {
		name string
		doc  func(*ledger.Document)
	}{
		{"another starts", func(d *ledger.Document) {
			d.Charged(ledger.Attempt{ID: "z", Start: at(-0.1), End: at(1), Running: true})
		}},
		{"backoff", func(d *ledger.Document) { d.Failures = ledger.Streak{Count: 3, At: at(-1), Class: classify.Transient} }},
		{"retry after", func(d *ledger.Document) { d.Pause = ledger.Pause{From: at(-1), Until: at(60)} }},
		{"closed", func(d *ledger.Document) { d.ScopeFor("").Closed = ledger.Pause{From: at(-1), Until: at(60)} }},
		{"paused", func(d *ledger.Document) { d.ScopeFor("").Pause = ledger.Pause{From: at(-1), Until: at(1)} }},
	} {
		for _, class := range []Class{ClassNone, ClassQuotaExhausted, ClassAuthInvalid, ClassForbidden, ClassTransient, ClassClientError, ClassUnknown} {
			for _, expiry := range []timeline.Instant{at(60), t0 + 1, 0} { // the second is in its last stretch
				s := scene{class: class, token: aged(-50, func(r *ledger.Token) { r.Expiry = expiry }), more: func(d *ledger.Document) {
					c.doc(d)
					d.Triggers = []ledger.Trigger{{Seq: 9, Start: at(-1), Class: string(class), Template: "c failure"}}
				}}
				assert.Equal(t, decide.AnswerServe, s.view(t).Decide(t0).Answer, "%s %s %v", c.name, class, expiry)
			}
		}
	}
}

// I5: to see it fail, take the case of ended or of ctx.Done out of join.
func TestI5(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		hang := make(chan struct{})
		r.up.replies = append(r.up.replies, func(context.Context, Request) (Token, error) { <-hang; return Token{}, assert.AnError })
		done := make(chan error, 300)
		for i := range 300 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%2*1000)*time.Second)
			defer cancel()
			go func() { _, err := r.Acquire(ctx, Request{Scope: fmt.Sprint(i % 3)}); done <- err }()
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		left, byContext := len(done), 0
		for range left {
			if errors.Is(<-done, context.DeadlineExceeded) {
				byContext++
			}
		}
		assert.Equal(t, 50, byContext, "half of the scope in progress leave by their own context")
		start := time.Now()
		closed := make(chan error, 1)
		go func() { closed <- r.Close() }()
		for range 300 - left {
			<-done
		}
		assert.Zero(t, time.Since(start), "by Close, at once")
		require.NoError(t, <-closed)
		assert.LessOrEqual(t, time.Since(start), testLease, "at most the request timeout and a little")
		close(hang)
		// The bubble waits for every goroutine to end, and fails if one is left.
	})
}

// I6: to see it fail, let panics.Call not recover, or neither patience (of run and of protected) ever fire.
func TestI6(t *testing.T) {
	for name, act := range map[string]func(context.Context){
		"panic":  func(context.Context) { panic("oh") },
		"goexit": func(context.Context) { runtime.Goexit() },
		"hang":   func(ctx context.Context) { <-ctx.Done(); time.Sleep(time.Hour) },
		"leaver": func(ctx context.Context) { time.Sleep(20 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
					act(ctx)
					return Token{}, assert.AnError
				}, gives("second", time.Hour))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				if name == "leaver" {
					ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				}
				defer cancel()
				start := time.Now()
				_, err := r.Acquire(ctx, Request{})
				require.Error(t, err)
				require.Len(t, r.replica.Newest().Doc.Attempts, 1, "charged")
				if name == "leaver" {
					time.Sleep(20 * time.Second) // its acquisition runs on
				}
				grant, err := r.Wait(t.Context(), Request{})
				require.NoError(t, err)
				assert.Equal(t, "second", grant.Token.Value())
				assert.LessOrEqual(t, time.Since(start), testLease+10*time.Minute+time.Second, "the lease and the backoff")
				assert.EqualValues(t, 2, r.Stats().Acquisitions.Hour.Used, "the failed one stays charged")
				time.Sleep(2 * time.Hour) // what hangs returns
			})
		})
	}
}

// I7: to see it fail, have run call RequestFunc before it charges. What RequestFunc finds on disk is charged already, and opens.
func TestI7(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var inside string
	up := &upstream{replies: []func(context.Context, Request) (Token, error){func(context.Context, Request) (Token, error) {
		b, _ := os.ReadFile(path)
		inside = string(b)
		return NewTokenIn("v", time.Hour), nil
	}}}
	for range 3 {
		g, err := New(up.request, WithStateFile(path))
		require.NoError(t, err)
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "v", token.Value())
		require.NoError(t, g.Close())
	}
	assert.Equal(t, 1, up.count(), "restarts acquire nothing")
	data := inside[strings.Index(inside, `{"version"`):]
	var doc ledger.Document
	require.NoError(t, json.NewDecoder(strings.NewReader(data)).Decode(&doc))
	require.Len(t, doc.Attempts, 1)
	assert.True(t, doc.Attempts[0].Running)
}

type setClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *setClock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *setClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// I8: to see it fail, let Window count only attempts that ended in the past. A clock that steps back and forth by up to
// two days between the calls frees nothing, on its own readings; and after a step back of any size a day is the most
// that it blocks.
func TestI8(t *testing.T) {
	clock := &setClock{now: time.Unix(1_800_000_000, 0)}
	up := &upstream{}
	up.replies = append(up.replies, func(context.Context, Request) (Token, error) { return NewTokenIn("v", time.Second), nil })
	g, err := New(up.request, WithClock(clock))
	require.NoError(t, err)
	defer g.Close()
	for i := range 20 {
		_, _ = g.Acquire(t.Context(), Request{Scope: fmt.Sprint(i)})
		clock.set(clock.Now().Add(-time.Duration(i) * time.Minute))
	}
	assert.Equal(t, 1, up.count(), "a step back frees nothing")
	clock.set(clock.Now().Add(-1000 * allDay))
	_, err = g.Acquire(t.Context(), Request{Scope: "far"})
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	d, ok := refused.RetryAfter(clock.Now())
	assert.True(t, ok)
	assert.LessOrEqual(t, d, 25*time.Hour)
}

// I9: to see it fail, make MaxScopes or maxTombstones large, or keep reports of tokens that are unknown. See bounds_test.go.
func TestI9(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for i := range amount(600, 2000) { // beyond maxTombstones
			f := quota
			f.Message += fmt.Sprint(" number ", i, strings.Repeat("x", 2000))
			_, _ = r.Acquire(t.Context(), Request{Caller: fmt.Sprint("caller", i), Failing: fmt.Sprint("stranger", i), Failure: f, Scope: fmt.Sprint("s", i)})
			require.NoError(t, r.Report(t.Context(), Outcome{TokenID: fmt.Sprint("stranger", i), Failure: unauth}))
		}
		for i := range ledger.MaxScopes + int(amount(50, 200)) {
			_, _ = r.Acquire(t.Context(), Request{Scope: fmt.Sprint("p", i), Failure: slow})
		}
		assert.LessOrEqual(t, len(r.replica.Newest().Doc.Scopes), ledger.MaxScopes)
		assert.NotZero(t, r.replica.Newest().Doc.Scopes["s0"].LastStart, "what a start left is kept")
		time.Sleep(allDay) // the pauses are over
		require.NoError(t, r.Adopt(t.Context(), NewToken("x", time.Time{})))
		doc := r.replica.Newest().Doc
		b, err := doc.Encode()
		require.NoError(t, err)
		assert.LessOrEqual(t, len(doc.Tokens), 2)
		assert.Less(t, len(b), 16<<10, "%s", b)
	})
}
