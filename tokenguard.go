package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/tokenguard/tokenguard/internal/bootclock"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
)

// Guard stands in front of a RequestFunc. It acquires almost never and still hands every caller a usable token whenever
// one exists. Most callers want Token; Acquire also says where the token came from and takes a failure report; Wait
// sleeps until a token can be had.
//
// A call walks through seven steps: the dedup filter, the token cache, the in-progress gate, the decision manager, the
// limiter, the quota predictor and the request. Each step's rule is the file of its name in internal/decide, a pure
// function; the file of that name here holds what is set and read of it.
//
// A Guard is safe for concurrent use. It needs Close only to hand over what it has not stored yet and to release a
// state file; it runs nothing while nobody calls.
type Guard struct {
	opt       *options
	meter     *meter.Meter
	replica   *replica.Replica
	own       Store // New opened it; nil: the caller did
	reader    *reader
	events    *emitter
	inputs    *inputs
	flights   *flights
	waiters   *waiters
	personal  *personal // nil: there is none
	trial     *trial    // nil: neither shadow mode nor a candidate
	once      onces
	forecasts *forecasts
	cache     tokenCache
	answers   answerCache
	successes reportCache
	counters  counters
	reports   *lru.Cache[reportID, struct{}] // failures that were counted, to count each once
	retry     *rate.Limiter                  // paces attempts to store what waits

	closing atomic.Bool
	ended   chan struct{} // closed by Close
}

