package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/tokenguard/tokenguard"
)

// answer is what became of one call.
type answer struct {
	acquired int  // acquisitions that it started
	working  bool // it went out with a token that worked
	refused  tokenguard.Reason
}

// run is the afternoon as one policy lived it.
type run struct {
	name    string
	answers []answer // one for each call of the trace
	up      *upstream
}

func (r *run) working() (n int) {
	for _, a := range r.answers {
		if a.working {
			n++
		}
	}
	return n
}

// noGuard is how it was: each call fetches a token of its own.
func noGuard(calls []call, quota int) *run {
	r := &run{name: "no guard", up: newUpstream(&clock{}, quota)}
	for _, c := range calls {
		r.up.clock.now = c.At
		token, _ := r.up.fetch(context.Background(), tokenguard.Request{})
		_, ok := r.up.use(token)
		r.answers = append(r.answers, answer{acquired: 1, working: ok})
	}
	return r
}

// processCache keeps one token in the memory of each process until it expires, and fetches where it has none, as a
// reusing token source does. Told that its token failed, it fetches again.
func processCache(calls []call, quota int) *run {
	r := &run{name: "cache per process", up: newUpstream(&clock{}, quota)}
	type entry struct {
		token tokenguard.Token
		until int64
	}
	cache := map[string]entry{}
	for _, c := range calls {
		r.up.clock.now = c.At
		if c.Restart {
			delete(cache, c.Process)
		}
		var a answer
		for range 2 { // a failed call asks again, once
			e, ok := cache[c.Process]
			if !ok || c.At.Unix() >= e.until {
				e.token, _ = r.up.fetch(context.Background(), tokenguard.Request{})
				e.until = c.At.Add(lifetime).Unix()
				cache[c.Process] = e
				a.acquired++
			}
			if _, a.working = r.up.use(e.token); a.working {
				break
			}
			delete(cache, c.Process)
		}
		r.answers = append(r.answers, a)
	}
	return r
}

// guarded replays the trace through guards that share a state file, on the trace's clock. The two servers each hold a
// guard that is closed and opened again when they restart; a manual run opens one and closes it.
func guarded(name string, calls []call, quota int, dir string, opts ...tokenguard.Option) (*run, error) {
	opts = slices.Clip(opts)
	c := &clock{}
	r := &run{name: name, up: newUpstream(c, quota)}
	open := func() (*tokenguard.Guard, error) {
		return tokenguard.New(r.up.fetch, append(opts,
			tokenguard.WithStateFile(filepath.Join(dir, "incident.state")),
			tokenguard.WithClock(c))...)
	}
	servers := map[string]*tokenguard.Guard{}
	defer func() {
		for _, g := range servers {
			_ = g.Close()
		}
	}()
	for _, call := range calls {
		c.now = call.At
		g := servers[call.Process]
		if g != nil && call.Restart {
			if err := g.Close(); err != nil {
				return nil, err
			}
			g = nil
		}
		if g == nil {
			var err error
			if g, err = open(); err != nil {
				return nil, err
			}
		}
		before := len(r.up.issued)
		a, err := r.ask(g, call)
		if err != nil {
			return nil, err
		}
		a.acquired = len(r.up.issued) - before
		r.answers = append(r.answers, a)
		if call.manual() {
			if err := g.Close(); err != nil {
				return nil, err
			}
			continue
		}
		servers[call.Process] = g
	}
	return r, nil
}

// ask is one caller: it asks for a token, makes its call with it, reports how that ended and, if its token is used up,
// says so and asks once more.
func (r *run) ask(g *tokenguard.Guard, c call) (a answer, err error) {
	ctx := context.Background()
	req := tokenguard.Request{Caller: c.Caller}
	if c.Status != 0 {
		req.Failure = tokenguard.Failure{StatusCode: c.Status, Message: c.Body, At: c.At}
		req.Failing = tokenguard.TokenID("the account's own token")
	}
	for range 2 {
		grant, err := g.Acquire(ctx, req)
		var refused *tokenguard.RefusedError
		if errors.As(err, &refused) {
			a.refused = refused.Verdict.Reason
			return a, nil
		}
		if err != nil {
			return a, err
		}
		failure, ok := r.up.use(grant.Token)
		if ok {
			a.working = true
			return a, g.Report(ctx, tokenguard.Outcome{TokenID: grant.Token.ID()})
		}
		req.Failure, req.Failing = failure, grant.Token.ID()
	}
	a.refused = "used_up"
	return a, nil
}
