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

// laggingStore is a store with a clock whose calls take a while on the way there, or back.
type laggingStore struct {
	remoteStore
	view, update [2]time.Duration
}

func (s *laggingStore) View(ctx context.Context, name string) (Snapshot, error) {
	there, back := s.view[0], s.view[1]
	time.Sleep(there)
	defer func() { time.Sleep(back) }()
	return s.remoteStore.View(ctx, name)
}

func (s *laggingStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	there, back := s.update[0], s.update[1]
	time.Sleep(there)
	defer func() { time.Sleep(back) }()
	return s.remoteStore.Update(ctx, name, fn)
}

// Whichever way a slow call of the store took its time, no token goes out after its expiry, however that was stated.
func TestASlowStoreLengthensNoToken(t *testing.T) {
	const slow = 5 * time.Second
	for name, slows := range map[string]func(s *laggingStore) (early, late *time.Duration){
		"commit, there": func(s *laggingStore) (early, late *time.Duration) { return &s.update[0], new(time.Duration) },
		"commit, back":  func(s *laggingStore) (early, late *time.Duration) { return &s.update[1], new(time.Duration) },
		"look, there":   func(s *laggingStore) (early, late *time.Duration) { return new(time.Duration), &s.view[0] },
		"look, back":    func(s *laggingStore) (early, late *time.Duration) { return new(time.Duration), &s.view[1] },
	} {
		for how, stated := range map[string]func(*laptop) Token{
			"lifetime": func(*laptop) Token { return NewTokenIn("the first", time.Minute) },
			"expiry":   func(l *laptop) Token { return NewToken("the first", l.wall().Add(time.Minute)) },
		} {
			for _, door := range []string{"Acquire", "Adopt", "personal"} {
				t.Run(name+"/"+how+"/"+door, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l := &laptop{begin: time.Now()}
						s := &laggingStore{remoteStore: remoteStore{NewMemoryStore(), l.now, &atomic.Bool{}}}
						early, late := slows(s) // until the token is there, and from then on
						*early = slow
						var ended time.Time
						fetch := func() (Token, error) {
							if !ended.IsZero() {
								return Token{}, errors.New("503")
							}
							ended = time.Now().Add(time.Minute)
							return stated(l), nil
						}
						opts := []Option{WithStore(s), WithName("n"), WithFreshness(0)}
						kind := Anonymous
						if door == "personal" {
							kind = Personal
							opts = append(opts, WithPersonalToken(func(context.Context) (Token, error) { return fetch() }))
						}
						g := l.open(t, func(context.Context, Request) (Token, error) { return fetch() }, opts...)
						if door == "Adopt" {
							token, _ := fetch()
							require.NoError(t, g.Adopt(t.Context(), token))
						}
						_, err := g.Acquire(t.Context(), Request{Kind: kind})
						require.NoError(t, err)
						*early, *late = 0, slow
						for time.Now().Before(ended.Add(20 * time.Second)) {
							if _, err := g.Acquire(t.Context(), Request{Kind: kind}); err == nil && !time.Now().Before(ended) {
								t.Fatalf("handed out %v after its expiry", time.Since(ended))
							}
							time.Sleep(300 * time.Millisecond)
						}
					})
				})
			}
		}
	}
}
