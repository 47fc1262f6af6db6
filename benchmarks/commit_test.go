package benchmarks

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/statefile"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// BenchmarkCommit is a report that has to be stored, on a document of so many tokens, each of its own scope: how a
// commit grows with what it does not change. The reports move one pause by a second each.
func BenchmarkCommit(b *testing.B) {
	ctx, now := context.Background(), time.Now()
	reports := func(name string, n int, seal func(*ledger.Token, string), opts func(b *testing.B, doc *ledger.Document) []tokenguard.Option) {
		b.Run(name, func(b *testing.B) {
			doc, ids := document(now, n, seal)
			g, err := tokenguard.New(mint, append(opts(b, doc), tokenguard.WithName("benchmark"), tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: 10_000}))...)
			works(err)
			defer g.Close()
			limited := tokenguard.Failure{StatusCode: 429, Message: "too many requests"}
			report := func(i int) {
				limited.At = now.Add(time.Duration(i) * time.Microsecond)
				limited.Header = map[string][]string{"Retry-After": {fmt.Sprint(60 + i)}}
				works(g.Report(ctx, tokenguard.Outcome{TokenID: ids[i%n], Failure: limited}))
			}
			report(0)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				report(i)
			}
		})
	}
	inMemory := func(_ *testing.B, doc *ledger.Document) []tokenguard.Option {
		store := tokenguard.NewMemoryStore()
		_, err := store.Update(ctx, "benchmark", func(snap tokenguard.Snapshot) ([]byte, error) {
			doc.SetLineage(ledger.Lineage{Rev: snap.Rev + 1, Epoch: snap.Epoch})
			return doc.Encode()
		})
		works(err)
		return []tokenguard.Option{tokenguard.WithStore(store)}
	}
	inFile := func(b *testing.B, doc *ledger.Document) []tokenguard.Option {
		path := filepath.Join(b.TempDir(), "state")
		file, err := statefile.Open(path, statefile.Options{Name: "benchmark"})
		works(err)
		_, err = file.Update(ctx, func(snap statefile.Snapshot) ([]byte, error) {
			doc.SetLineage(ledger.Lineage{Rev: snap.Rev + 1, Epoch: snap.Epoch})
			return doc.Encode()
		})
		works(err)
		works(file.Close())
		return []tokenguard.Option{tokenguard.WithStateFile(path)}
	}
	for _, n := range []int{1, 100, 1000, 10_000} {
		reports(fmt.Sprintf("tokens:%d", n), n, (*ledger.Token).SetValue, inMemory)
	}
	reports("file:10000", 10_000, (*ledger.Token).SetValue, inFile)
	key := make([]byte, 32)
	keeper, err := secrets.NewKeeper("benchmark", [][]byte{key}, 0, func(string) {})
	works(err)
	seal := func(r *ledger.Token, value string) { keeper.Seal(r, secrets.New(value)) }
	reports("encrypted:10000", 10_000, seal, func(b *testing.B, doc *ledger.Document) []tokenguard.Option {
		return append(inMemory(b, doc), tokenguard.WithEncryption(key))
	})
}

// fill puts a document of n tokens into the store.
func fill(ctx context.Context, store tokenguard.Store, now time.Time, n int) {
	doc, _ := document(now, n, (*ledger.Token).SetValue)
	_, err := store.Update(ctx, "benchmark", func(snap tokenguard.Snapshot) ([]byte, error) {
		doc.SetLineage(ledger.Lineage{Rev: snap.Rev + 1, Epoch: snap.Epoch})
		return doc.Encode()
	})
	works(err)
}

// document is one of n tokens, all of them usable and used a minute ago.
func document(now time.Time, n int, seal func(*ledger.Token, string)) (doc *ledger.Document, ids []string) {
	doc = ledger.New()
	at := timeline.UnixNano(now)
	for i := range n {
		value := fmt.Sprint("a token of the benchmark for repository:", i)
		r := &ledger.Token{ID: secrets.ID(value), Kind: ledger.Anonymous, Scope: fmt.Sprint("repository:", i), Seq: uint64(i + 1),
			Acquired: at.Plus(-10 * time.Minute), Expiry: at.Plus(time.Hour), Used: at.Plus(-time.Minute), Succeeded: true, Uses: 3}
		seal(r, value)
		doc.Tokens[r.ID] = r
		ids = append(ids, r.ID)
	}
	doc.Seq, doc.Swept = uint64(n), at
	return doc, ids
}

// BenchmarkCommitToken adopts a token for a scope that has none yet, on a document of so many: one comes, and the oldest
// gives way to it.
func BenchmarkCommitToken(b *testing.B) {
	ctx, now := context.Background(), time.Now()
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("tokens:%d", n), func(b *testing.B) {
			store := tokenguard.NewMemoryStore()
			fill(ctx, store, now, n)
			g, err := tokenguard.New(mint, tokenguard.WithStore(store), tokenguard.WithName("benchmark"), tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: n}))
			works(err)
			defer g.Close()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				scope := fmt.Sprint("another:", i)
				works(g.Adopt(ctx, tokenguard.NewTokenIn("an adopted token for "+scope, time.Hour).WithScope(scope)))
			}
		})
	}
}
