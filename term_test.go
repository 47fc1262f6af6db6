package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// lentEntry is the entry of a scope after two hits, which have it lent.
func lentEntry(t *testing.T, g *Guard, scope string) *entry {
	t.Helper()
	for range 2 {
		_, err := g.Acquire(t.Context(), Request{Scope: scope})
		require.NoError(t, err)
	}
	e := g.cache.lookup(scope, "")
	require.NotNil(t, e)
	require.NotNil(t, e.loan.term.Load(), "lent")
	return e
}

// Where no timer runs, each 64th hit of a stripe ends the term.
func TestHitsEndTheTermWithoutATimer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		e := lentEntry(t, r.Guard, "")
		stuck := &term{ends: int64(r.meter.Mono())} // it is over now, and nothing will say so
		e.loan.term.Store(stuck)
		r.cache.table.Load().term.Store(stuck)
		hits := 0
		for r.cache.lookup("", "") != nil {
			hits++
			require.Less(t, hits, lendCheck)
		}
		require.Positive(t, hits, "it was lent")
		require.True(t, stuck.over.Load(), "the other stripes stop, too")
		for range 3 * lendCheck {
			require.Nil(t, r.cache.lookup("", ""))
		}
		before := r.Stats().Calls.Answers[StepCache][ReasonCached]
		require.Equal(t, "value-1", r.must(Request{}).Token.Value())
		require.Equal(t, before+1, r.Stats().Calls.Answers[StepCache][ReasonCached], "only what was handed out is counted")
	})
}

// What ends soon after the term reads the clock on each hit.
func TestWhatEndsSoonIsNotLent(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = []func(context.Context, Request) (Token, error){gives("brief", time.Minute)} // expired after 54 s
		lentEntry(t, r.Guard, "")
		time.Sleep(42 * time.Second)
		lentEntry(t, r.Guard, "")
		time.Sleep(time.Second + 1) // now the term would end less than 10 s before
		r.must(Request{})
		r.must(Request{})
		e := r.cache.lookup("", "")
		require.NotNil(t, e)
		require.NotSame(t, r.cache.table.Load().term.Load(), e.loan.term.Load())
		require.False(t, e.lent(1), "each hit reads the clock")
	})
}

func TestClockOnEachHit(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		for range 3 * lendCheck {
			e := r.cache.lookup("", "")
			require.NotNil(t, e)
			require.False(t, e.lent(1))
		}
	}, WithClockOnEachHit())
}

// At the very instant at which the freshness ends the store is read: a fake clock lets a call and a timer that are due at
// once run in either order. The commit of the use that proves the token is due then, too, and what it has just read counts as
// fresh no sooner than it is known.
func TestFreshnessEndsToTheNanosecond(t *testing.T) {
	for range 60 {
		synctest.Test(t, func(t *testing.T) {
			store := NewMemoryStore()
			up := &upstream{}
			var guards [2]*Guard
			for i := range guards {
				g, err := New(up.request, WithStore(store), WithName("two"), WithFreshness(time.Second))
				require.NoError(t, err)
				defer g.Close()
				guards[i] = g
				_, err = g.Token(t.Context())
				require.NoError(t, err)
			}
			time.Sleep(time.Minute)
			g, other := guards[0], guards[1]
			token := lentEntry(t, g, "").grant.Token
			ends := time.Now().Add(time.Duration(g.cache.table.Load().term.Load().ends) - g.meter.Mono())
			time.Sleep(time.Until(ends) / 2)
			require.NoError(t, other.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: unauth}))
			for range 8 { // several that are due at that instant
				go time.Sleep(time.Until(ends))
			}
			time.Sleep(time.Until(ends) - 2)
			again, err := g.Token(t.Context())
			require.NoError(t, err)
			require.True(t, token.Equal(again), "it is not known yet")
			time.Sleep(time.Until(ends))
			again, err = g.Token(t.Context())
			require.False(t, err == nil && token.Equal(again), "handed out a rejected token")
		})
	}
}

// A goroutine that stands still while it begins a term lends nothing that a timer ends too late.
func TestTermBegunSlowly(t *testing.T) {
	for name, standing := range map[string]struct{ before, after time.Duration }{
		"between the clock and the timer": {before: 3 * time.Second},
		"before the table is published":   {after: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.must(Request{})
				time.Sleep(time.Minute)
				readings := 0
				r.cache.mono = func() time.Duration {
					if readings++; readings == 3 { // confirm, the term's beginning, the timer is set
						time.Sleep(standing.before)
						defer time.Sleep(standing.after)
					}
					return r.meter.Mono()
				}
				r.must(Request{}) // takes the slow path
				require.Equal(t, 3, readings)
				r.cache.mono = r.meter.Mono
				m := r.cache.table.Load().term.Load()
				require.Greater(t, int64(r.meter.Mono()), m.ends, "it was over when it was published")
				require.True(t, m.over.Load())
				require.Nil(t, r.cache.lookup("", ""))
			})
		})
	}
}

