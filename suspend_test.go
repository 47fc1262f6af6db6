package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// laptop is a machine that is suspended: its boot clock and the world go on, Go's timers do not.
type laptop struct {
	begin     time.Time
	suspended atomic.Int64
	step      atomic.Int64 // of the wall clock
}

func (l *laptop) suspend(d time.Duration) { l.suspended.Add(int64(d)) }

func (l *laptop) now() time.Time { return time.Now().Add(time.Duration(l.suspended.Load())) }

func (l *laptop) wall() time.Time { return l.now().Add(time.Duration(l.step.Load())) }

func (l *laptop) open(t *testing.T, fetch RequestFunc, opts ...Option) *Guard {
	g := newTestGuard(t, fetch, opts...)
	g.meter.Simulate(l.wall, "boot", func() int64 { return int64(l.now().Sub(l.begin) + 100*time.Hour) })
	return g
}

// remoteStore is a store that a process may be cut off from, with a clock 5 minutes ahead of the machine's, or none.
type remoteStore struct {
	Store
	clock func() time.Time
	away  *atomic.Bool
}

func (s remoteStore) stamp(snap Snapshot) Snapshot {
	if s.clock != nil {
		snap.Now = s.clock().Add(5 * time.Minute)
	}
	return snap
}

var errCutOff = errors.New("no route to the store")

func (s remoteStore) View(ctx context.Context, name string) (Snapshot, error) {
	if s.away.Load() {
		return Snapshot{}, errCutOff
	}
	snap, err := s.Store.View(ctx, name)
	return s.stamp(snap), err
}

func (s remoteStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if s.away.Load() {
		return Snapshot{}, errCutOff
	}
	snap, err := s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) { return fn(s.stamp(snap)) })
	return s.stamp(snap), err
}

// A suspend is time in which a token ends, whatever store the guard has, whether or not that answers after the resume, and
// wherever the wall clock is set then. The second after the resume, for which docs/state.md allows the token, is over.
func TestNoTokenOutlivesASuspend(t *testing.T) {
	for _, kind := range []string{"memory", "file", "store", "store with a clock"} {
		for _, away := range []bool{false, true} {
			for _, fresh := range []bool{false, true} {
				for _, step := range []time.Duration{0, -3 * time.Hour, 3 * time.Hour} {
					if away && (fresh || kind == "memory" || kind == "file") { // a new process that reads nothing knows no token
						continue
					}
					if fresh && kind == "memory" {
						continue
					}
					t.Run(fmt.Sprintf("%s/away %v/fresh %v/step %v", kind, away, fresh, step), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { suspends(t, kind, away, fresh, step) })
					})
				}
			}
		}
	}
}

func suspends(t *testing.T, kind string, away, fresh bool, step time.Duration) {
	l := &laptop{begin: time.Now()}
	cut := &atomic.Bool{}
	var opts []Option
	switch kind {
	case "file":
		opts = []Option{WithStateFile(filepath.Join(t.TempDir(), "state"))}
	case "store":
		opts = []Option{WithStore(remoteStore{NewMemoryStore(), nil, cut}), WithName("n")}
	case "store with a clock":
		opts = []Option{WithStore(remoteStore{NewMemoryStore(), l.now, cut}), WithName("n")}
	}
	var asked, own atomic.Int64 // a call that was left may still be running
	fetch := func(context.Context, Request) (Token, error) {
		if asked.Add(1) > 1 {
			return Token{}, errors.New("503")
		}
		return NewTokenIn("of an hour", time.Hour), nil
	}
	opts = append(opts, WithPersonalToken(func(context.Context) (Token, error) {
		if own.Add(1) > 1 {
			return Token{}, errors.New("not signed in")
		}
		return NewTokenIn("personal", 10*time.Minute), nil
	}))
	g := l.open(t, fetch, opts...)
	_, err := g.Acquire(t.Context(), Request{Kind: Personal})
	require.NoError(t, err)
	time.Sleep(15 * time.Minute)
	before, err := g.Acquire(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, "of an hour", before.Token.Value())

	l.suspend(2 * time.Hour)
	l.step.Add(int64(step))
	cut.Store(away)
	time.Sleep(2 * time.Second)
	if fresh {
		g = l.open(t, fetch, opts...)
	}
	e, err := g.Explain(t.Context(), Request{})
	if err == nil {
		assert.NotEqual(t, ReasonCached, e.Verdict.Reason)
	}
	for _, kind := range []Kind{Anonymous, Personal} {
		_, err = g.Acquire(t.Context(), Request{Kind: kind})
		assert.Error(t, err, kind)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err = g.Wait(ctx, Request{Kind: kind})
		cancel()
		assert.Error(t, err, kind)
	}
	_, err = g.Token(t.Context())
	assert.Error(t, err)
	assert.Zero(t, g.Stats().Cache.Usable)
}

