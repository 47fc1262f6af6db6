package tokenguard

import (
	"context"
	"time"
)

// How callers wait: for an acquisition of another process, and for a limit to open.

// await sleeps until something may have changed.
func (g *Guard) await(ctx context.Context) error {
	g.waiting.Add(1)
	g.mu.Lock()
	changed := g.changed
	g.awaiting++
	if !g.polling {
		g.polling = true
		go g.poll()
	}
	g.mu.Unlock()
	defer func() {
		g.waiting.Add(-1)
		g.mu.Lock()
		g.awaiting--
		g.mu.Unlock()
	}()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ended:
		return ErrClosed
	}
}

// Bounds of the pause between two looks at the store while callers wait for another process.
const (
	pollLeast = 10 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// poll looks at the store for all who wait, and has them look at the clock again. It ends at the first look for which
// nobody waits: not sooner, because those whom it wakes are mostly back before the next one, and a new poll would begin
// with the least pause and subscribe anew.
func (g *Guard) poll() {
	ctx, stop := context.WithCancel(g.life)
	defer stop()
	var hints <-chan struct{}
	if w, ok := g.store.(Watcher); ok {
		hints = w.Watch(ctx, g.opt.name)
	}
	for pause := pollLeast; ; pause = min(2*pause, pollMost) {
		timer := time.NewTimer(pause/2 + g.jitter(pause))
		select {
		case <-timer.C:
		case _, ok := <-hints:
			if !ok {
				hints = nil
			}
		case <-g.ended:
			timer.Stop()
			return
		}
		timer.Stop()
		g.mu.Lock()
		g.polling = g.awaiting > 0
		polling := g.polling
		g.mu.Unlock()
		if !polling {
			return
		}
		look, ended := context.WithTimeout(ctx, lookTimeout)
		_, _, _ = g.reload(look, g.newest()) // whoever waits meets the error itself
		ended()
		g.wake()
	}
}

// wake lets every waiter look again.
func (g *Guard) wake() {
	g.mu.Lock()
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
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

// nextChange is closed when the next revision is known.
func (g *Guard) nextChange() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// sleepUntil sleeps until at, until changed or Close, or for a bounded time.
func (g *Guard) sleepUntil(ctx context.Context, at time.Time, changed <-chan struct{}) error {
	if s, ok := g.opt.clock.(sleeper); ok {
		return g.sleepOn(ctx, s, at.Sub(g.opt.clock.Now()), changed)
	}
	for {
		d := at.Sub(g.meter.read().Wall)
		if d <= 0 {
			return nil
		}
		most := d
		switch {
		case g.opt.clock != nil:
			most = sleepManual
		case g.shared:
			most = sleepMost
		}
		timer := time.NewTimer(min(d, most))
		select {
		case <-timer.C:
			if g.opt.clock == nil {
				return nil
			}
			_, _, _ = g.look(ctx) // what another process brought closes changed
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
