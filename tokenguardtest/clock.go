package tokenguardtest

import (
	"context"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Clock is a clock that stands still until a test moves it. It goes into tokenguard.WithClock, and Guard.Wait then
// sleeps on it.
//
// Sleep blocks until the clock has been moved far enough. A test that wants waiting to take no time at all turns
// AutoAdvance on; a test that moves the clock by hand first calls AwaitSleepers, so that it never moves it too early.
//
// A Clock is safe for concurrent use. Make one with NewClock.
type Clock struct {
	mu       sync.Mutex // guards everything below
	now      time.Time
	auto     bool
	sleepers map[*sleeper]struct{}
	changed  chan struct{} // closed and replaced when somebody falls asleep
}

type sleeper struct {
	until time.Time
	awake chan struct{}
}

// NewClock returns a clock that shows start. The zero time stands for 2026-01-01 00:00 UTC, since tokenguard reads the
// zero time as "not stated".
func NewClock(start time.Time) *Clock {
	if start.IsZero() {
		start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	return &Clock{now: start.Round(0), sleepers: map[*sleeper]struct{}{}, changed: make(chan struct{})}
}

// Now returns the instant that the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d and wakes those that have slept long enough. A negative d moves it back and wakes nobody.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLocked(c.now.Add(d))
}

// Set moves the clock to t, in either direction, as an operator or NTP would.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLocked(t.Round(0))
}

func (c *Clock) setLocked(t time.Time) {
	c.now = t
	for s := range c.sleepers {
		if !c.now.Before(s.until) {
			delete(c.sleepers, s)
			close(s.awake)
		}
	}
}

// AutoAdvance sets whether a Sleep moves the clock by itself instead of waiting for the test. Turning
// it on moves the clock to the latest instant that somebody sleeps for.
func (c *Clock) AutoAdvance(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auto = on
	if !on {
		return
	}
	for s := range c.sleepers {
		if s.until.After(c.now) {
			c.now = s.until
		}
	}
	c.setLocked(c.now)
}

// Sleep returns nil once the clock shows at least d more than now, and the context's error if that ends first.
// It returns at once if d is not positive.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	if d <= 0 {
		c.mu.Unlock()
		return nil
	}
	if c.auto {
		c.setLocked(c.now.Add(d))
		c.mu.Unlock()
		return nil
	}
	s := &sleeper{until: c.now.Add(d), awake: make(chan struct{})}
	c.sleepers[s] = struct{}{}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()

	select {
	case <-s.awake:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.sleepers, s)
		return ctx.Err()
	}
}

// Sleepers returns how many goroutines sleep on the clock.
func (c *Clock) Sleepers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sleepers)
}

// AwaitSleepers returns nil once at least n goroutines sleep on the clock, and the context's error if that ends first.
func (c *Clock) AwaitSleepers(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		asleep, changed := len(c.sleepers), c.changed
		c.mu.Unlock()
		if asleep >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// now and sleep go by c, or by real time where c is nil or cannot sleep.
func now(c tokenguard.Clock) time.Time {
	if c == nil {
		return time.Now()
	}
	return c.Now()
}

func sleep(ctx context.Context, c tokenguard.Clock, d time.Duration) error {
	if c, ok := c.(interface {
		Sleep(context.Context, time.Duration) error
	}); ok {
		return c.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
