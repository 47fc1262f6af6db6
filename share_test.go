package tokenguard

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

func TestMistakesInTheShare(t *testing.T) {
	limits := func(perHour, perDay int) Option {
		return WithRateLimits(RateLimits{MaxRequestsPerHour: perHour, MaxRequestsPerDay: perDay})
	}
	const field = "tokenguard: WithFailOpenToLocalShare is "
	for want, opts := range map[string][]Option{
		"": {WithFailOpenToLocalShare(10), limits(10, 20)}, // known only after all options
		field + "0, must be from 1 to 3, the smaller of the limits per hour and per day":   {WithFailOpenToLocalShare(0)},
		field + "4, must be from 1 to 3, the smaller of the limits per hour and per day":   {WithFailOpenToLocalShare(4)},
		field + "11, must be from 1 to 10, the smaller of the limits per hour and per day": {WithFailOpenToLocalShare(11), limits(20, 10)},
		field + "2, must be from 1 to 1, the smaller of the limits per hour and per day":   {WithFailOpenToLocalShare(2), limits(1, 20)},
	} {
		_, err := newOptions(opts)
		if want == "" {
			assert.NoError(t, err)
			continue
		}
		assert.EqualError(t, err, want)
		assert.ErrorAs(t, err, new(*ConfigError))
	}
}

func TestShareOfTheLimits(t *testing.T) {
	o, err := newOptions([]Option{
		WithFailOpenToLocalShare(3), WithRateLimits(RateLimits{MaxRequestsPerHour: 8, MaxRequestsPerDay: 20, MinInterval: time.Minute}),
	})
	require.NoError(t, err)
	want := *o.policy
	want.Share = 3
	want.RateLimit.MaxRequestsPerHour, want.RateLimit.MaxRequestsPerDay, want.RateLimit.MinInterval = 2, 6, 3*time.Minute
	assert.Equal(t, want, *o.policy.Divided(o.processes), "backoff and all else undivided")
}

// thirds are the options of a process of three, of which each may start 2 an hour and 4 a day, 30 s apart.
func thirds(s Store) []Option {
	return append(named(s), WithFailOpenToLocalShare(3),
		WithRateLimits(RateLimits{MaxRequestsPerHour: 6, MaxRequestsPerDay: 12, MinInterval: 10 * time.Second}))
}

func TestShareWhileTheStoreIsAway(t *testing.T) {
	for name, viewFails := range map[string]bool{"it cannot be written": false, "it cannot be read either": true} {
		for _, freshness := range []time.Duration{0, time.Second} {
			t.Run(fmt.Sprintf("%s, freshness %v", name, freshness), func(t *testing.T) {
				s := &faulty{Store: NewMemoryStore()}
				var said []string
				bubble(t, func(t *testing.T, r *rig) {
					first := r.must(Request{})
					s.view.Store(viewFails)
					s.update.Store(true)
					defer s.view.Store(false)
					defer s.update.Store(false)
					time.Sleep(10 * time.Second)
					refused := r.no(ReasonMinInterval, Request{Scope: "b"})
					assert.Contains(t, refused.Verdict.Detail, "its share of 1/3")
					assert.Equal(t, 20*time.Second, in(refused.Verdict.RetryAt), "30 s apart")
					time.Sleep(20 * time.Second)
					second := r.must(Request{Scope: "b"})
					assert.Equal(t, SourceRequest, second.Source)
					time.Sleep(30 * time.Second)
					refused = r.no(ReasonHourLimit, Request{Scope: "c"})
					assert.Equal(t, 2, refused.Verdict.Evidence.Limit)
					assert.Equal(t, time.Hour-time.Minute, in(refused.Verdict.RetryAt))
					explained, err := r.Explain(t.Context(), Request{Scope: "c"})
					require.NoError(t, err)
					assert.Equal(t, ReasonHourLimit, explained.Verdict.Reason)
					assert.Equal(t, first.Token.ID(), r.must(Request{}).Token.ID())
					assert.Equal(t, second.Token.ID(), r.must(Request{Scope: "b"}).Token.ID())
					assert.Equal(t, 2, r.up.count())
					require.NotEmpty(t, said)
					assert.Contains(t, said[0], "the guard keeps to its share of 1/3")

					newcomer := r.open(thirds(s)...)
					_, err = newcomer.Acquire(t.Context(), Request{Scope: "c"})
					if viewFails {
						assert.ErrorIs(t, err, ErrStore, "it has seen nothing since its start")
					} else {
						assert.Equal(t, 3, r.up.count(), "it knows of the first start alone")
					}
					assert.NoError(t, ignore(newcomer.Close(), !viewFails))
				}, append(thirds(s), WithFreshness(freshness), WithObserver(func(e Event) {
					if e.Kind == EventState {
						said = append(said, e.Text)
					}
				}))...)
			})
		}
	}
}

func ignore(err error, expected bool) error {
	if expected {
		return nil
	}
	return err
}

