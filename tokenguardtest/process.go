package tokenguardtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard"
)

// process stands for one operating system process: a guard of its own on the shared store.
type process struct {
	guard *tokenguard.Guard
	// ctx ends when the process crashes: its callers are gone.
	ctx    context.Context
	cancel context.CancelFunc
	gone   atomic.Bool
}

// process returns the named process, starting it if it does not run.
func (r *run) process(name string) (*process, error) {
	if p := r.processes[name]; p != nil {
		return p, nil
	}
	p := &process{}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	opts := []tokenguard.Option{tokenguard.WithClock(r.clock), tokenguard.WithName(r.s.Given.Name)}
	if r.memory != nil {
		opts = append(opts, tokenguard.WithStore(&mortalStore{r.memory, r, p}))
	} else {
		opts = append(opts, tokenguard.WithStateFile(r.stateFile()))
	}
	given, err := r.given()
	if err != nil {
		return nil, err
	}
	opts = append(append(opts, given...), r.options...)
	if r.s.Renewals != nil {
		opts = append(opts, tokenguard.WithRenewalLimits(r.s.Given.RenewalLimits.limits()))
		if !slices.Contains(r.s.Given.WithoutRenewal, name) {
			opts = append(opts, tokenguard.WithRenewal(p.renew(r.renewals)))
		}
	}
	guard, err := tokenguard.New(p.request(r.upstream), opts...)
	if err != nil {
		p.cancel()
		return nil, err
	}
	p.guard = guard
	r.processes[name] = p
	return p, nil
}

// given returns the options that the scenario states.
func (r *run) given() (opts []tokenguard.Option, err error) {
	g := r.s.Given
	if g.Config != nil {
		var config tokenguard.Config
		if err := json.Unmarshal(g.Config, &config); err != nil {
			return nil, err
		}
		opts = append(opts, tokenguard.WithConfig(config))
	}
	if g.RequestTimeout > 0 {
		opts = append(opts, tokenguard.WithRequestTimeout(time.Duration(g.RequestTimeout)))
	}
	if g.RefreshAhead > 0 {
		opts = append(opts, tokenguard.WithRefreshAhead(time.Duration(g.RefreshAhead)))
	}
	if g.WithoutTokenPersistence {
		opts = append(opts, tokenguard.WithoutTokenPersistence())
	}
	if len(g.Personal) > 0 {
		opts = append(opts, tokenguard.WithPersonalToken(func(ctx context.Context) (tokenguard.Token, error) {
			return r.personal.Request(ctx, tokenguard.Request{Kind: tokenguard.Personal})
		}))
	}
	return opts, nil
}

// request calls the script, but a process that is gone never hears the answer.
func (p *process) request(s *Script) tokenguard.RequestFunc {
	return func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
		tok, err := s.Request(ctx, req)
		if p.gone.Load() {
			return tokenguard.Token{}, errGone
		}
		return tok, err
	}
}

// renew is request for the renewals.
func (p *process) renew(s *Script) tokenguard.RenewalFunc {
	return func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		tok, err := s.Renew(ctx, old)
		if p.gone.Load() {
			return tokenguard.Token{}, errGone
		}
		return tok, err
	}
}

var errGone = errors.New("this process has crashed")

// mortalStore is what a process sees of the store: nothing once it has crashed, and errors while the store fails.
type mortalStore struct {
	tokenguard.Store
	run *run
	of  *process
}

func (s *mortalStore) fails() error {
	switch {
	case s.of.gone.Load():
		return errGone
	case s.run.storeFails.Load():
		return errors.New("the scenario's store fails")
	}
	return nil
}

func (s *mortalStore) View(ctx context.Context, name string) (tokenguard.Snapshot, error) {
	if err := s.fails(); err != nil {
		return tokenguard.Snapshot{}, err
	}
	return s.Store.View(ctx, name)
}

func (s *mortalStore) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if err := s.fails(); err != nil {
		return tokenguard.Snapshot{}, err
	}
	return s.Store.Update(ctx, name, fn)
}

func (r *run) stateFile() string {
	return filepath.Join(r.dir, fmt.Sprintf("state-%d.json", r.crashes))
}

// crash abandons the process: what it does from now on, nobody sees.
func (r *run) crash(name string) error {
	p := r.processes[name]
	if p == nil {
		return fmt.Errorf("process %q does not run", name)
	}
	if r.memory == nil {
		// A goroutine cannot be killed. So the dead process keeps the file, and the next one opens a copy of
		// what was on disk at this instant.
		if len(r.processes) > 1 {
			return errors.New("crash on a file needs to be of the only process that runs")
		}
		data, err := os.ReadFile(r.stateFile())
		if err != nil {
			return err
		}
		r.crashes++
		if err := os.WriteFile(r.stateFile(), data, 0o600); err != nil {
			return err
		}
	}
	p.gone.Store(true)
	p.cancel()
	delete(r.processes, name)
	r.dead = append(r.dead, p)
	return nil
}