// A token that ends while a call waits for what is user-supplied does not go out any more.
func TestNoTokenOutlivesTheCallForIt(t *testing.T) {
	classifier := func(wait func(context.Context)) Option {
		return WithClassifier(func(Failure) Class { wait(context.Background()); return ClassTransient })
	}
	personal := func(wait func(context.Context)) Option {
		return WithPersonalToken(func(ctx context.Context) (Token, error) { wait(ctx); return Token{}, errors.New("not signed in") })
	}
	slowly := func(context.Context, *laptop) { time.Sleep(time.Second) }
	for name, c := range map[string]struct {
		door func(wait func(context.Context)) Option
		wait func(context.Context, *laptop)
		req  Request
	}{
		"a slow classifier":                      {classifier, slowly, Request{Failure: broken}},
		"a slow personal source":                 {personal, slowly, Request{}},
		"a personal source that hangs":           {personal, func(ctx context.Context, _ *laptop) { <-ctx.Done() }, Request{}},
		"a suspend beside the personal source":   {personal, func(_ context.Context, l *laptop) { l.suspend(time.Hour) }, Request{}},
		"a suspend in the middle of classifying": {classifier, func(_ context.Context, l *laptop) { l.suspend(time.Hour) }, Request{Failure: broken}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, waits, asked := &laptop{begin: time.Now()}, false, 0
				g := l.open(t, func(context.Context, Request) (Token, error) {
					if asked++; asked > 1 {
						return Token{}, errors.New("503")
					}
					return NewTokenIn("of 2 minutes", 2*time.Minute), nil
				}, c.door(func(ctx context.Context) {
					if waits {
						c.wait(ctx, l)
					}
				}))
				_, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				time.Sleep(2*time.Minute - time.Second/2) // it is in its last stretch, and no other may be acquired
				waits = true
				grant, err := g.Acquire(t.Context(), c.req)
				assert.Error(t, err, "%v", grant.Token)
				time.Sleep(time.Minute) // so that what hangs ends
			})
		})
	}
}

// The host pauses the machine in the middle of an acquisition, and its boot clock with it. The wall clock alone tells then
// that the token has ended which would serve in place of the one that was not to be had.
func TestNoTokenOutlivesAPauseOfTheHost(t *testing.T) {
	for name, second := range map[string]func(*laptop) (Token, error){
		"the acquisition fails": func(*laptop) (Token, error) { return Token{}, errors.New("connection reset") },
		"its token has ended":   func(l *laptop) (Token, error) { return NewToken("another", l.wall().Add(-time.Minute)), nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, asked := &laptop{begin: time.Now()}, 0
				g := l.open(t, func(context.Context, Request) (Token, error) {
					if asked++; asked > 1 {
						l.step.Add(int64(time.Hour))
						return second(l)
					}
					return NewToken("of 10 minutes", l.wall().Add(10*time.Minute)), nil
				})
				_, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err)
				time.Sleep(10*time.Minute - 5*time.Second)
				grant, err := g.Acquire(t.Context(), Request{})
				require.Equal(t, 2, asked)
				assert.Error(t, err, "%v", grant.Token)
			})
		})
	}
}

