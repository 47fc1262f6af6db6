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
)

// oddStore does in place of a good one what its functions do, once it is on.
type oddStore struct {
	Store
	ops    atomic.Int64
	on     atomic.Bool
	view   func(ctx context.Context, s Store, name string) (Snapshot, error)
	update func(ctx context.Context, s Store, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error)
	rev    func(ctx context.Context, s Store, name string) (uint64, error)
	watch  func(ctx context.Context) <-chan struct{}
}

func (s *oddStore) View(ctx context.Context, name string) (Snapshot, error) {
	s.ops.Add(1)
	if s.on.Load() && s.view != nil {
		return s.view(ctx, s.Store, name)
	}
	return s.Store.View(ctx, name)
}

func (s *oddStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	s.ops.Add(1)
	if s.on.Load() && s.update != nil {
		return s.update(ctx, s.Store, name, fn)
	}
	return s.Store.Update(ctx, name, fn)
}

func (s *oddStore) Revision(ctx context.Context, name string) (uint64, error) {
	s.ops.Add(1)
	if s.on.Load() && s.rev != nil {
		return s.rev(ctx, s.Store, name)
	}
	snap, err := s.Store.View(ctx, name)
	return snap.Rev, err
}

func (s *oddStore) Watch(ctx context.Context, name string) <-chan struct{} {
	if s.on.Load() && s.watch != nil {
		return s.watch(ctx)
	}
	return s.Store.(Watcher).Watch(ctx, name)
}

// A store may break its promises as it likes: no call goes round and round or waits beyond its time, and no more starts than
// the limits allow.
func TestOddStores(t *testing.T) {
	type upd = func(Snapshot) ([]byte, error)
	var n atomic.Uint64
	for name, open := range map[string]func() *oddStore{
		"fn not called, newest": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) { return s.View(ctx, name) }}
		},
		"fn not called, zero": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) { return Snapshot{}, nil }}
		},
		"twice, first": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				return s.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
					d, err := fn(snap)
					d = append([]byte(nil), d...)
					if len(d) == 0 {
						d = nil
					}
					_, _ = fn(snap)
					return d, err
				})
			}}
		},
		"twice, the second on a later document": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, err := s.Update(ctx, name, fn)
				_, _ = fn(out)
				return out, err
			}}
		},

		"newer rev": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, err := s.Update(ctx, name, fn)
				out.Rev += 5
				return out, err
			}}
		},
		"older rev": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, err := s.Update(ctx, name, fn)
				out.Rev--
				return out, err
			}}
		},
		"rev 0": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, err := s.Update(ctx, name, fn)
				out.Rev = 0
				return out, err
			}}
		},
		"returns zero": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				_, err := s.Update(ctx, name, fn)
				return Snapshot{}, err
			}}
		},
		"returns before": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				b, _ := s.View(ctx, name)
				_, err := s.Update(ctx, name, fn)
				return b, err
			}}
		},
		"swallows fn's error": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, _ := s.Update(ctx, name, fn)
				return out, nil
			}}
		},

		"committed, error": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, _ := s.Update(ctx, name, fn)
				return out, errors.New("lost")
			}}
		},
		"fn called late": func() *oddStore {
			return &oddStore{update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, err := s.Update(ctx, name, fn)
				go func() { time.Sleep(time.Millisecond); _, _ = fn(out) }()
				return out, err
			}}
		},
		"revision goes back": func() *oddStore {
			return &oddStore{rev: func(ctx context.Context, s Store, name string) (uint64, error) {
				snap, err := s.View(ctx, name)
				return snap.Rev - min(snap.Rev, n.Add(1)%7), err
			}}
		},
		"revision constant": func() *oddStore {
			return &oddStore{rev: func(ctx context.Context, s Store, name string) (uint64, error) { return 1, nil }}
		},
		"revision random": func() *oddStore {
			return &oddStore{rev: func(ctx context.Context, s Store, name string) (uint64, error) { return n.Add(1) * 977, nil }}
		},
		"empty body": func() *oddStore {
			return &oddStore{view: func(ctx context.Context, s Store, name string) (Snapshot, error) {
				snap, err := s.View(ctx, name)
				snap.Data = nil
				return snap, err
			}}
		},
		"empty body, growing": func() *oddStore {
			return &oddStore{view: func(ctx context.Context, s Store, name string) (Snapshot, error) {
				snap, err := s.View(ctx, name)
				snap.Data = nil
				snap.Rev += n.Add(1)
				return snap, err
			}}
		},
		"view rev 0 with body": func() *oddStore {
			return &oddStore{view: func(ctx context.Context, s Store, name string) (Snapshot, error) {
				snap, err := s.View(ctx, name)
				snap.Rev = 0
				return snap, err
			}}
		},
		"view goes back": func() *oddStore {
			var old atomic.Pointer[Snapshot]
			return &oddStore{view: func(ctx context.Context, s Store, name string) (Snapshot, error) {
				snap, err := s.View(ctx, name)
				if p := old.Load(); p != nil {
					return *p, err
				}
				old.Store(&snap)
				return snap, err
			}}
		},
		"epoch each time": func() *oddStore {
			return &oddStore{view: func(ctx context.Context, s Store, name string) (Snapshot, error) {
				snap, err := s.View(ctx, name)
				snap.Epoch = fmt.Sprint(n.Add(1))
				return snap, err
			}}
		},
		"epoch each time, update too": func() *oddStore {
			return &oddStore{view: func(ctx context.Context, s Store, name string) (Snapshot, error) {
				snap, err := s.View(ctx, name)
				snap.Epoch = fmt.Sprint(n.Add(1))
				return snap, err
			}, update: func(ctx context.Context, s Store, name string, fn upd) (Snapshot, error) {
				out, err := s.Update(ctx, name, func(snap Snapshot) ([]byte, error) { snap.Epoch = fmt.Sprint(n.Add(1)); return fn(snap) })
				out.Epoch = fmt.Sprint(n.Add(1))
				return out, err
			}}
		},
		"watch closed": func() *oddStore {
			return &oddStore{watch: func(context.Context) <-chan struct{} { c := make(chan struct{}); close(c); return c }}
		},
		"watch nil": func() *oddStore { return &oddStore{watch: func(context.Context) <-chan struct{} { return nil }} },
	} {
		for _, when := range []string{"from the start", "later"} {
			t.Run(name+"/"+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := open()
					s.Store = NewMemoryStore()
					var asked atomic.Int64
					fetch := func(context.Context, Request) (Token, error) {
						time.Sleep(time.Second)
						return NewTokenIn(fmt.Sprint("value ", asked.Add(1)), 2*time.Minute), nil
					}
					g := newTestGuard(t, fetch, WithStore(s), WithName("n"))
					other := newTestGuard(t, fetch, WithStore(s.Store), WithName("n"))
					if when == "later" {
						_, _ = g.Token(t.Context())
					}
					s.on.Store(true)
					do := func(door string, f func(ctx context.Context) error) {
						ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
						defer cancel()
						begin, ops := time.Now(), s.ops.Load()
						err := f(ctx)
						took := time.Since(begin)
						n := s.ops.Load() - ops
						if float64(n) > 70+10*took.Seconds() {
							t.Errorf("%s: %d ops in %v: %v", door, n, took, err)
						}
						if took > 65*time.Second && door != "Wait" {
							t.Errorf("%s took %v", door, took)
						}
					}
					begin := time.Now()
					for i := 0; time.Since(begin) < 8*time.Minute; i++ {
						do("Acquire", func(ctx context.Context) error { _, err := g.Acquire(ctx, Request{}); return err })
						do("Acquire b", func(ctx context.Context) error {
							_, err := g.Acquire(ctx, Request{Scope: "b", Caller: "x", Failing: TokenID("value 1"), Failure: quota})
							return err
						})
						do("Wait", func(ctx context.Context) error { _, err := g.Wait(ctx, Request{Caller: "w"}); return err })
						do("Explain", func(ctx context.Context) error { _, err := g.Explain(ctx, Request{}); return err })
						do("Adopt", func(ctx context.Context) error {
							return g.Adopt(ctx, NewTokenIn(fmt.Sprint("ad ", i), time.Hour).WithScope("c"))
						})
						do("Report", func(ctx context.Context) error {
							return g.Report(ctx, Outcome{TokenID: TokenID(fmt.Sprint("ad ", i)), Failure: unauth})
						})
						do("Clear", func(ctx context.Context) error { return g.Clear(ctx, Clear{Suspicion: "*"}) })
						if i%10 == 0 {
							do("other", func(ctx context.Context) error { _, err := other.Acquire(ctx, Request{Scope: "o"}); return err })
						}
						time.Sleep(20 * time.Second)
					}
					if a := asked.Load(); a > 3 {
						t.Errorf("%d starts", a)
					}
				})
			})
		}
	}
}

