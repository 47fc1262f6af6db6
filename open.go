package tokenguard

import (
	"context"
	"hash/maphash"
	"unsafe"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/template"
)

// newGuard makes a guard of options that are complete.
func newGuard(request RequestFunc, o *options) (g *Guard, err error) {
	g = &Guard{opt: o, request: request, owner: newOwner(), ended: make(chan struct{}), meter: meter.New(o.clock)}
	private := 0
	if o.noTokens {
		private = o.Cache.MaxTokens
	}
	if g.keeper, err = secrets.NewKeeper(o.name, o.keys, private, g.addNotice); err != nil {
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
	g.diary.init(o, g.meter.Base())
	g.storm.seed = maphash.MakeSeed()
	store, shared, err := g.openStore()
	if err != nil {
		return nil, err
	}
	g.hot.base = g.meter.Base()
	g.replica = replica.New(replica.Config{
		Policy: o.policy, Processes: o.processes, Freshness: o.freshness, EachCall: o.clock != nil || o.freshness == 0,
		OwnClock: o.clock != nil, TwoClocks: errTwoClocks, Meter: g.meter, Keeper: g.keeper, Ended: g.ended,
		Publish: g.rebuild, Stamp: g.hot.stamp, Notice: g.noticed, Panicked: panicError,
	}, storeOf(store, o.name, shared))
	return g, nil
}

// openStore returns the guard's store and whether others may write to it. Nothing is read before the first call, but for
// a store with a clock of its own, which must not stand beside one of the user's.
func (g *Guard) openStore() (store Store, shared bool, err error) {
	o := g.opt
	switch {
	case o.store != nil:
		if o.clock == nil {
			return o.store, true, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), replica.StoreTimeout)
		defer cancel()
		if snap, err := o.store.View(ctx, o.name); err == nil && !snap.Now.IsZero() {
			return nil, false, errTwoClocks
		}
		return o.store, true, nil
	case o.stateFile:
		g.own, err = openStateFile(o, g.addNotice)
		return g.own, true, err
	}
	g.own = NewMemoryStore()
	return g.own, false, nil
}

var errTwoClocks = &ConfigError{Field: "WithClock", Value: "a clock", Bound: "none beside a store that has its own"}

// addNotice keeps a text for the log, until the store has returned. It may come before the replica is made.
func (g *Guard) addNotice(text string) {
	if g.replica != nil {
		g.replica.AddNotice(text)
	}
}

// noticed reports what was found in the state.
func (g *Guard) noticed(text string) {
	g.tell(Event{At: g.meter.Read().Wall, Kind: EventState, Text: text})
}

// tokenIn is a token of a revision that this process can read.
func tokenIn(rev *replica.Revision, id string) (Token, bool) {
	s, rec := rev.Secrets[id], rev.Doc.Tokens[id]
	if s == nil || rec == nil {
		return Token{}, false
	}
	return Token{Kind: Kind(rec.Kind), Scope: rec.Scope, AcquiredAt: rev.At.Time(rec.Acquired), Expiry: rev.At.Time(rec.Expiry), secret: unsafe.Pointer(s)}, true
}

// known is the token of this ID that this process can read.
func (g *Guard) known(id string) (Token, bool) {
	if rev := g.replica.Newest(); rev != nil {
		return tokenIn(rev, id)
	}
	return Token{}, false
}