// The host pauses the machine, and calls for another scope go on after the resume. The wall clock alone tells then that the
// personal token has ended, and it goes out for no longer than a second.
func TestAPersonalTokenEndsByTheWallClockBesideOtherCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, asked := &laptop{begin: time.Now()}, 0
		g := l.open(t, giveToken("of an hour"), WithPersonalToken(func(context.Context) (Token, error) {
			if asked++; asked > 1 {
				return Token{}, errors.New("not signed in")
			}
			return NewTokenIn("personal", 30*time.Minute).WithScope("mine"), nil
		}))
		get := func(scope string) string {
			grant, _ := g.Acquire(t.Context(), Request{Scope: scope})
			return grant.Token.Value()
		}
		for range 20 {
			require.Equal(t, "personal", get("mine"))
			require.Equal(t, "of an hour", get("other"))
			time.Sleep(time.Second / 4)
		}
		l.step.Add(int64(31 * time.Minute))
		for range 5 {
			get("other")
			get("mine")
			time.Sleep(time.Second / 4)
		}
		for range 20 {
			require.Equal(t, "of an hour", get("other"))
			require.NotEqual(t, "personal", get("mine"))
			time.Sleep(time.Second / 4)
		}
		require.Equal(t, 2, asked)
	})
}

// A suspend in the middle of an acquisition: its context ends soon after the resume, as its lease has, also by the clock of
// a store.
func TestSuspendEndsTheRequest(t *testing.T) {
	for name, opts := range map[string]func(*laptop) []Option{
		"memory": func(*laptop) []Option { return nil },
		"store with a clock": func(l *laptop) []Option {
			return []Option{WithStore(remoteStore{NewMemoryStore(), l.now, &atomic.Bool{}}), WithName("n")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &laptop{begin: time.Now()}
				g := l.open(t, func(ctx context.Context, _ Request) (Token, error) {
					time.Sleep(time.Second)
					l.suspend(time.Hour)
					<-ctx.Done()
					return Token{}, ctx.Err()
				}, opts(l)...)
				_, err := g.Acquire(t.Context(), Request{})
				require.Error(t, err)
				require.LessOrEqual(t, time.Since(l.begin), 3*time.Second)
			})
		})
	}
}

