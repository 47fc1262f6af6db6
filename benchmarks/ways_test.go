package benchmarks

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
)

// systemClock is a user's clock: all the guard knows of it is what it says.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// BenchmarkHitOtherwise gets a token that is there from guards that are set up in other ways than by default.
func BenchmarkHitOtherwise(b *testing.B) {
	ctx := context.Background()
	floors(b, false)
	for _, way := range []struct {
		name string
		make func(b *testing.B) []tokenguard.Option
	}{
		{"memory", func(*testing.B) []tokenguard.Option { return nil }},
		{"state-file", func(b *testing.B) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithStateFile(filepath.Join(b.TempDir(), "state"))}
		}},
		{"personal-token", func(*testing.B) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
				return tokenguard.NewTokenIn("a personal token", time.Hour), nil
			})}
		}},
		{"clock-on-each-hit", func(*testing.B) []tokenguard.Option { return []tokenguard.Option{tokenguard.WithClockOnEachHit()} }},
		{"user-supplied-clock", func(*testing.B) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithClock(systemClock{})}
		}},
		{"candidate", func(*testing.B) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithCandidate(tokenguard.Config{})}
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			g := made(b, way.make(b)...)
			each(b, "Token", func() { taken2(g.Token(ctx)) })
		})
	}
	b.Run("10000-scopes-zipf", func(b *testing.B) {
		const n = 10_000
		store := tokenguard.NewMemoryStore()
		fill(ctx, store, time.Now(), n)
		g, err := tokenguard.New(mint, tokenguard.WithStore(store), tokenguard.WithName("benchmark"), tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: n}))
		works(err)
		b.Cleanup(func() { _ = g.Close() })
		scopes, zipf := scopeNames(n), rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, n-1)
		var turn [1 << 16]uint16 // drawn before: the draw would cost more than the hit
		for i := range turn {
			turn[i] = uint16(zipf.Uint64())
		}
		for _, scope := range scopes {
			grant, err := g.Acquire(ctx, tokenguard.Request{Scope: scope})
			taken(grant.Token.Value(), err)
		}
		turns(b, "Acquire", func(i int) {
			grant, err := g.Acquire(ctx, tokenguard.Request{Scope: scopes[turn[i%len(turn)]]})
			taken(grant.Token.Value(), err)
		})
	})
	b.Run("another-operation-is-barred", func(b *testing.B) {
		g := made(b)
		held, err := g.Token(ctx)
		works(err)
		works(g.Report(ctx, tokenguard.Outcome{TokenID: held.ID(), Caller: "caller", Failure: tokenguard.Failure{}}))
		works(g.Report(ctx, tokenguard.Outcome{TokenID: held.ID(), Caller: "other", Failure: quota("")}))
		each(b, "Acquire", func() {
			grant, err := g.Acquire(ctx, tokenguard.Request{Caller: "caller"})
			taken(grant.Token.Value(), err)
		})
	})
	b.Run("while-the-next-is-acquired", func(b *testing.B) {
		store := tokenguard.NewMemoryStore()
		fill(ctx, store, time.Now().Add(-40*time.Minute), 1) // it has 20 of its 70 minutes left
		release, begun := make(chan struct{}), make(chan struct{})
		g, err := tokenguard.New(func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
			close(begun)
			<-release
			return mint(ctx, req)
		}, tokenguard.WithStore(store), tokenguard.WithName("benchmark"), tokenguard.WithRefreshAhead(30*time.Minute), tokenguard.WithRequestTimeout(10*time.Minute))
		works(err)
		b.Cleanup(func() { _ = g.Close() })
		defer close(release)
		req := tokenguard.Request{Scope: scopeNames(1)[0]}
		go func() { _, _ = g.Acquire(ctx, req) }()
		<-begun
		each(b, "Acquire", func() {
			grant, err := g.Acquire(ctx, req)
			taken(grant.Token.Value(), err)
		})
	})
}

// made is a guard that holds a token.
func made(b *testing.B, opts ...tokenguard.Option) *tokenguard.Guard {
	g, err := tokenguard.New(mint, opts...)
	works(err)
	b.Cleanup(func() { _ = g.Close() })
	taken2(g.Token(context.Background()))
	return g
}