// A timer that is set late would fire late: its term is not lent, however much is left of it.
func TestTermWithALateTimerIsNotLent(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		time.Sleep(time.Minute)
		readings := 0
		r.cache.mono = func() time.Duration {
			if readings++; readings == 3 {
				time.Sleep(time.Duration(clockSlack) + 1)
			}
			return r.meter.Mono()
		}
		r.must(Request{})
		require.True(t, r.cache.table.Load().term.Load().over.Load())
	})
}

// Calls on the slow path share a term while half of it is left.
func TestBurstOnTheSlowPathSharesATerm(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		terms := map[*term]int{}
		for i := range 1000 {
			r.must(Request{Failure: Failure{StatusCode: 503, Message: fmt.Sprint("once ", i)}})
			terms[r.cache.table.Load().term.Load()]++
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, len(terms), 3)
	})
}

// A guard that was made outside a bubble answers inside, where its timers would never fire, and goes on outside.
func TestGuardFromOutsideABubble(t *testing.T) {
	g, err := New(func(context.Context, Request) (Token, error) { return NewTokenIn("from outside", time.Hour), nil })
	require.NoError(t, err)
	defer g.Close()
	e := lentEntry(t, g, "")
	synctest.Test(t, func(t *testing.T) {
		for range 3 { // with what was lent outside, and after it
			for range 2 * lendCheck {
				token, err := g.Token(context.Background())
				require.NoError(t, err)
				require.Equal(t, "from outside", token.Value())
			}
			e.loan.term.Load().end()
			time.Sleep(time.Minute)
		}
		require.Nil(t, g.cache.lookup("", ""), "nothing is lent in here")
		g.publish() // as a commit does
		require.Nil(t, g.cache.lookup("", ""))
	})
	lentEntry(t, g, "")
	table := g.cache.table.Load()
	delta := g.meter.Read().Now - timeline.Instant(g.meter.Mono())
	assert.InDelta(t, float64(delta), float64(table.delta), float64(clockSlack), "the table has the time of the world")
	assert.LessOrEqual(t, table.term.Load().ends, int64(g.meter.Mono()+hotLife))
}

// The monotonic clock stands still in a suspend. Calls for another scope keep the table from being made anew for any
// other reason.
func TestSuspendEndsWhatWasLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, suspended := time.Now(), new(atomic.Int64)
		g, err := New(func(_ context.Context, req Request) (Token, error) {
			return NewTokenIn("secret of "+req.Scope, map[string]time.Duration{"brief": time.Hour, "long": allDay}[req.Scope]), nil
		}, WithRateLimits(RateLimits{MaxRequestsPerHour: 2, MinInterval: 1}))
		require.NoError(t, err)
		defer g.Close()
		g.meter.Simulate(time.Now, "boot", func() int64 { return int64(time.Since(begin)) + suspended.Load() })
		other := func() {
			_, err := g.Acquire(t.Context(), Request{Scope: "long", Failure: Failure{StatusCode: 503, Message: "unavailable"}})
			require.NoError(t, err)
		}
		other()
		time.Sleep(time.Nanosecond)
		brief := lentEntry(t, g, "brief").grant.Token
		suspended.Add(int64(2 * time.Hour))
		for range 20 {
			time.Sleep(hotLife / 4)
			other()
		}
		grant, err := g.Acquire(t.Context(), Request{Scope: "brief"})
		require.NoError(t, err, "two hours later another may be acquired")
		require.Equal(t, SourceRequest, grant.Source)
		require.True(t, brief.AcquiredAt().Before(grant.Token.AcquiredAt()))
	})
}

