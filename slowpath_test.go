package tokenguard

import (
	"context"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkSlowPath is the call that begins a term: it looks at the clocks, and where others may write at the store.
func BenchmarkSlowPath(b *testing.B) {
	for _, way := range []struct {
		name string
		opts func(b *testing.B) []Option
	}{
		{"memory", func(*testing.B) []Option { return nil }},
		{"state-file", func(b *testing.B) []Option {
			// What was seen is old at once: each call looks at the file.
			return []Option{WithStateFile(filepath.Join(b.TempDir(), "state")), WithFreshness(time.Nanosecond)}
		}},
	} {
		g, err := New(func(context.Context, Request) (Token, error) { return NewTokenIn("a token", time.Hour), nil }, way.opts(b)...)
		if err != nil {
			b.Fatal(err)
		}
		ctx, over := context.Background(), &term{}
		if _, err := g.Acquire(ctx, Request{Scope: "held"}); err != nil {
			b.Fatal(err)
		}
		for _, call := range []struct {
			name   string
			req    Request
			served bool
		}{{"hit", Request{Scope: "held"}, true}, {"refusal", Request{Scope: "other"}, false}} {
			b.Run(way.name+"/"+call.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					g.cache.mu.Lock()
					g.cache.term = nil
					g.cache.table.Load().term.Store(over)
					g.cache.mu.Unlock()
					if _, err := g.Acquire(ctx, call.req); (err == nil) != call.served {
						b.Fatal(err)
					}
				}
			})
		}
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