// The wall clock is set back, and then a new process tells something before it has asked for anything. It goes by the clock
// of the document, as the others do: what it tells is of now.
func TestWhatANewProcessTellsFirstIsOfNow(t *testing.T) {
	for name, c := range map[string]struct {
		tell   func(context.Context, *Guard, Token) error
		served string // to the first process, by its next acquisition; "": it is refused
	}{
		"Report a rejection": {func(ctx context.Context, g *Guard, dead Token) error {
			return g.Report(ctx, Outcome{TokenID: dead.ID(), Failure: unauth})
		}, ""},
		"Report a Retry-After": {func(ctx context.Context, g *Guard, token Token) error {
			wait := Failure{StatusCode: 429, Message: "too many requests", Header: map[string][]string{"Retry-After": {"120"}}}
			if err := g.Report(ctx, Outcome{TokenID: token.ID(), Failure: wait}); err != nil {
				return err
			}
			until, err := g.Paused(ctx, Request{})
			if d := until.Sub(g.meter.Read().Wall); err == nil && d != 2*time.Minute {
				return fmt.Errorf("paused for %v", d)
			}
			return err
		}, "value-1"},
		"Acquire with a rejection": {func(ctx context.Context, g *Guard, dead Token) error {
			if _, err := g.Acquire(ctx, Request{Failing: dead.ID(), Failure: unauth}); err == nil {
				return errors.New("served")
			}
			return nil
		}, ""},
		"Wait with a rejection": {func(ctx context.Context, g *Guard, dead Token) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if _, err := g.Wait(ctx, Request{Failing: dead.ID(), Failure: unauth}); err == nil {
				return errors.New("served")
			}
			return nil
		}, ""},
		"Adopt": {func(ctx context.Context, g *Guard, _ Token) error {
			return g.Adopt(ctx, NewToken("adopted", g.meter.Read().Wall.Add(10*time.Minute)))
		}, "adopted"},
		"Adopt for a lifetime": {func(ctx context.Context, g *Guard, _ Token) error {
			return g.Adopt(ctx, NewTokenIn("adopted", 10*time.Minute))
		}, "adopted"},
		"Report a reset": {func(ctx context.Context, g *Guard, token Token) error {
			spent := quota
			spent.Header = map[string][]string{"X-Ratelimit-Remaining": {"0"}}
			if err := g.Report(ctx, Outcome{TokenID: token.ID(), Failure: spent, Limit: 10, ResetAt: g.meter.Read().Wall.Add(time.Hour)}); err != nil {
				return err
			}
			rec := g.replica.Newest().Doc.Tokens[token.ID()]
			if d := rec.By("").Reset.Sub(g.meter.Read().Now); d != time.Hour {
				return fmt.Errorf("the quota is full again in %v", d)
			}
			return nil
		}, ""},
		"Explain": {func(ctx context.Context, g *Guard, _ Token) error {
			e, err := g.Explain(ctx, Request{Caller: "x", Scope: "b"})
			if d := e.Verdict.RetryAt.Sub(g.meter.Read().Wall); err == nil && d != 3*time.Minute {
				return fmt.Errorf("the limit opens in %v", d)
			}
			return err
		}, "value-1"},
		"Attempts": {func(ctx context.Context, g *Guard, _ Token) error {
			all, err := g.Attempts(ctx)
			if err == nil && (len(all) != 1 || g.meter.Read().Wall.Sub(all[0].Start) != 2*time.Minute) {
				return fmt.Errorf("%v", all)
			}
			return err
		}, "value-1"},
		"Clear": {func(ctx context.Context, g *Guard, _ Token) error {
			return g.Clear(ctx, Clear{Suspicion: "*", Backoff: true, RetryAfter: true})
		}, "value-1"},
		"the personal token": {func(ctx context.Context, g *Guard, _ Token) error {
			own, err := g.Acquire(ctx, Request{Scope: "mine"})
			if err != nil {
				return err
			}
			if d := own.Token.Expiry().Sub(g.meter.Read().Wall); d != 10*time.Minute {
				return fmt.Errorf("it lasts %v", d)
			}
			time.Sleep(time.Minute) // a 401 of the first moment is no rejection
			if err := g.Report(ctx, Outcome{TokenID: own.Token.ID(), Failure: unauth}); err != nil {
				return err
			}
			if _, err := g.Acquire(ctx, Request{Kind: Personal, Scope: "mine"}); err == nil {
				return errors.New("served")
			}
			return nil
		}, "value-1"},
	} {
		for _, kind := range []string{"file", "store", "store with a clock"} {
			for _, step := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, kind, step), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						l, up := &laptop{begin: time.Now()}, &upstream{}
						opts := map[string][]Option{
							"file":               {WithStateFile(filepath.Join(t.TempDir(), "state"))},
							"store":              {WithStore(remoteStore{NewMemoryStore(), nil, &atomic.Bool{}}), WithName("n")},
							"store with a clock": {WithStore(remoteStore{NewMemoryStore(), l.now, &atomic.Bool{}}), WithName("n")},
						}[kind]
						first := l.open(t, up.request, opts...)
						token, err := first.Token(t.Context())
						require.NoError(t, err)
						time.Sleep(2 * time.Minute)
						l.step.Add(int64(step))
						own := WithPersonalToken(func(context.Context) (Token, error) {
							return NewToken("personal", l.wall().Add(10*time.Minute)).WithScope("mine"), nil
						})
						require.NoError(t, c.tell(t.Context(), l.open(t, up.request, append(opts, own)...), token))
						time.Sleep(2 * time.Second)
						now, err := first.Token(t.Context())
						if c.served == "" {
							require.Error(t, err, "%v", now)
						} else {
							require.NoError(t, err)
							require.Equal(t, c.served, now.Value())
						}
					})
				})
			}
		}
	}
}
