package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

const (
	history = 22 * time.Hour
	step    = 20 * time.Second
)

// outages of the upstream, from the begin of the simulation.
var outages = [...][2]time.Duration{
	{11 * time.Hour, 13 * time.Hour}, {20*time.Hour + 30*time.Minute, 22*time.Hour + 20*time.Minute}, {26 * time.Hour, 28 * time.Hour},
}

var callers = [...]string{"checkout", "search", "reports", "thumbnails"}

// world is the callers and what they call.
type world struct {
	guard    *tokenguard.Guard
	clock    *tokenguardtest.Clock
	upstream *tokenguardtest.Upstream
	url      string
	random   *rand.Rand
	passed   time.Duration
}

func newWorld(guard *tokenguard.Guard, clock *tokenguardtest.Clock, upstream *tokenguardtest.Upstream, url string) *world {
	return &world{guard: guard, clock: clock, upstream: upstream, url: url, random: rand.New(rand.NewPCG(1, 2))}
}

// play lets d pass on the clock.
func (w *world) play(ctx context.Context, d time.Duration) error {
	for end := w.passed + d; w.passed < end; w.passed += step {
		w.clock.Advance(step)
		down := false
		for _, o := range outages {
			down = down || w.passed >= o[0] && w.passed < o[1]
		}
		w.upstream.SetOutage(down)
		if w.random.IntN(2) == 0 {
			if err := w.call(ctx, tokenguard.Request{Caller: callers[w.random.IntN(len(callers))]}); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// call is one caller that needs a token, uses it, and asks again if that fails.
func (w *world) call(ctx context.Context, req tokenguard.Request) error {
	grant, err := w.guard.Acquire(ctx, req)
	if err != nil {
		if _, ok := errors.AsType[*tokenguard.RequestError](err); ok || errors.Is(err, tokenguard.ErrRefused) {
			return nil // the page shows it
		}
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+grant.Token.Value())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	latency := 200*time.Millisecond + time.Duration(w.random.IntN(800))*time.Millisecond
	outcome := tokenguard.Outcome{TokenID: grant.Token.ID(), Latency: latency}
	if resp.StatusCode == http.StatusOK {
		return w.guard.Report(ctx, outcome)
	}
	outcome.Failure = tokenguard.Failure{StatusCode: resp.StatusCode, Header: resp.Header,
		Message: fmt.Sprintf("%s (request %08x)", body, w.random.Uint32())}
	if err := w.guard.Report(ctx, outcome); err != nil {
		return err
	}
	_, err = w.guard.Acquire(ctx, tokenguard.Request{Caller: req.Caller, Failing: grant.Token.ID(), Failure: outcome.Failure})
	if _, ok := errors.AsType[*tokenguard.RequestError](err); ok || errors.Is(err, tokenguard.ErrRefused) {
		return nil
	}
	return err
}
