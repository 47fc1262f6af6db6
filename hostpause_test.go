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

// paused is a machine of which no clock but the wall clock tells that it stood still: it has no boot clock and was suspended,
// or its host paused it.
func (l *laptop) paused(t *testing.T, boot bool, fetch RequestFunc, opts ...Option) *Guard {
	g := newTestGuard(t, fetch, opts...)
	if !boot {
		g.meter.Simulate(l.wall, "", nil)
		return g
	}
	g.meter.Simulate(l.wall, "boot", func() int64 { return int64(time.Since(l.begin) + 100*time.Hour) })
	return g
}

// A pause of the machine is told by its wall clock alone while the store, whose clock decides, is away.
func TestNoTokenOutlivesAPauseBesideAStoresClock(t *testing.T) {
	for _, boot := range []bool{false, true} {
		for _, each := range []bool{false, true} {
			for door, ask := range map[string]func(*testing.T, *Guard) (Token, error){
				"Acquire": func(t *testing.T, g *Guard) (Token, error) {
					grant, err := g.Acquire(t.Context(), Request{})
					return grant.Token, err
				},
				"Acquire with a name": func(t *testing.T, g *Guard) (Token, error) {
					grant, err := g.Acquire(t.Context(), Request{Caller: "x"})
					return grant.Token, err
				},
				"Token": func(t *testing.T, g *Guard) (Token, error) { return g.Token(t.Context()) },
				"Wait": func(t *testing.T, g *Guard) (Token, error) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					grant, err := g.Wait(ctx, Request{})
					return grant.Token, err
				},
				"Explain": func(t *testing.T, g *Guard) (token Token, err error) {
					e, err := g.Explain(t.Context(), Request{})
					if err == nil && e.Verdict.Reason != ReasonCached {
						err = errors.New(e.Verdict.Detail)
					}
					return token, err
				},
				"Stats": func(_ *testing.T, g *Guard) (token Token, err error) {
					if g.Stats().Cache.Usable == 0 {
						err = errors.New("none is usable")
					}
					return token, err
				},
			} {
				t.Run(fmt.Sprintf("boot clock %v/each call %v/%s", boot, each, door), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l, cut := &laptop{begin: time.Now()}, &atomic.Bool{}
						opts := []Option{WithStore(remoteStore{NewMemoryStore(), l.now, cut}), WithName("n")}
						if each {
							opts = append(opts, WithFreshness(0))
						}
						g := l.paused(t, boot, once(gives("of an hour", time.Hour)), opts...)
						_, err := g.Token(t.Context())
						require.NoError(t, err)
						l.suspend(2 * time.Hour)
						cut.Store(true)
						time.Sleep(2 * time.Second)
						token, err := ask(t, g)
						require.Error(t, err, "%v", token)
						cut.Store(false)
						time.Sleep(2 * time.Second)
						token, err = ask(t, g)
						require.Error(t, err, "%v, by the store's clock, too", token)
					})
				})
			}
		}
	}
}

// The pause comes in the middle of a call.
func TestNoTokenOutlivesAPauseInACallBesideAStoresClock(t *testing.T) {
	for _, boot := range []bool{false, true} {
		t.Run(fmt.Sprintf("boot clock %v", boot), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, cut := &laptop{begin: time.Now()}, &atomic.Bool{}
				g := l.paused(t, boot, once(gives("of an hour", time.Hour)), WithStore(remoteStore{NewMemoryStore(), l.now, cut}), WithName("n"),
					WithPersonalToken(func(context.Context) (Token, error) {
						if cut.Load() {
							l.suspend(2 * time.Hour)
						}
						return Token{}, errors.New("not signed in")
					}))
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(2 * time.Minute)
				cut.Store(true)
				grant, err := g.Acquire(t.Context(), Request{})
				require.ErrorIs(t, err, ErrStore, "%v", grant.Token)
			})
		})
	}
}

// once is a RequestFunc that answers once.
func once(fetch RequestFunc) RequestFunc {
	var asked atomic.Bool
	return func(ctx context.Context, r Request) (Token, error) {
		if asked.Swap(true) {
			return Token{}, errors.New("503")
		}
		return fetch(ctx, r)
	}
}

