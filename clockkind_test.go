package tokenguard_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
)

// farClock is a test's clock, in a year that no real process has seen.
var farClock = &handClock{now: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)}

// onKind runs f with what opens guards on one kind of clock.
func onKind(t *testing.T, kind string, f func(t *testing.T, open func(opts ...tokenguard.Option) *tokenguard.Guard)) {
	t.Helper()
	body := func(t *testing.T) {
		f(t, func(opts ...tokenguard.Option) *tokenguard.Guard {
			if kind == "WithClock" {
				opts = append(opts, tokenguard.WithClock(farClock))
			}
			g, err := tokenguard.New((&origin{lifetime: time.Hour}).request, opts...)
			require.NoError(t, err)
			t.Cleanup(func() { _ = g.Close() })
			return g
		})
	}
	if kind == "bubble" {
		synctest.Test(t, body)
		return
	}
	body(t)
}

// doors are all that read or write the state.
var doors = map[string]func(context.Context, *tokenguard.Guard) error{
	"Token":   func(ctx context.Context, g *tokenguard.Guard) error { _, err := g.Token(ctx); return err },
	"Acquire": func(ctx context.Context, g *tokenguard.Guard) error { _, err := g.Acquire(ctx, plain); return err },
	"Wait":    func(ctx context.Context, g *tokenguard.Guard) error { _, err := g.Wait(ctx, plain); return err },
	"Explain": func(ctx context.Context, g *tokenguard.Guard) error {
		e, err := g.Explain(ctx, plain)
		if err == nil && e.Verdict.Reason != tokenguard.ReasonStoreUnavailable {
			return nil
		}
		return tokenguard.ErrStore
	},
	"Report": func(ctx context.Context, g *tokenguard.Guard) error {
		return g.Report(ctx, tokenguard.Outcome{TokenID: tokenguard.TokenID("made-up"), Failure: tokenguard.Failure{StatusCode: 401}})
	},
	"Adopt": func(ctx context.Context, g *tokenguard.Guard) error {
		return g.Adopt(ctx, tokenguard.NewTokenIn("made-up-adopted", time.Hour))
	},
	"Clear": func(ctx context.Context, g *tokenguard.Guard) error {
		return g.Clear(ctx, tokenguard.Clear{Backoff: true})
	},
}

// A state that a test's clock has moved is no real process's, and a real one no test's.
func TestTwoKindsOfClock(t *testing.T) {
	for _, c := range []struct{ first, second, word string }{
		{"machine", "WithClock", "would move for good"},
		{"machine", "bubble", "would move for good"},
		{"WithClock", "machine", "must not go on from"},
		{"bubble", "machine", "must not go on from"},
		{"WithClock", "bubble", ""},
	} {
		t.Run(c.first+"-"+c.second, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			store := &mapStore{epoch: "1"}
			for where, opts := range map[string][]tokenguard.Option{path: {tokenguard.WithStateFile(path)}, `"acceptance"`: onStore(store)} {
				onKind(t, c.first, func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
					_, err := open(opts...).Token(t.Context())
					require.NoError(t, err)
					_, err = open(opts...).Token(t.Context())
					require.NoError(t, err, "its own kind opens it again")
				})
				before, _ := os.ReadFile(path)
				rev := store.docs["acceptance"].Rev
				onKind(t, c.second, func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
					warm := open(opts...)
					for name, door := range doors {
						if c.word == "" {
							_, err := warm.Token(t.Context())
							require.NoError(t, err)
							continue
						}
						require.ErrorIs(t, door(t.Context(), open(opts...)), tokenguard.ErrStore, "%s of a fresh guard", name)
						require.ErrorIs(t, door(t.Context(), warm), tokenguard.ErrStore, "%s of a warm one", name)
					}
					if c.word != "" {
						_, err := warm.Token(t.Context())
						require.ErrorContains(t, err, where)
						require.ErrorContains(t, err, c.word)
						require.ErrorContains(t, err, "give this guard another one")
						after, _ := os.ReadFile(path)
						assert.Equal(t, before, after)
						assert.Equal(t, rev, store.docs["acceptance"].Rev)
					}
				})
			}
			report, err := inspect.File(t.Context(), path)
			require.NoError(t, err)
			want := map[string]string{"machine": "machine"}[c.first]
			if want == "" {
				want = "simulated"
				assert.Contains(t, report.String(), "of guards with a clock of their own")
			}
			assert.Equal(t, want, report.Clock)
		})
	}
}

// A state of a version that did not mark it opens for both kinds. A real guard makes it the machine's; a test's leaves it open.
func TestStateWithoutKindOfClock(t *testing.T) {
	store := &mapStore{epoch: "1"}
	onKind(t, "machine", func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
		_, err := open(onStore(store)...).Token(t.Context())
		require.NoError(t, err)
	})
	mark := []byte(`,"kind":"machine"}`)
	store.set(func() {
		snap := store.docs["acceptance"]
		require.Equal(t, 1, bytes.Count(snap.Data, mark))
		snap.Data = bytes.Replace(snap.Data, mark, []byte("}"), 1)
		store.docs["acceptance"] = snap
	})
	adopt := func(value string) func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
		return func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
			require.NoError(t, open(onStore(store)...).Adopt(t.Context(), tokenguard.NewTokenIn(value, time.Hour)))
		}
	}
	onKind(t, "bubble", adopt("made-up-1"))
	require.NotContains(t, string(store.docs["acceptance"].Data), `"kind":"simulated"}`)
	onKind(t, "machine", adopt("made-up-2"))
	require.Contains(t, string(store.docs["acceptance"].Data), string(mark))
	onKind(t, "bubble", func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
		_, err := open(onStore(store)...).Token(t.Context())
		require.ErrorIs(t, err, tokenguard.ErrStore)
	})
}

// Nothing in the memory of one process outlives a test, and a store's own clock is everybody's.
func TestStoresForBothKindsOfClock(t *testing.T) {
	memory := tokenguard.NewMemoryStore()
	for _, kind := range []string{"machine", "WithClock", "machine", "bubble"} {
		onKind(t, kind, func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
			_, err := open(onStore(memory)...).Explain(t.Context(), plain)
			require.NoError(t, err)
			require.NoError(t, open(onStore(memory)...).Adopt(t.Context(), tokenguard.NewTokenIn("made-up-"+kind, time.Hour)))
		})
	}
	timed := &mapStore{clock: &handClock{now: oddStart}}
	for _, kind := range []string{"machine", "bubble", "machine"} {
		onKind(t, kind, func(t *testing.T, open func(...tokenguard.Option) *tokenguard.Guard) {
			_, err := open(onStore(timed)...).Token(t.Context())
			require.NoError(t, err)
		})
	}
	require.NotContains(t, string(timed.docs["acceptance"].Data), `"kind":"simulated"}`)
}
