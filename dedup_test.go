package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func takes(d time.Duration, value string) func(context.Context, Request) (Token, error) {
	return func(context.Context, Request) (Token, error) {
		time.Sleep(d)
		return NewTokenIn(value, allDay), nil
	}
}

func TestTenThousandCallersMakeOneAcquisition(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, takes(time.Second, "v"))
		var sources [3]atomic.Int64
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				grant, err := r.Acquire(t.Context(), Request{})
				switch {
				case err != nil || grant.Token.Value() != "v":
					t.Errorf("%v %v", grant, err)
				case grant.Source == SourceRequest:
					sources[0].Add(1)
				case grant.Source == SourceShared && grant.Verdict().Reason == ReasonJoined:
					sources[1].Add(1)
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 1, r.up.count())
		assert.EqualValues(t, 1, sources[0].Load())
		assert.EqualValues(t, 9_999, sources[1].Load())
	})
}

func TestLeaderAndFollowersLeave(t *testing.T) {
	type key struct{}
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
			assert.Equal(t, "kept", ctx.Value(key{}), "the starter's values")
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, 30*time.Second, time.Until(deadline), "its own timeout")
			time.Sleep(2 * time.Second)
			assert.NoError(t, ctx.Err(), "not its cancellation")
			return NewTokenIn("v", time.Hour), nil
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "kept"), time.Second)
		defer cancel()
		leader, follower, stays := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { _, err := r.Acquire(ctx, Request{}); leader <- err }()
		synctest.Wait()
		short, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		go func() { _, err := r.Acquire(short, Request{}); follower <- err }()
		go func() { _, err := r.Acquire(t.Context(), Request{}); stays <- err }()
		assert.ErrorIs(t, <-follower, context.DeadlineExceeded)
		assert.ErrorIs(t, <-leader, context.DeadlineExceeded)
		assert.NoError(t, <-stays)
		assert.Equal(t, 1, r.up.count())
		assert.Zero(t, r.Stats().Limiter.ConsecutiveFailures, "leaving is a failure of nothing")
	})
}

func TestCloseLetsItsOwnFlightEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, takes(3*time.Second, "stored"))
		done := make(chan error, 1)
		go func() { _, err := r.Token(t.Context()); done <- err }()
		synctest.Wait()
		start := time.Now()
		closed := make(chan error, 1)
		go func() { closed <- r.Close() }()
		assert.ErrorIs(t, <-done, ErrClosed)
		assert.Zero(t, time.Since(start))
		require.NoError(t, <-closed)
		assert.Equal(t, 3*time.Second, time.Since(start))
		again := r.open(WithStateFile(path))
		defer again.Close()
		grant, err := again.Acquire(t.Context(), Request{})
		require.NoError(t, err)
		assert.Equal(t, "stored", grant.Token.Value())
		assert.Equal(t, SourceShared, grant.Source)
	}, WithStateFile(path))
}

func TestThreeKeysAtOnceAndTheFourthWaits(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, takes(10*time.Second, "v"))
		done := make(chan time.Duration, 4)
		start := time.Now()
		for i := range 4 {
			go func() {
				if _, err := r.Acquire(t.Context(), Request{Scope: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
				done <- time.Since(start)
			}()
			time.Sleep(time.Millisecond)
		}
		for i := range 4 {
			if d := <-done; i < 3 {
				assert.Less(t, d, 11*time.Second)
			} else {
				assert.GreaterOrEqual(t, d, 20*time.Second)
				assert.Less(t, d, 21*time.Second)
			}
		}
	}, WithRateLimits(RateLimits{MinInterval: 1, MaxRequestsPerHour: 10}))
}