// A wall clock that is set forward while the machine did not stand still ends nothing where the store's clock answers, and
// for longer than the store is away nowhere: nothing of it is written down.
func TestAWallClockEndsNothingBesideAStoresClock(t *testing.T) {
	for _, boot := range []bool{false, true} {
		for _, away := range []bool{false, true} {
			for _, then := range []string{"look", "no look", "commit", "another process's commit"} {
				if away && then == "no look" {
					continue
				}
				t.Run(fmt.Sprintf("boot clock %v/away %v/%s", boot, away, then), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l, other, cut := &laptop{begin: time.Now()}, &laptop{begin: time.Now()}, &atomic.Bool{}
						inner := NewMemoryStore()
						g := l.paused(t, boot, once(gives("of an hour", time.Hour)), WithStore(remoteStore{inner, other.now, cut}), WithName("n"), WithFreshness(5*time.Second))
						beside := other.open(t, fails(broken), WithStore(remoteStore{inner, other.now, &atomic.Bool{}}), WithName("n"))
						first, err := g.Token(t.Context())
						require.NoError(t, err)
						l.step.Add(int64(2 * time.Hour))
						cut.Store(away)
						if away {
							time.Sleep(6 * time.Second)
							_, err = g.Token(t.Context())
							require.ErrorIs(t, err, ErrStore)
							require.NoError(t, ignoring(g.Report(t.Context(), Outcome{TokenID: first.ID(), Latency: time.Second, Failure: broken}), ErrStore))
						}
						cut.Store(false)
						switch then {
						case "commit":
							require.NoError(t, g.Adopt(t.Context(), NewTokenIn("adopted", time.Hour).WithScope("b")))
						case "another process's commit":
							require.NoError(t, beside.Adopt(t.Context(), NewTokenIn("adopted", time.Hour).WithScope("b")))
							time.Sleep(5 * time.Second)
						case "look":
							time.Sleep(5 * time.Second)
						case "no look":
							time.Sleep(2 * time.Second) // the last one is fresh enough, and the cache asks
						}
						for n := range 8 {
							token, err := g.Token(t.Context())
							require.NoError(t, err, n)
							require.Equal(t, first.ID(), token.ID())
							time.Sleep(time.Second)
						}
						token, err := beside.Token(t.Context())
						require.NoError(t, err)
						require.Equal(t, first.ID(), token.ID())
						snap, err := inner.View(t.Context(), "n")
						require.NoError(t, err)
						doc, err := ledger.Decode(snap.Data)
						require.NoError(t, err)
						assert.Greater(t, doc.Tokens[first.ID()].Expiry.Sub(doc.Clock.Last), 50*time.Minute)
					})
				})
			}
		}
	}
}

// silentStore leaves its clock out of an answer now and then.
type silentStore struct {
	remoteStore
	silent *atomic.Bool
}

func (s silentStore) quiet(snap Snapshot) Snapshot {
	if s.silent.Load() {
		snap.Now = time.Time{}
	}
	return snap
}

func (s silentStore) View(ctx context.Context, name string) (Snapshot, error) {
	snap, err := s.remoteStore.View(ctx, name)
	return s.quiet(snap), err
}

func (s silentStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	snap, err := s.remoteStore.Update(ctx, name, func(snap Snapshot) ([]byte, error) { return fn(s.quiet(snap)) })
	return s.quiet(snap), err
}

// A store that has told its clock once and then leaves it out does not hand the tokens over to this machine's wall clock: what
// is written in that time ends none for the others.
func TestAWallClockEndsNothingBesideASilentClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other, silent := &laptop{begin: time.Now()}, &laptop{begin: time.Now()}, &atomic.Bool{}
		inner := remoteStore{NewMemoryStore(), other.now, &atomic.Bool{}}
		g := l.open(t, once(func(context.Context, Request) (Token, error) {
			return NewToken("until a time of day", l.wall().Add(time.Hour)), nil
		}),
			WithStore(silentStore{inner, silent}), WithName("n"))
		beside := other.open(t, fails(broken), WithStore(inner), WithName("n"))
		first, err := g.Token(t.Context())
		require.NoError(t, err)
		l.step.Add(int64(2 * time.Hour))
		silent.Store(true)
		time.Sleep(2 * time.Second)
		require.NoError(t, g.Adopt(t.Context(), NewTokenIn("adopted", time.Hour).WithScope("b")))
		time.Sleep(2 * time.Second)
		_, _ = g.Token(t.Context())
		require.NoError(t, g.Clear(t.Context(), Clear{Backoff: true}))
		token, err := beside.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, first.ID(), token.ID())
		silent.Store(false)
		time.Sleep(2 * time.Second)
		token, err = g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, first.ID(), token.ID())
	})
}

func ignoring(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}