// New makes a Guard in front of request. It does not call request. Without WithStateFile or WithStore the state lives
// and dies with the process. The error joins every configuration mistake, each a *ConfigError.
func New(request RequestFunc, opts ...Option) (*Guard, error) {
	o, err := newOptions(opts)
	if request == nil {
		err = errors.Join(&ConfigError{Field: "RequestFunc", Value: "nil", Bound: "a function"}, err)
	}
	if err != nil {
		return nil, err
	}
	g, err := newGuard(request, o)
	if err != nil || !o.shadow && o.candidate == nil {
		return g, err
	}
	if g.trial, err = newTrial(g); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// newGuard makes a guard of options that are complete.
func newGuard(request RequestFunc, o *options) (g *Guard, err error) {
	g = &Guard{opt: o, ended: make(chan struct{}), meter: meter.New(o.clock), retry: rate.NewLimiter(rate.Every(time.Second), 1)}
	private := 0
	if o.noTokens {
		private = o.Cache.MaxTokens
	}
	// A notice may come before there is a log.
	notice := func(text string) { g.replica.AddNotice(text) }
	keeper, err := secrets.NewKeeper(o.name, o.keys, private, notice)
	if err != nil {
		return nil, err
	}
	store, shared, err := openStore(o, notice)
	if err != nil {
		return nil, err
	}
	if o.store == nil {
		g.own = store
	}
	owner := newOwner()
	g.reader = newReader(o.classifier, keeper, func(text string) { g.events.notice(g.meter.Read().Wall, text) })
	g.reader.period = o.Manager.QuotaPeriod.p
	g.events = newEmitter(o, g.meter.Base(), g.reader.masked, func(reason Reason) bool { return g.trial.bypasses(reason) })
	g.reports, _ = lru.New[reportID, struct{}](reportsKept)
	g.once.seen, _ = lru.New[string, struct{}](oncesKept)
	g.cache.base, g.cache.mono = g.meter.Base(), g.meter.Mono
	g.counters.usage.begin()
	g.cache.usage, g.answers.frequent.free = &g.counters.usage, &g.counters.usage.free
	g.counters.usage.displaced = g.cache.displaced
	g.cache.lends, g.cache.bubble = canLend && !o.clockOnHit, bootclock.InBubble()
	g.answers.seed, g.answers.keys = maphash.MakeSeed(), newBlockKeys()
	g.successes.seed, g.successes.reader, g.successes.policy = maphash.MakeSeed(), g.reader, o.policy
	g.successes.cache, g.successes.answers = &g.cache, &g.counters.answers
	g.replica = replica.New(replica.Config{
		Policy: o.policy, Processes: o.processes, Freshness: o.freshness, EachCall: o.clock != nil || o.freshness == 0,
		OwnClock: o.clock != nil, TwoClocks: errTwoClocks, Meter: g.meter, Keeper: keeper, Ended: g.ended, Panicked: panicError,
		Dropped: g.events.dropped(g.meter),
		Publish: g.publish, Woke: func() { g.waiters.changed() }, Stamp: g.cache.stamp, Notice: func(text string) { g.events.notice(g.meter.Read().Wall, text) },
	}, storeOf(store, o.name, shared))
	g.successes.replica = g.replica
	g.cache.replica, g.cache.rebuild = g.replica, g.publish
	if o.personal != nil {
		g.personal = &personal{fetch: o.personal, policy: o.policy, keeper: keeper, masked: g.reader.masked, timeout: o.timeout, read: g.meter.Read, ended: g.ended}
	}
	keeper.AddSource(g.replica.Secrets)
	keeper.AddSource(g.personal.secrets)
	g.inputs = &inputs{policy: o.policy, replica: g.replica, personal: g.personal}
	g.cache.entry = g.inputs.entry
	g.forecasts = &forecasts{inputs: g.inputs, events: g.events, once: &g.once}
	g.flights = newFlights(request, o, owner, g.meter, keeper, g.replica, g.reader, g.events, g.inputs)
	g.waiters = &waiters{inputs: g.inputs, cache: &g.cache, replica: g.replica, personal: g.personal, flights: g.flights,
		all: o.clock != nil, asleep: map[*waiter]struct{}{}}
	g.flights.starting, g.flights.renewing, g.flights.usage = g.forecasts.warnBudget, g.forecasts.warnRenewals, &g.counters.usage
	return g, nil
}

// Token returns a usable token: Acquire of the zero Request, token only.
func (g *Guard) Token(ctx context.Context) (Token, error) {
	if t := g.cache.table.Load(); t != nil && t.plain != nil && g.trial == nil {
		e := t.plain
		hits := e.hits.Load()
		if m, n := e.term.Load(), hits.Add(); m != nil && !m.over.Load() && n%lendCheck != 0 { // lent
			return e.grant.Token, nil
		}
		grant, err := timed(ctx, g, &Request{}, t, e, hits)
		return grant.Token, err
	}
	grant, err := ask(ctx, g, &Request{}, nil)
	return grant.Token, err
}

// Acquire returns a usable token for req, or says why there is none: a *RefusedError if the guard did not ask the
// upstream, a *RequestError if it did and that failed, ctx's error if the caller left first, ErrReentrant if
// RequestFunc or RenewalFunc asks its own guard, or one that is ErrRequest for an invalid req. An acquisition that is
// in progress is waited for, here or in another process that shares the store; Acquire does not wait for a limit to
// open, see Wait.
func (g *Guard) Acquire(ctx context.Context, req Request) (Grant, error) {
	t := g.cache.table.Load()
	if t == nil || g.trial != nil || !req.bare() || len(req.Scope) > longestName {
		return ask(ctx, g, &req, nil)
	}
	e := t.plain // up to a hit nothing is called, for what is kept over a call costs as much as the rest
	if req.Scope != "" {
		n := nameOf(req.Scope)
		if e = t.scopes.at(n.hash(len(req.Scope))); e == nil || e.name != n || len(e.scope) != len(req.Scope) {
			return ask(ctx, g, &req, nil)
		}
	}
	if e == nil || e.barred && req.Caller != "" {
		return g.enforce(ctx, &req, nil)
	}
	hits := e.hits.Load()
	if m, n := e.term.Load(), hits.Add(); m != nil && !m.over.Load() && n%lendCheck != 0 { // lent
		return e.grant, nil
	}
	return timed(ctx, g, &req, t, e, hits)
}

// enforce answers a call that the token cache does not. again is of a caller that asks more than once; nil: it does not.
func (g *Guard) enforce(ctx context.Context, req *Request, again *asking) (Grant, error) {
	if a := g.again(req); a != nil {
		switch {
		case a.moves:
			return Grant{}, a.refusal(int64(g.meter.Mono()))
		case a.err != nil:
			return Grant{}, a.err
		}
		return a.grant, nil
	}
	rev, at, away := g.replica.Look(ctx) // it sets the clock by which the request is read
	since := g.waiters.mark()
	g.counters.minutes.Note(at.Wall, g.counters.sums)
	if away == nil && req.Failure.none() && req.Kind.plain() {
		if e := g.cache.look(rev, at.Now, req.Scope, req.Caller); e != nil {
			return e.grant, nil
		}
	}
	own := *req // apart, so that the answers above allocate nothing
	c := &acquireCall{req: &own, rev: rev, at: at, away: away, looked: true, since: since}
	var err error
	if again == nil {
		if c.q, err = g.reader.request(&own, c.at); err != nil {
			return Grant{}, err
		}
		return g.acquire(ctx, c)
	}
	if c.q, err = g.reader.again(&own, c.at, &again.q); err != nil {
		return Grant{}, err
	}
	grant, err := g.acquire(ctx, c)
	if g.replica.Newest() == c.rev { // else it would sleep over what came between the look and the mark
		again.since = c.since
	}
	return grant, err
}

// Wait is like Acquire, but sleeps if waiting can help: until the refusal's RetryAt, or until another call or process
// acquires a token, and asks again. It returns at once where waiting alone changes nothing, and what Acquire returned
// where an acquisition failed. When ctx ends first, the error is both ctx's and the last refusal.
func (g *Guard) Wait(ctx context.Context, req Request) (Grant, error) {
	if !req.Failure.IsZero() && req.Failure.At.IsZero() {
		_, at, _ := g.replica.Look(ctx)
		req.Failure.At = at.Wall // asking again is no new failure
	}
	var a asking
	for {
		grant, err := ask(ctx, g, &req, &a)
		refused, ok := err.(*RefusedError) // not errors.As: RequestFunc's error may hold the refusal of another guard
		if !ok || refused.Verdict.RetryAt.IsZero() {
			return grant, err
		}
		if runs(ctx, g.flights) {
			return Grant{}, fmt.Errorf("%w: %w", ErrReentrant, err)
		}
		if a.q == nil { // a remembered answer
			_, _ = g.reader.again(&req, g.meter.Read(), &a.q) // an invalid one was not refused
		}
		s := g.waiters.enter(a.q, refused.Verdict.RetryAt, a.since)
		if s == nil {
			if ctx.Err() != nil {
				return Grant{}, fmt.Errorf("tokenguard: %w while waiting: %w", ctx.Err(), err)
			}
			continue
		}
		if serr := func() error {
			defer g.waiters.leave(s) // a user-supplied clock may panic
			return sleepUntil(ctx, g.opt.clock, g.replica, refused.Verdict.RetryAt, s.woken, g.ended)
		}(); serr != nil {
			if latest := g.waiters.refusal(a.q); latest != nil { // it may have slept over changes that did not help
				err = latest
			}
			return Grant{}, fmt.Errorf("tokenguard: %w while waiting: %w", serr, err)
		}
	}
}

// Adopt stores a token that was fetched elsewhere, for the key of its Scope. It is charged as a start, but no limit
// refuses it: the upstream has been asked already. A token that is known is not charged again: it
// serves the other Scope as well, up to 16 of them, and until the later of both ends that were stated. A refresh token and
// further secrets that come with it are taken as well, the last ones of each name; what it leaves out stays. An older value
// of an account that has been renewed since changes nothing: the newer one serves. The error is ErrRequest for a token that
// cannot be used (empty, expired, rejected, spent, Personal), ErrStore or ErrClosed.
//
// A token WithPredecessor is a new value of an account that is known: it is no start, and takes over all that was reported
// of the account. This process hands it out at once. They are stored once a second for each account, the last one wins; where
// the store fails, the error is ErrStore, and the value is stored later.
func (g *Guard) Adopt(ctx context.Context, t Token) error {
	if t.Kind() == Personal {
		return fmt.Errorf("%w: Token.Kind: personal tokens come from WithPersonalToken", ErrRequest)
	}
	if g.isClosed() {
		return ErrClosed
	}
	_, at, away := g.replica.Look(ctx)
	q, err := g.reader.request(&Request{Scope: t.Scope()}, at)
	if err != nil {
		return err
	}
	t, at, err = g.flights.adopt(ctx, t, q, at, away)
	if !t.isZero() {
		g.events.emit(Event{At: at.Wall, Kind: EventAdopted, Scope: t.Scope(), TokenID: t.ID()})
		g.trial.adopt(ctx, t)
	}
	return err
}

// Clear lifts what an operator wants lifted. A charged attempt stays charged. The error is ErrStore or ErrClosed; what
// is not set is no error.
func (g *Guard) Clear(ctx context.Context, what Clear) error {
	if g.isClosed() {
		return ErrClosed
	}
	if what.Suspicion != "" && what.Suspicion != "*" {
		what.Suspicion = normalID(what.Suspicion)
	}
	if what.Identity != "" && !isIdentityID(what.Identity) {
		what.Identity = normalID(what.Identity)
	}
	at, err := g.replica.Commit(ctx, func(d *replica.Draft) bool { return d.Doc.Clear(ledger.Clearing(what), d.At.Now) })
	if err != nil {
		return g.reader.storeError(err)
	}
	g.events.emit(Event{At: at.Wall, Kind: EventCleared, TokenID: what.Suspicion})
	g.trial.clear(ctx, what)
	return nil
}

// Close releases every waiter with ErrClosed at once. An acquisition of its own that is in progress may finish, because
// its cost is spent: Close waits for it, at most the request timeout and a little. Outcomes that wait are stored; the error
// is ErrStore where they cannot be. It closes only a store that New opened. What a function that goes on beyond the end of
// its context returns after Close still goes to a store of WithStore, unless that is closed by then: a refresh token, a
// Retry-After or a ban is told once.
func (g *Guard) Close() error {
	if !g.closing.CompareAndSwap(false, true) {
		return nil
	}
	close(g.ended)
	g.cache.clear()
	g.trial.close()
	g.flights.close()
	g.replica.Close()
	ctx, cancel := context.WithTimeout(context.Background(), replica.StoreTimeout)
	defer cancel()
	err := g.replica.Flush(ctx)
	if err != nil {
		err = g.reader.storeError(err)
	}
	if g.own != nil {
		err = errors.Join(err, g.own.Close())
	}
	return err
}

// publish makes the token table of the newest revision, whichever of those that were published comes last.
func (g *Guard) publish() {
	c := &g.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	rev, mono := g.replica.Newest(), g.meter.Mono()
	if rev == nil || g.isClosed() {
		return
	}
	now := g.meter.Read().Now
	t := c.newTableLocked(rev, mono, now, func(rec *ledger.Token) bool { return !rev.Doc.AcquiredBy(rec, g.flights.owner) })
	t.term.Store(c.beginLocked(g.cache.trusted()))
	if e := g.inputs.entry(t, "", now); e != nil {
		c.add(t, e)
	}
	c.addPersonal(t, g.inputs, now)
	c.table.Store(t)
}
