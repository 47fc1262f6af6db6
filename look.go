package tokenguard

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// How calls look at a store that others write to: together, and no longer than a token that is known can wait for.
//
// A store that hangs must not take the callers with it whom a token in memory serves. So a look runs apart from the
// calls that need it. They wait for it for lookTimeout; after one that was slow and failed, the calls that come let one
// look at a time find out whether the store is back, and only those that have no token wait for it, a moment.

const (
	lookTimeout = 2 * time.Second        // how long calls wait for a look
	slowLook    = 250 * time.Millisecond // what a failing look may take for the next call to try another at once
)

// glance is one look.
type glance struct {
	done chan struct{} // closed at its end; what follows is set before
	st   *state
	err  error
}

// lookTogether is reload for all who call it while a look is under way.
func (s *shelf) lookTogether(ctx context.Context, st *state) (*state, timeline.Reading, error) {
	defer s.announce()
	s.mu.Lock()
	l, slow := s.looking, s.slow
	if l == nil && slow != nil && s.mono()-s.slowAt < s.opt.freshness {
		s.mu.Unlock()
		return st, s.meter.read(), slow
	}
	if l == nil {
		l = &glance{done: make(chan struct{})}
		s.looking = l
		go s.glance(context.WithoutCancel(ctx), l, st)
	}
	s.mu.Unlock()
	if slow != nil {
		return st, s.meter.read(), slow
	}
	patience := time.NewTimer(lookTimeout)
	defer patience.Stop()
	select {
	case <-l.done:
		return l.st, s.meter.read(), l.err
	case <-ctx.Done():
		return st, s.meter.read(), ctx.Err()
	case <-patience.C:
		s.missed(context.Background(), errLost)
		s.mu.Lock()
		if s.looking == l { // else it has just ended
			s.slow, s.slowAt = errLost, s.mono()
		}
		s.mu.Unlock()
		return st, s.meter.read(), errLost
	}
}

// glance looks, and notes how that went.
func (s *shelf) glance(ctx context.Context, l *glance, st *state) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	began := s.mono()
	l.st, l.err = st, errGoexit
	defer func() {
		if p := recover(); p != nil {
			l.err = &PanicError{Func: "Store", Value: p, Stack: debug.Stack()}
		}
		now := s.mono()
		s.mu.Lock()
		s.looking = nil
		if s.slow = nil; l.err != nil && now-began > slowLook {
			s.slow, s.slowAt = l.err, now
		}
		s.mu.Unlock()
		close(l.done)
	}()
	l.st, _, l.err = s.ask(ctx, st)
}

// endLook ends a look that is under way when the guard closes.
func (s *shelf) endLook() {
	s.end()
	s.mu.Lock()
	l := s.looking
	s.mu.Unlock()
	if l == nil {
		return
	}
	patience := time.NewTimer(lookTimeout)
	defer patience.Stop()
	select {
	case <-l.done:
	case <-patience.C: // the store does not heed its context
	}
}

// isBack waits a moment for the look that is under way after one that was slow and failed, and reports whether it found
// the store back: worth it for a call that has no token to be served.
func (s *shelf) isBack(ctx context.Context) bool {
	s.mu.Lock()
	l := s.looking
	s.mu.Unlock()
	if l == nil {
		return false
	}
	patience := time.NewTimer(slowLook)
	defer patience.Stop()
	select {
	case <-l.done:
		return l.err == nil
	case <-ctx.Done():
	case <-patience.C:
	}
	return false
}

// hangs returns the error of a last look that was slow and failed.
func (s *shelf) hangs() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slow
}
