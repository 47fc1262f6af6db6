package tokenguard

import (
	"context"
	"runtime/debug"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Commits that come while another is under way go together into the next one, in their order: in a storm of reports
// that each move an instant, a store that takes milliseconds to be durable is written to as often as it can take, and
// each report is durable before it returns all the same.

// group is the next commit while one is under way.
type group struct {
	ctx     context.Context // of the first, without its end
	changes []change
	done    chan struct{} // closed once it is over; what follows is set before
	r       timeline.Reading
	err     error
}

// commit applies c to the newest document, durably. Nothing is written if c and everything that waits change nothing;
// a c that reports no change must have made none. After an error c may still be applied.
func (s *shelf) commit(caller context.Context, c change) (timeline.Reading, error) {
	s.mu.Lock()
	if !s.committing {
		s.committing = true
		s.mu.Unlock()
		defer s.announce() // by then others may commit: it calls foreign code
		defer s.commitNext()
		return s.commitNow(caller, c)
	}
	if s.group == nil {
		s.group = &group{ctx: context.WithoutCancel(caller), done: make(chan struct{})}
	}
	g := s.group
	g.changes = append(g.changes, c)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(caller, storeTimeout, errLost)
	defer cancel()
	select {
	case <-g.done:
		s.announce() // here, where a panic in foreign code meets a caller
		return g.r, g.err
	case <-ctx.Done():
		err := context.Cause(ctx)
		s.missed(caller, err) // whoever goes on without the store keeps to its share
		return s.meter.read(), err
	}
}

// commitNext begins the commit of those who came meanwhile.
func (s *shelf) commitNext() {
	s.mu.Lock()
	g := s.group
	s.group, s.committing = nil, g != nil
	s.mu.Unlock()
	if g != nil {
		go s.commitGroup(g)
	}
}

func (s *shelf) commitGroup(g *group) {
	defer s.commitNext()
	g.err = errGoexit
	defer func() {
		if p := recover(); p != nil {
			g.err = &PanicError{Func: "Store", Value: p, Stack: debug.Stack()}
		}
		close(g.done)
	}()
	g.r, g.err = s.commitNow(g.ctx, func(d *ledger.Document, r timeline.Reading) (changed bool) {
		for _, c := range g.changes {
			changed = c(d, r) || changed
		}
		return changed
	})
}
