package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/ledger"
)

// A new process whose own clock is wrong joins others on a store that has a clock. Whatever it does first, it ends no
// token by its own clock, and leaves no trace of it in the document.
func TestANewProcessGoesByTheStoresClock(t *testing.T) {
	for name, door := range map[string]func(context.Context, *Guard) error{
		"Token":   func(ctx context.Context, g *Guard) error { _, err := g.Token(ctx); return err },
		"Acquire": func(ctx context.Context, g *Guard) error { _, err := g.Acquire(ctx, Request{Caller: "x"}); return err },
		"Wait":    func(ctx context.Context, g *Guard) error { _, err := g.Wait(ctx, Request{}); return err },
		"Explain": func(ctx context.Context, g *Guard) error {
			e, err := g.Explain(ctx, Request{})
			if err == nil && e.Verdict.Reason != ReasonCached {
				return errors.New(e.Verdict.Detail)
			}
			return err
		},
		"Stats": func(_ context.Context, g *Guard) error {
			if n := g.Stats().Cache.Usable; n != 1 {
				return fmt.Errorf("%d usable tokens", n)
			}
			return nil
		},
		"Report": func(ctx context.Context, g *Guard) error {
			return g.Report(ctx, Outcome{TokenID: TokenID("another's"), Failure: unauth})
		},
		"Adopt": func(ctx context.Context, g *Guard) error {
			return g.Adopt(ctx, NewTokenIn("adopted", allDay).WithScope("b"))
		},
		"Clear": func(ctx context.Context, g *Guard) error { return g.Clear(ctx, Clear{Backoff: true}) },
	} {
		for _, off := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
			t.Run(fmt.Sprintf("%s/off by %v", name, off), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					right, wrong := &laptop{begin: time.Now()}, &laptop{begin: time.Now()}
					wrong.step.Store(int64(off))
					store := remoteStore{NewMemoryStore(), right.now, &atomic.Bool{}}
					opts := []Option{WithStore(store), WithName("n")}
					first := right.open(t, gives("of 5 minutes", 5*time.Minute), opts...)
					_, err := first.Token(t.Context())
					require.NoError(t, err)
					time.Sleep(time.Minute)
					assert.NoError(t, door(t.Context(), wrong.open(t, fails(broken), opts...)))
					time.Sleep(2 * time.Second)
					token, err := first.Token(t.Context())
					if assert.NoError(t, err) {
						assert.Equal(t, "of 5 minutes", token.Value())
					}
					snap, err := store.View(t.Context(), "n")
					require.NoError(t, err)
					doc, err := ledger.Decode(snap.Data)
					require.NoError(t, err)
					assert.Empty(t, doc.Clock.Boots)
					assert.Empty(t, doc.Clock.Kind)
				})
			})
		}
	}
}
