package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard"
)

func demoCommand() *cobra.Command {
	var page pageFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the page with simulated traffic, offline",
		Long: `Demo runs a guard in memory before a simulated upstream whose tokens live for two minutes, wear out after 250
uses, and which fails now and then. Five callers ask all the time. The limits are as strict as the defaults, made 30
times faster.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			up := &demoUpstream{uses: map[string]int{}}
			g, err := tokenguard.New(up.fetch, tokenguard.WithName("demo"), tokenguard.WithConfig(demoConfig()))
			if err != nil {
				return err
			}
			ctx, stop := context.WithCancel(cmd.Context())
			var callers sync.WaitGroup
			for _, name := range []string{"web", "importer", "nightly-report", "search", "cli"} {
				callers.Go(func() { up.caller(ctx, g, name) })
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "simulated: five callers and an upstream whose tokens live two minutes or 250 calls; the default limits, 30 times as fast")
			err = serve(cmd, g, &page)
			stop()
			callers.Wait()
			return err
		},
	}
	page.flags(cmd)
	return cmd
}

func demoConfig() tokenguard.Config {
	const faster = 30
	c := tokenguard.Conservative()
	c.RateLimit.MaxRequestsPerHour *= faster
	c.RateLimit.MaxRequestsPerDay *= faster
	for _, d := range []*time.Duration{&c.RateLimit.MinInterval, &c.RateLimit.FailureBackoffBase, &c.RateLimit.MaxBackoff,
		&c.Manager.MinTokenAge, &c.Manager.RecentWindow, &c.Manager.Confirmation, &c.Dedup.Window} {
		*d /= faster
	}
	return c
}

// demoUpstream issues tokens that live for two minutes and are good for 250 uses.
type demoUpstream struct {
	mu     sync.Mutex // guards what follows
	issued int
	uses   map[string]int // by token ID
}

func (u *demoUpstream) fetch(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.issued++; rand.IntN(6) == 0 {
		return tokenguard.Token{}, errors.New("503 Service Unavailable")
	}
	return tokenguard.NewTokenIn(fmt.Sprintf("demo-%d", u.issued), 2*time.Minute), nil
}

// use makes one API call.
func (u *demoUpstream) use(id string) (f tokenguard.Failure) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.uses[id]++
	switch {
	case u.uses[id] > 250:
		f = tokenguard.Failure{StatusCode: 429, Message: "No remaining quota: No AI requests remaining"}
	case rand.IntN(40) == 0:
		f = tokenguard.Failure{StatusCode: 502, Message: fmt.Sprintf("Bad gateway, request id %08x", rand.Uint32())}
	}
	return f
}

// caller asks for a token about once a second, and once more if its call failed.
func (u *demoUpstream) caller(ctx context.Context, g *tokenguard.Guard, name string) {
	req := tokenguard.Request{Caller: name}
	for ctx.Err() == nil {
		if grant, err := g.Acquire(ctx, req); err == nil {
			began := time.Now()
			f := u.use(grant.Token.ID())
			_ = g.Report(ctx, tokenguard.Outcome{TokenID: grant.Token.ID(), Latency: time.Since(began), Failure: f})
			req.Failure, req.Failing = f, ""
			if !f.IsZero() {
				req.Failing = grant.Token.ID()
			}
		}
		select {
		case <-time.After(time.Second/2 + rand.N(time.Second)):
		case <-ctx.Done():
		}
	}
}
