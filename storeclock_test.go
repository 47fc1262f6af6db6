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
	"github.com/tokenguard/tokenguard/internal/timeline"
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
	viewed       time.Time // when the last View returned
}

func (s *laggingStore) View(ctx context.Context, name string) (Snapshot, error) {
	there, back := s.view[0], s.view[1]
	time.Sleep(there)
	defer func() {
		time.Sleep(back)
		s.viewed = time.Now()
	}()
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
		"commit, there":     func(s *laggingStore) (early, late *time.Duration) { return &s.update[0], new(time.Duration) },
		"commit, back":      func(s *laggingStore) (early, late *time.Duration) { return &s.update[1], new(time.Duration) },
		"first look, there": func(s *laggingStore) (early, late *time.Duration) { return &s.view[0], new(time.Duration) },
		"first look, back":  func(s *laggingStore) (early, late *time.Duration) { return &s.view[1], new(time.Duration) },
		"look, there":       func(s *laggingStore) (early, late *time.Duration) { return new(time.Duration), &s.view[0] },
		"look, back":        func(s *laggingStore) (early, late *time.Duration) { return new(time.Duration), &s.view[1] },
	} {
		for how, stated := range map[string]func(*laptop) Token{
			"lifetime": func(*laptop) Token { return NewTokenIn("the first", time.Minute) },
			"expiry":   func(l *laptop) Token { return NewToken("the first", l.wall().Add(time.Minute)) },
			"nowhere":  func(*laptop) Token { return NewToken("the first", time.Time{}) },
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
						opts := []Option{WithStore(s), WithName("n"), WithFreshness(0), WithCache(CacheConfig{TTL: time.Minute})}
						kind := Anonymous
						if door == "personal" {
							kind = Personal
							opts = append(opts, WithPersonalToken(func(context.Context) (Token, error) { return fetch() }))
						}
						g := l.open(t, func(context.Context, Request) (Token, error) { return fetch() }, opts...)
						if door == "Adopt" {
							token, _ := fetch()
							require.NoError(t, g.Adopt(t.Context(), token))
							if how == "nowhere" { // the TTL begins with the reading after the look
								ended = s.viewed.Add(time.Minute)
							}
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

// What a process takes in while it does not know how late it is lasts no longer than was stated of it, or than the TTL,
// whichever way it came; so does its refresh token.
func TestASlowStoreLengthensNothingThatItKeeps(t *testing.T) {
	const ttl = 10 * time.Minute
	refreshUntil := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
	issued := func() Token { return NewToken("the value", time.Time{}).WithRefreshToken("the second", refreshUntil) }
	for door, lived := range map[string]func(t *testing.T, g *Guard) error{
		"Acquire": func(t *testing.T, g *Guard) error { _, err := g.Token(t.Context()); return err },
		"late answer": func(t *testing.T, g *Guard) error {
			if _, err := g.Token(t.Context()); err == nil {
				return errors.New("it came in time")
			}
			time.Sleep(2 * time.Minute)
			return nil
		},
		"Adopt": func(t *testing.T, g *Guard) error { return g.Adopt(t.Context(), issued()) },
		"renewal": func(t *testing.T, g *Guard) error {
			if err := g.Adopt(t.Context(), NewTokenIn("of before", 30*time.Second).WithRefreshToken("the first", time.Time{})); err != nil {
				return err
			}
			time.Sleep(30 * time.Second)
			_, err := g.Token(t.Context())
			return err
		},
		"a value again": func(t *testing.T, g *Guard) error {
			if err := g.Adopt(t.Context(), NewTokenIn("the value", time.Hour).WithRefreshToken("the first", time.Time{})); err != nil {
				return err
			}
			return g.Adopt(t.Context(), issued().WithPredecessor(NewToken("the value", time.Time{}).ID()))
		},
		"a successor": func(t *testing.T, g *Guard) error {
			if err := g.Adopt(t.Context(), NewTokenIn("of before", time.Hour).WithRefreshToken("the first", time.Time{})); err != nil {
				return err
			}
			return g.Adopt(t.Context(), issued().WithPredecessor(NewToken("of before", time.Time{}).ID()))
		},
	} {
		for _, back := range []int{0, 1} {
			for _, slow := range []string{"look", "commit"} {
				t.Run(fmt.Sprintf("%s/%s/%d", door, slow, back), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l := &laptop{begin: time.Now()}
						s := &laggingStore{remoteStore: remoteStore{NewMemoryStore(), l.now, &atomic.Bool{}}}
						var came time.Time
						give := func() (Token, error) {
							if door == "late answer" {
								time.Sleep(50 * time.Second)
							}
							came = time.Now()
							return issued(), nil
						}
						g := l.open(t, func(context.Context, Request) (Token, error) { return give() }, WithStore(s), WithName("n"), WithFreshness(0), WithCache(CacheConfig{TTL: ttl}),
							WithRenewal(func(context.Context, Token) (Token, error) { return give() }))
						_, err := g.Explain(t.Context(), Request{}) // the clock of the store is known
						require.NoError(t, err)
						if slow == "look" {
							s.view[back] = 5 * time.Second
						} else {
							s.update[back] = 5 * time.Second
						}
						require.NoError(t, lived(t, g))
						synctest.Wait()
						if came.IsZero() { // the reading after the look
							came = s.viewed
						}
						rec := g.replica.Newest().Doc.Tokens[issued().ID()]
						require.NotNil(t, rec)
						_, ends := g.opt.policy.Expiry(rec)
						assert.LessOrEqual(t, ends, timeline.UnixNano(came.Add(5*time.Minute+ttl)), "the TTL")
						assert.LessOrEqual(t, rec.Identity.Expiry, timeline.UnixNano(refreshUntil.Add(5*time.Minute)), "the refresh token")
					})
				})
			}
		}
	}
}
