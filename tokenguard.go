package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tokenguard/tokenguard/internal/template"
	"golang.org/x/sync/singleflight"
)

// Guard stands in front of a RequestFunc. It acquires almost never and still hands every caller a usable token whenever
// one exists. Most callers want Token; Acquire also says where the token came from and takes a failure report; Wait
// sleeps until a token can be had.
//
// A call walks through seven steps: the dedup filter (dedup.go), the token cache (cache.go), the in-progress gate
// (gate.go), the decision manager (manager.go), the limiter (ratelimit.go), the quota predictor (predictor.go) and the
// request (flight.go). decide.go is the walk; it is a pure function, and the methods here are the doors around it.
//
// A Guard is safe for concurrent use. It needs Close only to hand over what it has not stored yet and to release a
// state file; it runs nothing while nobody calls.
type Guard struct {
	opt      *options
	owner    string // names this process in the document
	request  RequestFunc
	personal *personal
	meter    *meter.Meter
	keeper   *secrets.Keeper
	replica  *replica.Replica
	own      Store // New opened it; nil: the caller did

	shadow    *shadow                        // nil: refusals are refusals
	candidate *candidate                     // nil: there is none
	supposed  func(scope string) supposition // of a candidate's own guard, which asks no upstream

	hot       hotPath
	storm     storm
	joining   singleflight.Group // acquisitions of this process, by scope
	templates *lru.Cache[templateKey, template.Template]
	masks     *lru.Cache[string, string]
	errs      *lru.Cache[string, error]      // what RequestFunc returned, by attempt
	reports   *lru.Cache[reportID, struct{}] // failures that were counted, to count each once
	said      *lru.Cache[string, struct{}]   // warnings
	starts    atomic.Uint64
	diary     diary
	tally     tally

	mu      sync.Mutex // guards what follows
	closed  bool
	ended   chan struct{}  // closed by Close
	flights sync.WaitGroup // own acquisitions in progress; Add under mu

	waiting atomic.Int64 // callers in await or on a flight
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
	if err != nil || o.candidate == nil {
		return g, err
	}
	if g.candidate, err = newCandidate(g); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Token returns a usable token: Acquire of the zero Request, token only.
func (g *Guard) Token(ctx context.Context) (Token, error) {
	if g.candidate == nil {
		if e := g.hot.lookup(""); e != nil {
			return e.grant.Token, nil
		}
	}
	grant, err := g.Acquire(ctx, Request{})
	return grant.Token, err
}

// Acquire returns a usable token for req, or says why there is none: a *RefusedError if the guard did not ask the
// upstream, a *RequestError if it did and that failed, ctx's error if the caller left first, or one that is ErrRequest
// if req cannot be meant. An acquisition that is in progress is waited for, here or in another process that shares the
// store; Acquire does not wait for a limit to open, see Wait.
func (g *Guard) Acquire(ctx context.Context, req Request) (Grant, error) {
	if req.Failure.none() && req.Kind.plain() {
		if e := g.hot.lookup(req.Scope); e != nil {
			if g.candidate != nil && e.grant.Source != SourcePersonal {
				g.candidate.judge(ctx, req, true)
			}
			return e.grant, nil
		}
	}
	if g.shadow == nil && g.candidate == nil {
		return g.enforce(ctx, req)
	}
	return g.tried(ctx, req)
}

// enforce answers a call that the hot path does not.
func (g *Guard) enforce(ctx context.Context, req Request) (Grant, error) {
	if a := g.repeat(&req); a != nil {
		if a.err != nil {
			return Grant{}, a.err
		}
		return a.grant, nil
	}
	q, err := g.prepare(req, g.meter.Read())
	if err != nil {
		return Grant{}, err
	}
	return g.acquire(ctx, q, req)
}

// acquire walks the request through the steps until one answers.
func (g *Guard) acquire(ctx context.Context, q *decide.Request, req Request) (Grant, error) {
	joined, placed, waited := false, false, false
	for reported := false; ; {
		if g.isClosed() {
			return g.refuseClosed(q)
		}
		st, r, serr := g.replica.Look(ctx)
		if serr == nil && st.Dirty && g.diary.mayRetry() {
			_ = g.replica.Save(ctx) // a store that fails meets the next look, too
			continue
		}
		v, err := g.viewFor(ctx, q, st, r)
		if err != nil {
			return g.left(q, err)
		}
		// 0. What the request reports comes first.
		if !reported {
			reported = true
			if g.news(q, v.Doc, r) {
				if err := g.submit(ctx, q); err == nil {
					continue
				} else if serr == nil {
					serr = err
				}
				v, st = g.viewOf(q, r.Now)
			} else if q.Class != "" && st != nil {
				v = g.viewOn(q, st, r.Now) // the report itself waits now, too
			}
		}
		rl := v.Decide(r.Now)
		if serr != nil && rl.Answer != decide.AnswerServe && !g.replica.MayStart(st) {
			if err := ctx.Err(); err != nil {
				return g.left(q, err)
			}
			t := v.Pick(r.Now) // nothing may be started: what is about to be replaced still serves
			if t == nil && !waited && g.replica.IsBack(ctx) {
				waited = true
				continue
			}
			if t == nil {
				return g.refuseStore(q, r, serr)
			}
			rl = v.ServedBy(t)
		}
		if rl.LiftsSuspicion && serr == nil {
			if err := g.liftSuspicion(ctx, q); err != nil {
				return g.refuseStore(q, r, err)
			}
			if v, st = g.viewOf(q, r.Now); rl.Answer == decide.AnswerServe {
				continue // from the cache now
			}
		}
		switch rl.Answer {
		case decide.AnswerServe:
			grant, event := g.serve(v, rl, r, st, joined)
			if serr == nil && !joined && grant.Source == SourceCache {
				g.settled(&req, v, rl, r, st, event, grant, nil)
			}
			return grant, nil
		case decide.AnswerWait:
			joined, placed = joined || !rl.Place, placed || rl.Place
			if rl.Owner == g.owner && !rl.Place {
				break // one of this process: join its flight
			}
			if err := g.await(ctx); err != nil {
				return g.left(q, err)
			}
			continue
		case decide.AnswerRefuse:
			if placed && rl.Reason == decide.ReasonMinInterval && rl.Window < decide.Overlapping {
				// The place became free this very moment.
				if err := g.await(ctx); err != nil {
					return g.left(q, err)
				}
				continue
			}
			err, event := g.refuse(v, rl, r)
			if serr == nil {
				g.settled(&req, v, rl, r, st, event, Grant{}, err)
			}
			return Grant{}, err
		}

		// 7. The request: one flight for all who need it now. Nobody who has left already starts one.
		if err := ctx.Err(); err != nil {
			return g.left(q, err)
		}
		if g.supposed != nil {
			if grant, err, done := g.suppose(ctx, q); done {
				return grant, err
			}
			continue
		}
		leader := false
		ch := g.joining.DoChan(q.Scope, func() (any, error) {
			leader = true
			return g.shielded(q, func() flown { return g.fly(context.WithoutCancel(ctx), q, req) }), nil
		})
		g.waiting.Add(1)
		select {
		case res := <-ch:
			g.waiting.Add(-1)
			flight := res.Val.(flown)
			if !flight.ran {
				if rl.Answer == decide.AnswerWait { // the lease is this process', but its flight is over: wait for its end
					if err := g.await(ctx); err != nil {
						return g.left(q, err)
					}
				}
				continue
			}
			if grant, err, done := g.arrived(ctx, q, flight, leader); done {
				return grant, err
			}
			joined = true
		case <-ctx.Done():
			g.waiting.Add(-1)
			return g.left(q, ctx.Err())
		case <-g.ended:
			g.waiting.Add(-1)
			return g.refuseClosed(q)
		}
	}
}

// Wait is as Acquire, but where waiting helps it sleeps until the refusal's RetryAt, or until another call or process
// brings a token, and asks again. It returns at once where waiting alone changes nothing, and what Acquire returned
// where an acquisition failed. When ctx ends first, the error is both ctx's and the last refusal.
func (g *Guard) Wait(ctx context.Context, req Request) (Grant, error) {
	if !req.Failure.IsZero() && req.Failure.At.IsZero() {
		req.Failure.At = g.meter.Read().Wall // asking again is no new failure
	}
	for {
		changed := g.replica.Changed()
		grant, err := g.Acquire(ctx, req)
		refused, ok := err.(*RefusedError) // not errors.As: RequestFunc's error may hold the refusal of another guard
		if !ok || refused.Verdict.RetryAt.IsZero() {
			return grant, err
		}
		if serr := g.sleepUntil(ctx, refused.Verdict.RetryAt, changed); serr != nil {
			return Grant{}, fmt.Errorf("tokenguard: %w while waiting: %w", serr, err)
		}
	}
}

// Explain returns what Acquire would answer now, with the verdict of every step. It changes nothing and calls nothing
// of the user's but the classifier, so a personal token that was never fetched counts as not usable. The error is the
// refusal of a guard that is closed or cannot reach its store; the Explanation then holds its verdict alone.
func (g *Guard) Explain(ctx context.Context, req Request) (Explanation, error) {
	req.Failing = g.shadow.stands(req.Failing)
	q, err := g.prepare(req, g.meter.Read())
	if err != nil {
		return Explanation{}, err
	}
	if g.isClosed() {
		err := &RefusedError{Verdict: closedVerdict(q)}
		return Explanation{At: g.meter.Read().Wall, Verdict: err.Verdict}, err
	}
	st, r, err := g.replica.Look(ctx)
	if st == nil {
		st = &replica.Revision{Doc: ledger.New()}
	}
	e := g.explain(q, st, r)
	if err == nil || g.replica.MayStart(st) || e.Verdict.Answer == AnswerServe {
		return e, nil
	}
	if served := e.Steps[1]; served.Answer == AnswerServe { // nothing may be started: what is cached still serves
		e.Verdict = served
		return e, nil
	}
	refused := &RefusedError{Verdict: g.storeVerdict(q, err), Cause: err}
	return Explanation{At: r.Wall, Verdict: refused.Verdict}, refused
}

// Adopt takes in a token that was fetched elsewhere, for the key of its Scope. It is charged as a start, but no limit
// refuses it: the upstream has been asked already. A token that is known is not charged again. The error is ErrRequest
// for a token that cannot be used (empty, expired, rejected, spent, Personal), ErrStore or ErrClosed.
func (g *Guard) Adopt(ctx context.Context, t Token) error {
	if t.Kind == Personal {
		return fmt.Errorf("%w: Token.Kind: personal tokens come from WithPersonalToken", ErrRequest)
	}
	q, err := g.prepare(Request{Scope: t.Scope}, g.meter.Read())
	if err != nil {
		return err
	}
	if g.isClosed() {
		return ErrClosed
	}
	if _, _, err := g.replica.Look(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	rec, t, err := g.take(t, q, 0, g.meter.Read())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	id := g.attemptID()
	r, err := g.replica.Commit(ctx, func(d *replica.Draft) bool {
		fresh := *rec
		return d.Doc.Adopt(g.opt.policy, &fresh, id, g.owner, d.At.Now)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	g.tell(Event{At: r.Wall, Kind: EventAdopted, Scope: t.Scope, TokenID: t.ID()})
	if g.candidate != nil {
		g.candidate.adopt(ctx, t)
	}
	return nil
}

// Clear lifts what an operator wants lifted. A charged attempt stays charged. The error is ErrStore or ErrClosed; what
// does not stand is no error.
func (g *Guard) Clear(ctx context.Context, what Clear) error {
	if g.isClosed() {
		return ErrClosed
	}
	if what.Suspicion != "" && what.Suspicion != "*" {
		what.Suspicion = normalID(what.Suspicion)
	}
	r, err := g.replica.Commit(ctx, func(d *replica.Draft) bool { return d.Doc.Clear(ledger.Clearing(what), d.At.Now) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	g.tell(Event{At: r.Wall, Kind: EventCleared, TokenID: what.Suspicion})
	if g.candidate != nil {
		g.candidate.clear(ctx, what)
	}
	return nil
}

// Close releases every waiter with ErrClosed at once. An acquisition of its own that runs may finish, because its cost
// is spent: Close waits for it, at most the request timeout and a little. Outcomes that wait are stored. It closes
// only a store that New opened.
func (g *Guard) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	close(g.ended)
	g.mu.Unlock()
	g.hot.clear()
	if g.candidate != nil {
		_ = g.candidate.Close()
	}
	over := make(chan struct{})
	go func() { g.flights.Wait(); close(over) }()
	patience := time.NewTimer(g.opt.longest())
	defer patience.Stop()
	select {
	case <-over:
	case <-patience.C: // a store or an observer does not return; that observer may be the one that called Close
	}
	g.replica.Close()
	ctx, cancel := context.WithTimeout(context.Background(), replica.StoreTimeout)
	defer cancel()
	err := g.replica.Flush(ctx)
	if g.own != nil {
		err = errors.Join(err, g.own.Close())
	}
	return err
}