// What was started alone is charged to the others once the store is back, with its token, and the share holds for an
// hour more.
func TestShareAfterTheOutage(t *testing.T) {
	s := &faulty{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		other := r.open(thirds(s)...)
		defer other.Close()
		_, err := other.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		s.view.Store(true)
		s.update.Store(true)
		time.Sleep(30 * time.Second)
		alone := r.must(Request{Scope: "b"})
		time.Sleep(time.Minute)
		s.view.Store(false)
		s.update.Store(false)

		refused := r.no(ReasonHourLimit, Request{Scope: "c"})
		assert.Contains(t, refused.Verdict.Detail, "share of 1/3")
		grant, err := other.Acquire(t.Context(), Request{Scope: "b"})
		require.NoError(t, err)
		assert.Equal(t, alone.Token.ID(), grant.Token.ID(), "the others have the token, too")
		for _, g := range []*Guard{r.Guard, other} {
			doc := g.replica.Newest().Doc
			require.Len(t, doc.Attempts, 2)
			assert.Equal(t, 90*time.Second, time.Duration(g.meter.Read().Now.Sub(doc.Attempts[0].End)))
			assert.True(t, doc.Attempts[1].Landed)
			assert.Equal(t, 1*time.Minute, time.Duration(g.meter.Read().Now.Sub(doc.Attempts[1].End)))
			assert.EqualValues(t, 2, doc.Counts.Successes)
		}
		_, err = other.Acquire(t.Context(), Request{Scope: "c"})
		require.NoError(t, err, "who met no outage has the whole budget")
		time.Sleep(time.Hour - time.Nanosecond)
		assert.Equal(t, 2, r.Stats().Acquisitions.Hour.Limit)
		time.Sleep(time.Nanosecond)
		assert.Equal(t, 6, r.Stats().Acquisitions.Hour.Limit)
		r.must(Request{Scope: "d"})
		assert.Equal(t, 4, r.up.count())
	}, thirds(s)...)
}

// However long the outage: n processes that lose the store together keep the limits per hour and day over all of them.
func TestSharesKeepTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perHour := rapid.IntRange(2, 6).Draw(t, "per hour")
		perDay := rapid.IntRange(perHour, 15).Draw(t, "per day")
		n := rapid.IntRange(2, perHour).Draw(t, "processes")
		store, clock := &faulty{Store: NewMemoryStore()}, &modelClock{now: time.Unix(1.8e9, 0)}
		var starts []time.Time
		request := func(context.Context, Request) (Token, error) {
			starts = append(starts, clock.Now())
			if len(starts)%4 == 0 {
				return Token{}, Failed(broken)
			}
			return NewTokenIn(fmt.Sprint("value-", len(starts)), time.Minute), nil
		}
		var guards []*Guard
		for range n {
			g, err := New(request, WithStore(store), WithName("x"), WithClock(clock), WithFailOpenToLocalShare(n), WithRateLimits(RateLimits{
				MaxRequestsPerHour: perHour, MaxRequestsPerDay: perDay, MinInterval: time.Second, FailureBackoffBase: time.Second, MaxBackoff: time.Second,
			}))
			if err != nil {
				t.Fatal(err)
			}
			guards = append(guards, g)
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "store") {
			case 0:
				store.view.Store(true)
				store.update.Store(true)
			case 1:
				store.update.Store(true) // what was read stays right: nobody can write
			case 2, 3:
				store.view.Store(false)
				store.update.Store(false)
			}
			// All look before anybody's clock goes on, and each is called within the hour.
			for _, g := range rapid.Permutation(guards).Draw(t, "order") {
				for scope := range rapid.IntRange(1, 3).Draw(t, "scopes") {
					g.retry = rate.NewLimiter(0, 1) // it runs on real time
					_, _ = g.Acquire(context.Background(), Request{Scope: fmt.Sprint(scope)})
				}
				clock.add(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
			}
			clock.add(time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")) * time.Minute)
		}
		for window, limit := range map[time.Duration]int{ledger.Hour: perHour, ledger.Day: perDay} {
			for i := limit; i < len(starts); i++ {
				if starts[i].Sub(starts[i-limit]) < window {
					t.Fatalf("%d starts in %v, the limit is %d", limit+1, starts[i].Sub(starts[i-limit]), limit)
				}
			}
		}
		if !slices.IsSortedFunc(starts, time.Time.Compare) {
			t.Fatal("the clock went back")
		}
	})
}

// With one process the share is the whole budget: what the last document says is counted against it, and a process that
// has seen none refuses.
func TestShareOfOneProcess(t *testing.T) {
	s := &faulty{Store: NewMemoryStore()}
	opts := append(named(s), WithFailOpenToLocalShare(1), WithRateLimits(RateLimits{MinInterval: time.Second}))
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{Scope: "a"})
		s.view.Store(true)
		s.update.Store(true)
		for _, scope := range []string{"b", "c"} {
			time.Sleep(time.Minute)
			require.Equal(t, SourceRequest, r.must(Request{Scope: scope}).Source)
		}
		time.Sleep(time.Minute)
		refused := r.no(ReasonHourLimit, Request{Scope: "d"})
		require.Equal(t, 3, refused.Verdict.Evidence.Limit, "the limit is undivided")
		require.Equal(t, 3, r.up.count())

		other := r.open(opts...)
		_, err := other.Acquire(t.Context(), Request{Scope: "d"})
		require.ErrorIs(t, err, ErrStore, "it cannot bound anything")
		s.view.Store(false)
		_, err = other.Acquire(t.Context(), Request{Scope: "d"})
		require.NoError(t, err, "by the document that it sees now, which lacks what the first one started")
		s.update.Store(false)
		require.NoError(t, other.Close())
	}, opts...)
}
