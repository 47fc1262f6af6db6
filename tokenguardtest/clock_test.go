package tokenguardtest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func TestClockStandsStill(t *testing.T) {
	c := NewClock(noon)
	require.Equal(t, noon, c.Now())
	c.Advance(time.Hour)
	require.Equal(t, noon.Add(time.Hour), c.Now())
	c.Set(noon.Add(-time.Hour))
	require.Equal(t, noon.Add(-time.Hour), c.Now())
	require.False(t, NewClock(time.Time{}).Now().IsZero())
}

func TestClockSleepEndsWhenTheClockGetsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(noon)
		woke := make(chan time.Duration, 2)
		for _, d := range []time.Duration{time.Minute, time.Hour} {
			go func() {
				if c.Sleep(t.Context(), d) == nil {
					woke <- d
				}
			}()
		}
		require.NoError(t, c.AwaitSleepers(t.Context(), 2))
		c.Advance(time.Minute - 1)
		synctest.Wait()
		require.Empty(t, woke)
		require.Equal(t, 2, c.Sleepers())
		c.Advance(1)
		require.Equal(t, time.Minute, <-woke)
		require.Equal(t, 1, c.Sleepers())
		c.Set(noon.Add(-time.Hour)) // back: nobody wakes
		synctest.Wait()
		require.Empty(t, woke)
		c.Set(noon.Add(2 * time.Hour))
		require.Equal(t, time.Hour, <-woke)
	})
}

func TestClockSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(noon)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Sleep(ctx, time.Hour) }()
		require.NoError(t, c.AwaitSleepers(t.Context(), 1))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Zero(t, c.Sleepers())
		require.ErrorIs(t, c.Sleep(ctx, time.Hour), context.Canceled)
		require.ErrorIs(t, c.AwaitSleepers(ctx, 1), context.Canceled)
		require.NoError(t, c.Sleep(t.Context(), 0))
		require.NoError(t, c.Sleep(t.Context(), -time.Second))
	})
}

func TestClockAutoAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(noon)
		ended := make(chan error)
		go func() { ended <- c.Sleep(t.Context(), time.Hour) }()
		require.NoError(t, c.AwaitSleepers(t.Context(), 1))
		c.AutoAdvance(true)
		require.NoError(t, <-ended)
		require.Equal(t, noon.Add(time.Hour), c.Now())
		require.NoError(t, c.Sleep(t.Context(), time.Minute))
		require.Equal(t, noon.Add(time.Hour+time.Minute), c.Now())
	})
}

func TestClockIsSafeForConcurrentUse(t *testing.T) {
	c := NewClock(noon)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { _ = c.Sleep(ctx, time.Second) })
		wg.Go(func() { c.Advance(time.Millisecond); _ = c.Now(); _ = c.Sleepers() })
	}
	cancel()
	wg.Wait()
	require.Equal(t, noon.Add(8*time.Millisecond), c.Now())
}