// Every door at once, on two guards of one store and two of one state file, under the race detector.
func TestEveryDoorAtOnce(t *testing.T) {
	path, store := filepath.Join(t.TempDir(), "state"), NewMemoryStore()
	for name, opts := range map[string][]Option{"memory": {WithStore(store), WithName("x")}, "file": {WithStateFile(path)}} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{}
			var wg sync.WaitGroup
			var guards []*Guard
			for range 2 {
				g, err := New(up.request, append(opts, WithFreshness(0))...)
				require.NoError(t, err)
				guards = append(guards, g)
			}
			failures := []Failure{{}, quota, unauth, banned, broken, slow}
			for i := range 16 {
				wg.Go(func() {
					g, ctx := guards[i%2], context.Background()
					for n := range 20 {
						scope := fmt.Sprint(n % 3)
						grant, err := g.Acquire(ctx, Request{Scope: scope, Caller: fmt.Sprint(i), Failure: failures[(i+n)%6], Failing: TokenID("value-1")})
						// The first token may be the very one that a caller says is dead.
						if err != nil && !errors.As(err, new(*RefusedError)) && !errors.As(err, new(*RequestError)) {
							t.Error(err)
						}
						_ = g.Report(ctx, Outcome{TokenID: TokenID("value-1"), Failure: failures[n%6], Latency: time.Second})
						_, _ = g.Explain(ctx, Request{Scope: scope, Failure: failures[i%6]})
						g.Stats()
						switch {
						case n == 7 && i == 0:
							_ = g.Adopt(ctx, NewTokenIn("adopted", time.Hour))
						case n == 11:
							_ = g.Clear(ctx, Clear{Suspicion: "*", Backoff: true, RetryAfter: true})
						}
						_ = grant
					}
				})
			}
			wg.Wait()
			assert.LessOrEqual(t, up.count(), 1)
			for _, g := range guards {
				require.NoError(t, g.Close())
			}
		})
	}
}

// A user-supplied function that asks the guard which runs it is told so at once, by whichever method it asks, and for
// whichever scope; what needs no acquisition is answered, and so is a call to another guard.
func TestFunctionsThatAskTheirOwnGuard(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, g *Guard) error{
		"Token":         func(ctx context.Context, g *Guard) error { _, err := g.Token(ctx); return err },
		"Wait":          func(ctx context.Context, g *Guard) error { _, err := g.Wait(ctx, Request{}); return err },
		"another scope": func(ctx context.Context, g *Guard) error { _, err := g.Acquire(ctx, Request{Scope: "b"}); return err },
		"over a guard": func(ctx context.Context, g *Guard) error {
			between, err := New(func(ctx context.Context, _ Request) (Token, error) { return g.Token(ctx) })
			require.NoError(t, err)
			defer func() { require.NoError(t, between.Close()) }()
			_, err = between.Token(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				var says error
				r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
					time.Sleep(time.Microsecond) // no interval keeps another scope from starting
					began := time.Now()
					says = ask(ctx, r.Guard)
					assert.Zero(t, time.Since(began))
					return NewTokenIn("word", time.Hour), nil
				})
				assert.Equal(t, "word", r.must(Request{}).Token.Value())
				assert.ErrorIs(t, says, ErrReentrant)
				assert.Equal(t, 1, r.up.count())
			}, WithRateLimits(RateLimits{MinInterval: time.Nanosecond}))
		})
	}
	t.Run("what needs no acquisition", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			other := newTestGuard(t, giveToken("from another guard"))
			r.must(Request{Scope: "a"})
			r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
				token, err := r.Guard.Acquire(ctx, Request{Scope: "a"})
				require.NoError(t, err)
				further, err := other.Token(ctx)
				require.NoError(t, err)
				return NewTokenIn(token.Token.Value()+" "+further.Value(), time.Hour), nil
			})
			time.Sleep(time.Hour)
			assert.Equal(t, "value-1 from another guard", r.must(Request{Scope: "b"}).Token.Value())
		})
	})
	t.Run("in shadow mode", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			r.must(Request{})
			calls := 0
			r.up.replies = append(r.up.replies, func(ctx context.Context, _ Request) (Token, error) {
				calls++
				_, err := r.Guard.Acquire(ctx, Request{Scope: "b"})
				require.ErrorIs(t, err, ErrRefused)
				return NewTokenIn("shadow", time.Hour), nil
			})
			assert.Equal(t, SourceShadow, r.must(Request{Scope: "b"}).Source)
			assert.Equal(t, 1, calls)
		}, WithShadowModeRefusingNothing())
	})
	t.Run("the personal source", func(t *testing.T) {
		var g *Guard
		bubble(t, func(t *testing.T, r *rig) {
			g = r.Guard
			began := time.Now()
			assert.Equal(t, "mine, by value-1", r.must(Request{}).Token.Value())
			assert.Zero(t, time.Since(began))
		}, WithPersonalToken(func(ctx context.Context) (Token, error) {
			token, err := g.Token(ctx)
			return NewToken("mine, by "+token.Value(), time.Time{}), err
		}))
	})
}
