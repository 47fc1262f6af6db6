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

// taken uses what a call brought, as a caller does: it looks at the error and reads the value.
func taken(value string, err error) {
	if err != nil || value[len(value)-1] == 0 {
		panic(err)
	}
}

// BenchmarkHit gets a token that is there.
func BenchmarkHit(b *testing.B) {
	ctx := context.Background()
	floors(b, true)
	g := held100(b)
	each(b, "tokenguard-Token", func() {
		t, err := g.Token(ctx)
		taken(t.Value(), err)
	})
	each(b, "tokenguard-Acquire", func() {
		grant, err := g.Acquire(ctx, tokenguard.Request{})
		taken(grant.Token.Value(), err)
	})
	each(b, "tokenguard-Acquire-scope", func() {
		grant, err := g.Acquire(ctx, tokenguard.Request{Scope: "repository:7", Caller: "caller"})
		taken(grant.Token.Value(), err)
	})
	scopes := scopeNames(100)
	turns(b, "tokenguard-Acquire-100-scopes", func(i int) {
		grant, err := g.Acquire(ctx, tokenguard.Request{Scope: scopes[i%100]})
		taken(grant.Token.Value(), err)
	})
	own := peers.Own(minting)
	each(b, "otter", func() { taken(own.Otter.Get(ctx, "k", own.Loader)) })
	each(b, "AWS-CredentialsCache", func() {
		c, err := own.AWS.Retrieve(ctx)
		taken(c.SecretAccessKey, err)
	})
	each(b, "x/oauth2-ReuseTokenSource", func() {
		t, err := own.OAuth2.Token()
		works(err)
		taken(t.AccessToken, nil)
	})
	each(b, "cloud/auth-cached", func() {
		t, err := own.Cloud.Token(ctx)
		works(err)
		taken(t.Value, nil)
	})
	for _, p := range peers.All[5:] { // the rest have no such call but the one that was written for them
		h := p.New(minting, 0, "")
		_, err := h.Get(ctx, "k")
		works(err)
		each(b, strings.ReplaceAll(p.Name, " ", "-"), func() { taken(h.Get(ctx, "k")) })
		if h.Close != nil {
			h.Close()
		}
	}
	own.Close()
}

// floors are what no such thing can do without: with all, also one that looks at no clock, and one that reads the wall's.
func floors(b *testing.B, all bool) {
	type held struct {
		value string
		until time.Time
		mono  time.Duration
	}
	base := time.Now()
	var floor atomic.Pointer[held]
	floor.Store(&held{"a token of the benchmark", base.Add(time.Hour), time.Hour})
	each(b, "floor-monotonic", func() {
		h := floor.Load()
		if time.Since(base) >= h.mono {
			panic(h)
		}
		taken(h.value, nil)
	})
	if !all {
		return
	}
	each(b, "floor-noclock", func() {
		h := floor.Load()
		if h.mono < 0 {
			panic(h)
		}
		taken(h.value, nil)
	})
	each(b, "floor-timenow", func() {
		h := floor.Load()
		if !time.Now().Before(h.until) {
			panic(h)
		}
		taken(h.value, nil)
	})
}

// turns is each with a number that goes up from call to call, on each goroutine by itself.
func turns(b *testing.B, name string, f func(i int)) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				f(i)
			}
		})
	})
}

func scopeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("repository:", i)
	}
	return names
}

// held100 is a guard with a token for the plain scope and for each of a hundred.
func held100(b *testing.B, opts ...tokenguard.Option) *tokenguard.Guard {
	g, err := tokenguard.New(mint, append([]tokenguard.Option{tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: 10_000}),
		tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 10_000, MaxRequestsPerDay: 10_000, MinInterval: time.Nanosecond})}, opts...)...)
	works(err)
	b.Cleanup(func() { _ = g.Close() })
	for _, scope := range append(scopeNames(100), "") {
		_, err := g.Acquire(context.Background(), tokenguard.Request{Scope: scope, Caller: "caller"})
		works(err)
	}
	return g
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
	refused := func(g *tokenguard.Guard, reason tokenguard.Reason, req tokenguard.Request) {
		_, err := g.Acquire(ctx, req)
		if refused := (*tokenguard.RefusedError)(nil); !errors.As(err, &refused) || refused.Verdict.Reason != reason {
			b.Fatalf("%s expected: %v", reason, err)
		}
	}
	storm := func(name string, g *tokenguard.Guard, reason tokenguard.Reason, req tokenguard.Request) {
		refused(g, reason, req)
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
	copies := [4]string{}
	for i := range copies {
		copies[i] = strings.Clone(long.Message)
	}
	turns(b, "tokenguard-limiter-1KB-text-copied", func(i int) { // as of a body that was read anew
		_, _ = limited.Acquire(ctx, tokenguard.Request{Failure: tokenguard.Failure{StatusCode: 503, Message: copies[i%len(copies)]}})
	})
	storm("tokenguard-limiter-with-headers", limited, tokenguard.ReasonMinInterval, tokenguard.Request{Failure: tokenguard.Failure{
		StatusCode: 503, Message: "upstream connect error", Header: map[string][]string{"Content-Type": {"text/plain"}, "Date": {"Mon, 05 Jan 2026 00:00:00 GMT"}}}})
	storm("tokenguard-backoff", backing, tokenguard.ReasonBackoff, tokenguard.Request{})
	storm("tokenguard-duplicate", backing, tokenguard.ReasonDuplicate, tokenguard.Request{Scope: "other", Caller: "caller", Failure: quota("again")})
	b.Run("tokenguard-not-quota", func(b *testing.B) {
		g := guard(nil) // for each round: it is so only in the first 10 s of the token
		defer g.Close()
		held, err := g.Acquire(ctx, tokenguard.Request{Scope: "other"})
		works(err)
		req := tokenguard.Request{Scope: "other", Failing: held.Token.ID(), Failure: tokenguard.Failure{StatusCode: 401, Message: "invalid token"}}
		refused(g, tokenguard.ReasonNotQuotaFailure, req)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = g.Acquire(ctx, req)
			}
		})
	})
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

// BenchmarkReport is a report of a success, which waits in memory for the next commit.
func BenchmarkReport(b *testing.B) {
	ctx := context.Background()
	g := held100(b)
	t, err := g.Token(ctx)
	works(err)
	for _, caller := range []string{"", "sync"} {
		each(b, "success-"+caller, func() {
			works(g.Report(ctx, tokenguard.Outcome{TokenID: t.ID(), Caller: caller, Latency: time.Millisecond}))
		})
	}
}
