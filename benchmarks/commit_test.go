package benchmarks

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// BenchmarkCommit is a report that has to be stored, on a document of so many tokens, each of its own scope: how a
// commit grows with what it does not change. The reports move one pause by a second each.
func BenchmarkCommit(b *testing.B) {
	ctx := context.Background()
	for _, n := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("tokens:%d", n), func(b *testing.B) {
			store := tokenguard.NewMemoryStore()
			now := time.Now()
			ids := fill(ctx, store, now, n)
			g, err := tokenguard.New(mint, tokenguard.WithStore(store), tokenguard.WithName("benchmark"), tokenguard.WithCache(tokenguard.CacheConfig{MaxTokens: 10_000}))
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
			snap, err := store.View(ctx, "benchmark")
			works(err)
			b.ReportMetric(float64(len(snap.Data))/float64(n), "B/token")
		})
	}
}

// fill puts a document of n tokens into the store, all of them usable and used a minute ago.
func fill(ctx context.Context, store tokenguard.Store, now time.Time, n int) (ids []string) {
	doc, at := ledger.New(), timeline.UnixNano(now)
	for i := range n {
		value := fmt.Sprint("a token of the benchmark for repository:", i)
		r := &ledger.Token{ID: secrets.ID(value), Kind: ledger.Anonymous, Scope: fmt.Sprint("repository:", i), Seq: uint64(i + 1),
			Acquired: at.Plus(-10 * time.Minute), Expiry: at.Plus(time.Hour), Used: at.Plus(-time.Minute), Succeeded: true, Uses: 3}
		r.SetValue(value)
		doc.Tokens[r.ID] = r
		ids = append(ids, r.ID)
	}
	doc.Seq, doc.Swept = uint64(n), at
	_, err := store.Update(ctx, "benchmark", func(snap tokenguard.Snapshot) ([]byte, error) {
		doc.SetLineage(ledger.Lineage{Rev: snap.Rev + 1, Epoch: snap.Epoch})
		return doc.Encode()
	})
	works(err)
	return ids
}
