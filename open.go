package tokenguard

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tokenguard/tokenguard/internal/template"
)

// newGuard makes a guard of options that are complete.
func newGuard(request RequestFunc, o *options) (g *Guard, err error) {
	g = &Guard{request: request, ended: make(chan struct{}), changed: make(chan struct{})}
	g.shelf = &shelf{opt: o, meter: newMeter(o.clock), owner: newOwner(), publish: g.learned, notice: g.noticed, stamp: g.hot.stamp, jitter: rand.N[time.Duration]}
	g.life, g.end = context.WithCancel(context.Background())
	if g.vault, err = newVault(o, g.find); err != nil {
		return nil, err
	}
	g.templates, _ = lru.New[templateKey, template.Template](memoSize)
	g.masks, _ = lru.New[string, string](memoSize)
	g.errs, _ = lru.New[string, error](errsSize)
	g.reports, _ = lru.New[reportID, struct{}](8 * memoSize)
	g.said, _ = lru.New[string, struct{}](memoSize)
	if o.personal != nil {
		g.personal = &personal{fetch: o.personal, masked: g.masked}
	}
	if o.shadow {
		g.shadow = newShadow()
	}
	g.diary.init(o, g.meter.base)
	g.storm.seed = maphash.MakeSeed()
	if err = g.openStore(); err != nil {
		return nil, err
	}
	return g, nil
}

// openStore gives the guard its store. Nothing is read before the first call, but for a store with a clock of its own,
// which must not stand beside a clock of the user's.
func (g *Guard) openStore() error {
	s, o := g.shelf, g.opt
	g.hot.base = s.meter.base
	switch {
	case o.store != nil:
		s.store, s.shared = o.store, true
		if o.clock == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		if snap, err := s.store.View(ctx, o.name); err == nil && !snap.Now.IsZero() {
			return errTwoClocks
		}
	case o.stateFile:
		file, err := openStateFile(o, g.find)
		if err != nil {
			return err
		}
		s.store, s.shared, s.own = file, true, true
	default:
		s.store, s.own = NewMemoryStore(), true
	}
	return nil
}

// learned takes a new revision in: the hot path is rebuilt, waiters look again.
func (g *Guard) learned() {
	g.rebuild()
	g.wake()
}

// noticed reports what was found in the state.
func (g *Guard) noticed(text string) {
	g.tell(Event{At: g.meter.read().Wall, Kind: EventState, Text: text})
}

// newest is the newest state that this process knows, or nil.
func (s *shelf) newest() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// known is the token of this ID that this process can read.
func (s *shelf) known(id string) (Token, bool) {
	st := s.newest()
	if st == nil {
		return Token{}, false
	}
	t, ok := st.tokens[id]
	return t, ok
}

// unreadable are the tokens whose values this process cannot open, as far as it has tried.
func (s *shelf) unreadable() map[string]bool {
	if st := s.newest(); st != nil {
		return st.unreadable
	}
	return nil
}

// save commits what was found on reading.
func (g *Guard) save(ctx context.Context) error {
	_, err := g.commit(ctx, func(*ledger.Document, timeline.Reading) bool { return false })
	return err
}
