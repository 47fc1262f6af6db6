package tokenguard

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/counts"
)

// Who used the budget: acquisitions of the day by scope and operation, also of other processes; refusals and hits of this one.
func TestUsageByScopeAndOperation(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, gives("v1", 10*time.Hour), gives("v2", 10*time.Hour))
		r.must(Request{Scope: "eu", Caller: "billing 17"})
		for range 5 {
			_, err := r.Acquire(t.Context(), Request{Scope: "eu", Caller: "search"})
			require.NoError(t, err)
		}
		r.no(ReasonMinInterval, Request{Scope: "us", Caller: "search"})
		r.no(ReasonMinInterval, Request{Scope: "us", Caller: "search"})
		r.no(ReasonMinInterval, Request{Scope: "us", Caller: "billing 18"})
		time.Sleep(10 * time.Minute)
		r.must(Request{Scope: "us", Caller: "billing 19"})
		s := r.Stats()
		assert.Equal(t, []Usage{{Name: "us", Acquisitions: 1, Refused: 3}, {Name: "eu", Acquisitions: 1, Hits: 5}}, s.Usage.Scopes)
		require.Len(t, s.Usage.Operations, 2)
		assert.Contains(t, s.Usage.Operations[0].Name, "billing", "the numbers are no part of it")
		assert.Equal(t, [2]int64{2, 1}, [2]int64{int64(s.Usage.Operations[0].Acquisitions), s.Usage.Operations[0].Refused})
		assert.Equal(t, Usage{Name: "search", Refused: 2}, s.Usage.Operations[1], "a hit is of no operation")
		assert.EqualValues(t, 5, s.Cache.Hits, "each hit once")
		time.Sleep(25 * time.Hour)
		assert.Zero(t, r.Stats().Usage.Operations[0].Acquisitions, "of the last 24 hours")
	})
}

// hits are those by scope, and the rest.
func (u UsageStats) hits() (byScope map[string]int64, rest, sum int64) {
	byScope = map[string]int64{}
	for _, s := range u.Scopes {
		sum += s.Hits
		if s.Rest {
			rest = s.Hits
		} else if s.Hits > 0 {
			byScope[s.Name] = s.Hits
		}
	}
	return byScope, rest, sum
}

// A hit counts for its scope on each way to it: the first look at a scope, the token table, a remembered answer to a failure,
// the slow path; and nothing else that the guard counts has it.
func TestHitsByScope(t *testing.T) {
	for name, opts := range map[string][]Option{"hot": nil, "each call decides": {WithClock(utcClock{})}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.must(Request{})
				time.Sleep(time.Hour)
				eu := r.must(Request{Scope: "eu"}).Token
				for i := range 300 { // each 64th reads the clock
					if i%100 == 50 {
						time.Sleep(2 * time.Second) // another term
					}
					r.must(Request{Scope: "eu"})
				}
				for range 7 {
					_, err := r.Token(t.Context())
					require.NoError(t, err)
				}
				for range 4 {
					r.must(Request{Scope: "eu", Caller: "billing", Failing: eu.ID(), Failure: broken})
				}
				s := r.Stats()
				hits, rest, sum := s.Usage.hits()
				assert.Equal(t, map[string]int64{"": 7, "eu": 304}, hits)
				assert.Zero(t, rest)
				assert.Equal(t, s.Cache.Hits, sum)
				assert.Equal(t, s.Calls.Answers[StepCache][ReasonCached], sum)
				assert.EqualValues(t, 313, s.Calls.Served)
				var minutes int64
				for _, m := range s.Calls.Minutes {
					minutes += m.Served
				}
				assert.Equal(t, s.Calls.Served, minutes)
			}, opts...)
		})
	}
}

// What the personal token answers for a scope without one of its own is among the others.
func TestHitsOfThePersonalToken(t *testing.T) {
	source := func(context.Context) (Token, error) { return NewTokenIn("personal", time.Hour), nil }
	bubble(t, func(t *testing.T, r *rig) {
		for _, scope := range []string{"", "", "", "a", "b"} {
			require.Equal(t, SourcePersonal, r.must(Request{Scope: scope}).Source)
		}
		s := r.Stats()
		hits, rest, sum := s.Usage.hits()
		assert.Equal(t, map[string]int64{"": 3}, hits)
		assert.EqualValues(t, 2, rest)
		assert.Equal(t, s.Calls.Answers[StepCache][ReasonPersonal], sum)
		assert.EqualValues(t, 5, s.Calls.Served)
	}, WithPersonalToken(source))
}