// Callers hammer a scope while what they get comes to an end: none that calls after it gets the old token.
func TestHitsStopAtEachEnd(t *testing.T) {
	report := func(o Outcome) func(*testing.T, *rig, Token) {
		return func(t *testing.T, r *rig, token Token) {
			o.TokenID = token.ID()
			require.NoError(t, r.Report(t.Context(), o))
		}
	}
	for name, kind := range map[string]struct {
		caller string
		end    func(*testing.T, *rig, Token)
	}{
		"rejected":         {"", report(Outcome{Failure: unauth})},
		"spent":            {"", report(Outcome{Failure: quota, Limit: 10})},
		"barred operation": {"sync", report(Outcome{Caller: "sync", Failure: unauth})},
		"adoption": {"", func(t *testing.T, r *rig, _ Token) {
			require.NoError(t, r.Adopt(t.Context(), NewTokenIn("adopted", allDay)))
		}},
		"eviction": {"", func(t *testing.T, r *rig, _ Token) {
			_, err := r.Acquire(t.Context(), Request{Scope: "another"})
			require.NoError(t, err)
		}},
		"Close": {"", func(t *testing.T, r *rig, _ Token) { require.NoError(t, r.Close()) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.must(Request{Caller: kind.caller})
				time.Sleep(6 * time.Minute) // it is no longer fresh, and has spread
				token := lentEntry(t, r.Guard, "").grant.Token
				var ended, stop atomic.Bool
				var hits, late atomic.Int64
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						for !stop.Load() {
							was := ended.Load()
							e := r.cache.lookup("", kind.caller)
							switch {
							case e == nil:
							case !e.grant.Token.Equal(token):
							case was:
								late.Add(1)
							default:
								hits.Add(1)
							}
						}
					})
				}
				for hits.Load() < 1000 {
					_, err := r.Token(t.Context()) // the term goes on
					require.NoError(t, err)
				}
				kind.end(t, r, token)
				ended.Store(true)
				for range 1000 {
					_, _ = r.Acquire(t.Context(), Request{Caller: kind.caller, Failure: broken})
				}
				stop.Store(true)
				all.Wait()
				require.Zero(t, late.Load())
			}, WithCache(CacheConfig{MaxTokens: 1}), WithRateLimits(RateLimits{MaxRequestsPerHour: 10, MinInterval: 1}))
		})
	}
}

// An expiry is kept to the nanosecond, with callers at every instant around it.
func TestHitsStopAtTheExpiry(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = []func(context.Context, Request) (Token, error){gives("first", time.Hour), fails(broken)}
		token := r.must(Request{}).Token
		ends := token.Expiry()
		expired := ends.Add(-10 * time.Second) // then another is asked for, which fails: the old one serves on until it ends
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				for _, end := range []time.Time{expired, ends} {
					at := end.Add(time.Duration(i - 100))
					time.Sleep(time.Until(at))
					got, err := r.Token(t.Context())
					hit := r.cache.lookup("", "") != nil
					if at.Before(ends) {
						assert.NoError(t, err)
						assert.True(t, token.Equal(got))
					} else {
						assert.Error(t, err)
					}
					assert.Equal(t, at.Before(expired), hit, "%v after the expiry", at.Sub(expired))
				}
			})
		}
		all.Wait()
		require.Equal(t, 2, r.up.count())
	})
}

// Close ends the term: nothing of it is left to a timer.
func TestCloseEndsTheTerm(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		e := lentEntry(t, r.Guard, "")
		m := e.loan.term.Load()
		require.False(t, m.over.Load())
		require.NoError(t, r.Close())
		require.True(t, m.over.Load())
		_, err := r.Token(t.Context())
		require.True(t, errors.Is(err, ErrClosed))
	})
}

// A guard at rest has no timer left a second after its last call.
func TestTimerEndsWithinASecond(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m := lentEntry(t, r.Guard, "").loan.term.Load()
		time.Sleep(hotLife)
		synctest.Wait()
		require.True(t, m.over.Load())
		require.Same(t, m, r.cache.term, "none was begun after it")
	})
}

// movingClock is a user's clock that a test sets.
type movingClock struct{ at atomic.Int64 }

func (c *movingClock) Now() time.Time { return time.Unix(0, c.at.Load()) }

// With a user's clock each call looks at that clock, and is a hit all the same: to the very end of the token, and in the
// order in which the tokens are used, also where the clock stands still.
func TestHitsByAUsersClock(t *testing.T) {
	clock := &movingClock{}
	clock.at.Store(1_800_000_000_000_000_000)
	fetched := 0
	g, err := New(func(_ context.Context, req Request) (Token, error) {
		fetched++
		return NewToken(fmt.Sprint("token ", fetched, " of ", req.Scope), clock.Now().Add(time.Hour)), nil
	}, WithClock(clock), WithCache(CacheConfig{MaxTokens: 2}),
		WithRateLimits(RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond}))
	require.NoError(t, err)
	defer g.Close()
	get := func(scope string) string {
		t.Helper()
		clock.at.Add(1000)
		grant, err := g.Acquire(t.Context(), Request{Scope: scope, Caller: "c"})
		require.NoError(t, err)
		return grant.Token.Value()
	}
	for _, scope := range []string{"", "scope"} {
		first := get(scope)
		hits := g.Stats().Cache.Hits
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = g.Acquire(t.Context(), Request{Scope: scope, Caller: "c"}) }))
		require.Equal(t, first, get(scope))
		require.EqualValues(t, hits+102, g.Stats().Cache.Hits)
	}
	// Of two the one that was used last stays, though no time passes.
	get("")
	get("scope")
	_, _ = g.Acquire(t.Context(), Request{})
	get("third")
	require.Equal(t, "token 1 of ", get(""))
	clock.at.Add(int64(50 * time.Minute))
	require.Equal(t, "token 1 of ", get(""), "not over yet")
	clock.at.Add(int64(10 * time.Minute))
	require.NotEqual(t, "token 1 of ", get(""), "over")
}
