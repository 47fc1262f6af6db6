package tokenguard

import (
	"context"
	"time"

	"github.com/tokenguard/tokenguard/internal/replica"
)

// await sleeps until something may have changed.
func (g *Guard) await(ctx context.Context) error {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	if err := g.replica.Await(ctx); err != replica.ErrClosed {
		return err
	}
	return ErrClosed
}

// sleeper is a Clock that can sleep, too.
type sleeper interface {
	Sleep(ctx context.Context, d time.Duration) error
}

// Bounds of one sleep of Wait: others may bring a token earlier, and a clock of the user's may run faster than time.
const (
	sleepMost   = 15 * time.Second
	sleepManual = 5 * time.Millisecond
)

// sleepUntil sleeps until at, until changed or Close, or for a bounded time.
func (g *Guard) sleepUntil(ctx context.Context, at time.Time, changed <-chan struct{}) error {
	if s, ok := g.opt.clock.(sleeper); ok {
		return g.sleepOn(ctx, s, at.Sub(g.opt.clock.Now()), changed)
	}
	for {
		d := at.Sub(g.meter.Read().Wall)
		if d <= 0 {
			return nil
		}
		most := d
		switch {
		case g.opt.clock != nil:
			most = sleepManual
		case g.replica.Shared():
			most = sleepMost
		}
		timer := time.NewTimer(min(d, most))
		select {
		case <-timer.C:
			if g.opt.clock == nil {
				return nil
			}
			_, _, _ = g.replica.Look(ctx) // what another process brought closes changed
		case <-changed:
			timer.Stop()
			return nil
		case <-g.ended:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// sleepOn sleeps with the clock's own Sleep, which a change or Close ends early.
func (g *Guard) sleepOn(ctx context.Context, s sleeper, d time.Duration, changed <-chan struct{}) error {
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
		case <-g.ended:
		case <-sctx.Done():
		}
		cancel()
	}()
	err := s.Sleep(sctx, d)
	if ctx.Err() == nil && sctx.Err() != nil {
		return nil
	}
	return err
}
