// Package benchmarks measures tokenguard and what people use in its place on the same work, in one run. The figures that
// count are ratios within one run: go run ./cmd/ratios.
package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/benchmarks/peers"
)

func minting(context.Context) (string, time.Duration, error) {
	return "a token of the benchmark", time.Hour, nil
}

// each runs f on as many goroutines as -cpu says, each for itself.
func each(b *testing.B, name string, f func()) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f()
			}
		})
	})
}

func works(err error) {
	if err != nil {
		panic(err)
	}
}

// BenchmarkHit gets a token that is there. The floors are what no such thing can do without.
func BenchmarkHit(b *testing.B) {
	ctx := context.Background()
	type held struct {
		value string
		until time.Time
		mono  time.Duration
	}
	base := time.Now()
	var floor atomic.Pointer[held]
	floor.Store(&held{"a token of the benchmark", base.Add(time.Hour), time.Hour})
	each(b, "floor-noclock", func() {
		if h := floor.Load(); h.mono < 0 {
			panic(h)
		}
	})
	each(b, "floor-monotonic", func() {
		if h := floor.Load(); time.Since(base) >= h.mono {
			panic(h)
		}
	})
	each(b, "floor-timenow", func() {
		if h := floor.Load(); !time.Now().Before(h.until) {
			panic(h)
		}
	})
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("a token of the benchmark", time.Hour), nil
	}, tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 10, MinInterval: time.Nanosecond}))
	works(err)
	defer g.Close()
	_, err = g.Token(ctx)
	works(err)
	_, err = g.Acquire(ctx, tokenguard.Request{Scope: "repository:a", Caller: "caller"})
	works(err)
	each(b, "tokenguard-Token", func() {
		_, err := g.Token(ctx)
		works(err)
	})
	each(b, "tokenguard-Acquire", func() {
		_, err := g.Acquire(ctx, tokenguard.Request{})
		works(err)
	})
	each(b, "tokenguard-Acquire-scope", func() {
		_, err := g.Acquire(ctx, tokenguard.Request{Scope: "repository:a", Caller: "caller"})
		works(err)
	})
	for _, p := range peers.All[1:] {
		h := p.New(minting, 0, "")
		_, err := h.Get(ctx, "k")
		works(err)
		each(b, strings.ReplaceAll(p.Name, " ", "-"), func() {
			_, err := h.Get(ctx, "k")
			works(err)
		})
		if h.Close != nil {
			h.Close()
		}
	}
}

// BenchmarkRefusal is a storm of calls that get no token. The peers refuse because their breaker or limiter is closed.
func BenchmarkRefusal(b *testing.B) {
	ctx := context.Background()
	failing := func(context.Context) (string, time.Duration, error) { return "", 0, errors.New("connection reset") }
	guard := func(fetch error) *tokenguard.Guard {
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewTokenIn("a token of the benchmark", time.Hour), fetch
		})
		works(err)
		_, _ = g.Acquire(ctx, tokenguard.Request{Scope: "other", Caller: "caller", Failure: quota("")})
		return g
	}
	storm := func(name string, g *tokenguard.Guard, reason tokenguard.Reason, req tokenguard.Request) {
		_, err := g.Acquire(ctx, req)
		var refused *tokenguard.RefusedError
		if !errors.As(err, &refused) || refused.Verdict.Reason != reason {
			b.Fatalf("%s: %v", name, err)
		}
		each(b, name, func() { _, _ = g.Acquire(ctx, req) })
	}
	limited, backing := guard(nil), guard(errors.New("connection reset"))
	defer limited.Close()
	defer backing.Close()
	short := tokenguard.Failure{StatusCode: 503, Message: "upstream connect error"}
	long := tokenguard.Failure{StatusCode: 503, Message: kilobyte(0)}
	storm("tokenguard-limiter", limited, tokenguard.ReasonMinInterval, tokenguard.Request{})
	storm("tokenguard-limiter-short-text", limited, tokenguard.ReasonMinInterval, tokenguard.Request{Failure: short})
	storm("tokenguard-limiter-1KB-text", limited, tokenguard.ReasonMinInterval, tokenguard.Request{Failure: long})
	storm("tokenguard-limiter-with-headers", limited, tokenguard.ReasonMinInterval, tokenguard.Request{Failure: tokenguard.Failure{
		StatusCode: 503, Message: "upstream connect error", Header: map[string][]string{"Content-Type": {"text/plain"}, "Date": {"Mon, 05 Jan 2026 00:00:00 GMT"}}}})
	storm("tokenguard-backoff", backing, tokenguard.ReasonBackoff, tokenguard.Request{})
	storm("tokenguard-duplicate", backing, tokenguard.ReasonDuplicate, tokenguard.Request{Scope: "other", Caller: "caller", Failure: quota("again")})
	held, err := limited.Acquire(ctx, tokenguard.Request{Scope: "other"})
	works(err)
	storm("tokenguard-not-quota", limited, tokenguard.ReasonNotQuotaFailure, tokenguard.Request{Scope: "other", Failing: held.Token.ID(),
		Failure: tokenguard.Failure{StatusCode: 401, Message: "invalid token"}})
	var n atomic.Int64
	each(b, "tokenguard-distinct-1KB-text", func() {
		_, _ = limited.Acquire(ctx, tokenguard.Request{Failure: tokenguard.Failure{StatusCode: 503, Message: kilobyte(n.Add(1))}})
	})
	each(b, "making-that-text", func() { _ = kilobyte(n.Add(1)) })
	for _, p := range peers.All {
		if p.Name != "failsafe-go stack" && p.Name != "gobreaker over golang-lru" {
			continue
		}
		h := p.New(failing, 0, "")
		for range 10 {
			_, _ = h.Get(ctx, "k")
		}
		each(b, strings.ReplaceAll(p.Name, " ", "-"), func() { _, _ = h.Get(ctx, "k") })
	}
}

func quota(more string) tokenguard.Failure {
	return tokenguard.Failure{StatusCode: 429, Message: "No remaining quota: No AI requests remaining " + more}
}

var words = strings.Fields("upstream connect error or disconnect reset before headers transport failure reason delayed timeout pool drained worker busy")

// kilobyte is a failure text of 1 KiB, another one for each n also once its numbers are masked.
func kilobyte(n int64) string {
	var b strings.Builder
	b.Grow(1100)
	fmt.Fprintf(&b, "HTTP 503 request %d: ", n)
	for i := n; b.Len() < 1024; i = i*31 + 7 {
		b.WriteString(words[uint64(i)>>3%uint64(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:1024]
}
