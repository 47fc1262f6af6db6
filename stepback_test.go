package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// steppedClock is the bubble's clock, set by hand.
type steppedClock struct{ step atomic.Int64 }

func (c *steppedClock) Now() time.Time { return time.Now().Add(time.Duration(c.step.Load())) }

// steppedStore is a store that a process may be cut off from for good, with a clock of its own or none.
type steppedStore struct {
	Store
	clock *steppedClock
	dead  *atomic.Bool
}

func (s steppedStore) now(snap Snapshot, err error) (Snapshot, error) {
	if s.clock != nil {
		snap.Now = s.clock.Now()
	}
	return snap, err
}

func (s steppedStore) View(ctx context.Context, name string) (Snapshot, error) {
	return s.now(s.Store.View(ctx, name))
}

func (s steppedStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if s.dead.Load() {
		return Snapshot{}, errSimCrash
	}
	return s.now(s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
		snap, _ = s.now(snap, nil)
		return fn(snap)
	}))
}

// A process is killed while it acquires, and then the clock steps back. Who comes then waits for the end of that
// acquisition as long as it could last, and not until the clock has come to it again.
func TestAStepBackEndsAnAcquisitionWithinItsLength(t *testing.T) {
	for _, back := range []time.Duration{time.Minute, 3 * time.Hour, 30 * time.Hour, 400 * 24 * time.Hour} {
		for _, remote := range []bool{false, true} {
			for _, warm := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/store's clock %v/warm %v", back, remote, warm), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { stepsBack(t, back, remote, warm) })
				})
			}
		}
	}
}

func stepsBack(t *testing.T, back time.Duration, remote, warm bool) {
	clock, shared, dead := &steppedClock{}, NewMemoryStore(), new(atomic.Bool)
	open := func(fetch RequestFunc, dead *atomic.Bool, more ...Option) *Guard {
		store, opts := steppedStore{Store: shared, dead: dead}, []Option{WithRateLimits(RateLimits{MinInterval: time.Millisecond})}
		if remote {
			store.clock = clock
		} else {
			opts = append(opts, WithClock(clock))
		}
		g, err := New(fetch, append(append(opts, WithStore(store), WithName("stepped")), more...)...)
		require.NoError(t, err)
		return g
	}
	up := &upstream{}
	told := 0
	survivor := func() *Guard {
		return open(up.request, new(atomic.Bool), WithObserver(func(e Event) {
			if strings.Contains(e.Text, "clock stepped back") {
				told++
			}
		}))
	}
	killed := open(func(ctx context.Context, _ Request) (Token, error) { <-ctx.Done(); return Token{}, ctx.Err() }, dead)
	var other *Guard
	if warm {
		other = survivor()
		_, err := other.Explain(t.Context(), Request{})
		require.NoError(t, err)
	}
	gone, leave := context.WithCancel(t.Context())
	go func() { _, _ = killed.Token(gone) }()
	synctest.Wait()
	dead.Store(true)
	leave()

	time.Sleep(5 * time.Second)
	clock.step.Add(-int64(back))
	if other == nil {
		other = survivor()
	}
	begin := time.Now()
	_, err := other.Token(t.Context())
	refusedAt := time.Now() // wall time of a process whose store has the clock
	if !remote {
		refusedAt = clock.Now()
	}
	assert.LessOrEqual(t, time.Since(begin), testLease+2*time.Second, "it waits as long as the acquisition could last: %v", err)
	var refused *RefusedError
	if back <= 25*time.Hour { // what was closed stays closed
		require.True(t, errors.As(err, &refused), "%v", err)
		assert.Equal(t, ReasonMinInterval, refused.Verdict.Reason)
		assert.LessOrEqual(t, refused.Verdict.RetryAt.Sub(refusedAt), back+testLease)
		assert.Zero(t, up.count())
	} else {
		if errors.As(err, &refused) { // it was looking within the millisecond of the interval after that end, and at no other time
			require.Equal(t, ReasonMinInterval, refused.Verdict.Reason)
			wait := refused.Verdict.RetryAt.Sub(refusedAt)
			require.True(t, 0 < wait && wait <= time.Millisecond, "refused for %v", wait)
			require.Zero(t, up.count())
			time.Sleep(time.Millisecond)
			_, err = other.Token(t.Context())
		}
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(begin), testLease-time.Second, "nobody asks beside it: it may still be running")
		assert.Equal(t, 1, up.count())
	}
	assert.Equal(t, 1, told, "it is told once")
	require.NoError(t, other.Close())
	assert.ErrorIs(t, killed.Close(), errSimCrash)
}