// More scopes than have places: those that are asked for often keep theirs, in whatever order all come, and no hit is lost.
func TestHitsOfManyScopes(t *testing.T) {
	const scopes, often = 3 * counts.Kept, 8
	synctest.Test(t, func(t *testing.T) {
		g, err := New(func(_ context.Context, req Request) (Token, error) {
			return NewTokenIn("secret of "+req.Scope, 10*time.Hour), nil
		},
			WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000, MinInterval: time.Nanosecond}),
			WithCache(CacheConfig{MaxTokens: 1000}))
		require.NoError(t, err)
		defer g.Close()
		var calls int64
		for round := range 12 {
			for i := range scopes {
				scope := fmt.Sprint("scope ", i)
				for range 1 + 9*min(1, max(0, i-scopes+often+1)) { // the last of each round
					grant, err := g.Acquire(t.Context(), Request{Scope: scope})
					require.NoError(t, err)
					if grant.Source == SourceCache {
						calls++
					}
					if round == 0 {
						time.Sleep(time.Second)
					}
				}
			}
			require.NoError(t, g.Clear(t.Context(), Clear{Backoff: true})) // another table
			time.Sleep(time.Second)
		}
		byName, rest := g.counters.usage.scopes.Now()
		rest = rest.Plus(1, g.counters.usage.others.Now())
		assert.Positive(t, rest.AllHits())
		sum := rest.AllHits()
		for _, c := range byName {
			sum += c.AllHits()
		}
		assert.Equal(t, calls, sum)
		assert.Equal(t, calls, g.Stats().Cache.Hits)
		for i := scopes - often; i < scopes; i++ {
			assert.Contains(t, byName, fmt.Sprint("scope ", i))
		}
		assert.Len(t, byName, counts.Kept)
	})
}

// A scope that loses its place to another is not counted for that one, on the same table.
func TestHitsGoWithTheirScope(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{Scope: "eu"})
		r.must(Request{Scope: "eu"})
		for i := range counts.Kept { // refused, which makes no table
			for range 3 {
				r.no(ReasonMinInterval, Request{Scope: fmt.Sprint("other ", i)})
			}
		}
		byName, _ := r.counters.usage.scopes.Now()
		require.NotContains(t, byName, "eu")
		for range 100 {
			r.must(Request{Scope: "eu"})
		}
		hits, rest, sum := r.Stats().Usage.hits()
		assert.Empty(t, hits)
		assert.EqualValues(t, 101, rest)
		assert.EqualValues(t, 101, sum)
	})
}

// Hits, refusals and places that change hands at once lose no count.
func TestHitsAtOnce(t *testing.T) {
	g, _, _ := stormGuard(t, WithRateLimits(RateLimits{MaxRequestsPerHour: 1000, MaxRequestsPerDay: 1000}))
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 2000 {
				_, _ = g.Acquire(context.Background(), Request{Scope: "held"})
				if i%20 == 0 {
					_, _ = g.Acquire(context.Background(), Request{Scope: fmt.Sprint(worker, " ", i)})
				}
			}
		})
	}
	all.Wait()
	s := g.Stats()
	_, _, sum := s.Usage.hits()
	assert.EqualValues(t, 8*2000, sum)
	assert.Equal(t, sum, s.Cache.Hits)
	var refused int64
	for _, u := range s.Usage.Scopes {
		refused += u.Refused
	}
	assert.Equal(t, s.Calls.Refused, refused)
}

// A renewal counts for the scope and the operation of the call that began it, beside the budget of acquisitions.
func TestUsageOfRenewals(t *testing.T) {
	n := 0
	renew := func(context.Context, Token) (Token, error) {
		n++
		return NewTokenIn(fmt.Sprint("value ", n), time.Hour).WithRefreshToken("refresh", time.Time{}), nil
	}
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, func(context.Context, Request) (Token, error) {
			return NewTokenIn("first", time.Hour).WithRefreshToken("refresh", time.Time{}), nil
		})
		r.must(Request{Scope: "eu", Caller: "billing"})
		for i := range 3 {
			time.Sleep(58 * time.Minute)
			require.Equal(t, SourceRenewal, r.must(Request{Scope: "eu", Caller: "search"}).Source, i)
		}
		s := r.Stats()
		assert.Equal(t, []Usage{{Name: "eu", Acquisitions: 1, Renewals: 3}}, s.Usage.Scopes)
		assert.Equal(t, []Usage{{Name: "billing", Acquisitions: 1}, {Name: "search", Renewals: 3}}, s.Usage.Operations)
	}, WithRenewal(renew))
}