// Hints come as the store likes, and mean little. However many there are, those who wait for another process have the store
// read once in 10 ms at most, and miss nothing.
func TestHintsWithoutEnd(t *testing.T) {
	for name, watch := range map[string]func(ctx context.Context) <-chan struct{}{
		"none": func(context.Context) <-chan struct{} { return nil },
		"closed at once": func(context.Context) <-chan struct{} {
			c := make(chan struct{})
			close(c)
			return c
		},
		"without end": func(ctx context.Context) <-chan struct{} {
			c := make(chan struct{}, 64)
			go func() {
				for ctx.Err() == nil {
					select {
					case c <- struct{}{}:
					default:
					}
					time.Sleep(100 * time.Microsecond)
				}
			}()
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &oddStore{Store: NewMemoryStore(), watch: watch}
				s.on.Store(true)
				g := newTestGuard(t, giveToken("own"), WithStore(s), WithName("n"))
				other := newTestGuard(t, func(context.Context, Request) (Token, error) {
					time.Sleep(10 * time.Second)
					return NewTokenIn("of the other", time.Hour), nil
				}, WithStore(s.Store), WithName("n"))
				begin := time.Now()
				go func() { _, _ = other.Token(t.Context()) }()
				synctest.Wait()
				token, err := g.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, "of the other", token.Value())
				assert.LessOrEqual(t, s.ops.Load(), int64(1010), "one in 10 ms")
				assert.Less(t, time.Since(begin), 10500*time.Millisecond)
				time.Sleep(time.Second) // by when nobody watches any more
			})
		})
	}
}
