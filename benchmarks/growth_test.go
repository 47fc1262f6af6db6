package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
)

func mint(_ context.Context, req tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.NewTokenIn("a token of the benchmark for "+req.Scope, time.Hour), nil
}

// grow calls f with 0 to n-1 in turn and reports what is left on the heap for each of the n.
func grow(b *testing.B, name string, f func(n, i int)) {
	for _, n := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("%s:%d", name, n), func(b *testing.B) {
			before := heap()
			for i := range n {
				f(n, i)
			}
			left := float64(heap()-before) / float64(n)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f(n, i%n)
				i++
			}
			b.ReportMetric(left, "B/entry")
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkGrowth calls for ever more scopes and with ever more failure texts: the time of a call stays what it is.
func BenchmarkGrowth(b *testing.B) {
	ctx := context.Background()
	scopes := make([]string, 100_000)
	texts := make([]string, 100_000)
	for i := range scopes {
		scopes[i], texts[i] = fmt.Sprint("repository:", i), kilobyte(int64(i))[:200]
	}
	g := made(b)
	grow(b, "scopes", func(_, i int) { _, _ = g.Acquire(ctx, tokenguard.Request{Scope: scopes[i]}) })
	g = made(b)
	grow(b, "texts", func(_, i int) {
		_, _ = g.Acquire(ctx, tokenguard.Request{Scope: "other", Failure: tokenguard.Failure{StatusCode: 503, Message: texts[i]}})
	})
}

// BenchmarkWaiters has n callers wait for one acquisition: the time is that of one caller.
func BenchmarkWaiters(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("callers:%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				release := make(chan struct{})
				g, err := tokenguard.New(func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
					<-release
					return mint(ctx, req)
				})
				works(err)
				var all sync.WaitGroup
				for range n {
					all.Go(func() {
						_, err := g.Token(context.Background())
						works(err)
					})
				}
				for g.Stats().Calls.Waiting < int64(n) {
					runtime.Gosched()
				}
				close(release)
				all.Wait()
				works(g.Close())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/caller")
		})
	}
}

// BenchmarkReports has n callers report at once, on a state file, that they were told to wait: each report moves the
// pause and is durable before it returns. The time is that of one report.
func BenchmarkReports(b *testing.B) {
	ctx := context.Background()
	limited := tokenguard.Failure{StatusCode: 429, Message: "too many requests", Header: map[string][]string{"Retry-After": {"60"}}}
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("callers:%d", n), func(b *testing.B) {
			g, err := tokenguard.New(mint, tokenguard.WithStateFile(filepath.Join(b.TempDir(), "state")))
			works(err)
			defer g.Close()
			token, err := g.Token(ctx)
			works(err)
			b.ReportAllocs()
			for b.Loop() {
				var all sync.WaitGroup
				for range n {
					all.Go(func() { works(g.Report(ctx, tokenguard.Outcome{TokenID: token.ID(), Failure: limited})) })
				}
				all.Wait()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/report")
		})
	}
}

// clock is moved by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// BenchmarkCold is a call that has to acquire: what the guard adds to a source that answers at once. two-fsyncs is what
// two durable commits cost without it.
func BenchmarkCold(b *testing.B) {
	ctx := context.Background()
	cold := func(name string, file bool) {
		b.Run(name, func(b *testing.B) {
			c := &clock{now: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)}
			opts := []tokenguard.Option{tokenguard.WithClock(c)}
			if file {
				opts = append(opts, tokenguard.WithStateFile(filepath.Join(b.TempDir(), "state")))
			}
			g, err := tokenguard.New(mint, opts...)
			works(err)
			defer g.Close()
			b.ReportAllocs()
			for b.Loop() {
				c.now = c.now.Add(90 * time.Minute)
				grant, err := g.Acquire(ctx, tokenguard.Request{})
				works(err)
				if grant.Source != tokenguard.SourceRequest {
					b.Fatal(grant.Source)
				}
			}
		})
	}
	cold("memory", false)
	cold("file", true)
	b.Run("two-fsyncs", func(b *testing.B) {
		dir := b.TempDir()
		content := make([]byte, 4096)
		b.ReportAllocs()
		for b.Loop() {
			for range 2 {
				works(replace(dir, content))
			}
		}
	})
}

// replace writes a file durably: the file, then its name.
func replace(dir string, content []byte) error {
	f, err := os.Create(filepath.Join(dir, "new"))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, "state")))
	d, oerr := os.Open(dir)
	if oerr != nil {
		return errors.Join(err, oerr)
	}
	return errors.Join(err, d.Sync(), d.Close())
}

// BenchmarkMemory says what is left on the heap: for a guard with one token that nobody calls, for each further scope
// with a token that has been handed out, and for each answer that is remembered.
func BenchmarkMemory(b *testing.B) {
	ctx := context.Background()
	per := func(name string, n int, f func(i int)) {
		b.Run(name, func(b *testing.B) {
			before := heap()
			for i := range n {
				f(i)
			}
			b.ReportMetric(float64(heap()-before)/float64(n), "B/"+name)
			b.ReportMetric(0, "ns/op")
		})
	}
	var guards []*tokenguard.Guard
	per("guard", 200, func(int) {
		g, err := tokenguard.New(mint)
		works(err)
		taken2(g.Token(ctx))
		guards = append(guards, g)
	})
	runtime.KeepAlive(guards)
	g, err := tokenguard.New(mint, tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: 1000}),
		tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 10_000, MaxRequestsPerDay: 10_000, MinInterval: time.Nanosecond}))
	works(err)
	defer g.Close()
	taken2(g.Token(ctx))
	scopes := scopeNames(500)
	per("scope", len(scopes), func(i int) {
		for range 2 {
			grant, err := g.Acquire(ctx, tokenguard.Request{Scope: scopes[i]})
			taken(grant.Token.Value(), err)
		}
	})
	refusing, err := tokenguard.New(mint)
	works(err)
	defer refusing.Close()
	taken2(refusing.Token(ctx))
	per("answer", 500, func(i int) {
		for range 2 {
			_, _ = refusing.Acquire(ctx, tokenguard.Request{Scope: scopes[i]})
		}
	})
}

func taken2(t tokenguard.Token, err error) { taken(t.Value(), err) }
