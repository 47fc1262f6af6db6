package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lateAnswers are answers that come after their attempt was given up, with what the next process finds.
var lateAnswers = map[string]struct {
	value  string
	answer error
	finds  Reason
}{
	"a token":       {"late", nil, ReasonCached},
	"a Retry-After": {"", Failed(Failure{StatusCode: 429, Header: map[string][]string{"Retry-After": {"21600"}}}), ReasonRetryAfter},
	"a ban":         {"", Failed(Failure{StatusCode: 403, Message: "your IP address has been banned"}), ReasonBackoff},
}

// What comes after Close is stored for the other processes as long as the store is open, since it is told once.
func TestALateAnswerAfterCloseIsStored(t *testing.T) {
	for name, c := range lateAnswers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := NewMemoryStore()
				g, err := New(func(context.Context, Request) (Token, error) {
					time.Sleep(2 * time.Minute)
					return NewToken(c.value, time.Time{}), c.answer
				}, WithStore(store), WithName("n"))
				require.NoError(t, err)
				_, err = g.Token(t.Context())
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NoError(t, g.Close())
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				other := newTestGuard(t, giveToken("new"), WithStore(store), WithName("n"))
				e, err := other.Explain(t.Context(), Request{})
				require.NoError(t, err)
				assert.Equal(t, c.finds, e.Verdict.Reason, e.Verdict.Detail)
			})
		})
	}
}

// brokenStore is one that its user has closed, or that was never good.
type brokenStore struct {
	Store
	broken atomic.Pointer[func() error]
}

func (s *brokenStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if does := s.broken.Load(); does != nil {
		return Snapshot{}, (*does)()
	}
	return s.Store.Update(ctx, name, fn)
}

// Whatever a store, an observer or a classifier does with a late answer, it does to nobody else: the answer comes on a
// goroutine of the guard's own, on which a panic would end the process.
func TestALateAnswerMeetsWhatPanics(t *testing.T) {
	for how, does := range map[string]func() error{
		"fails":  func() error { return errors.New("the client is closed") },
		"panics": func() error { panic("the client is closed") },
		"ends":   func() error { runtime.Goexit(); return nil },
	} {
		for name, c := range lateAnswers {
			for _, who := range []string{"store", "observer", "classifier", "renewal"} {
				t.Run(fmt.Sprint(who, " ", how, ", ", name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := &brokenStore{Store: NewMemoryStore()}
						var broken atomic.Bool
						slow := func(context.Context) (Token, error) {
							time.Sleep(2 * time.Minute)
							return NewToken(c.value, time.Time{}), c.answer
						}
						fetch := func(ctx context.Context, _ Request) (Token, error) { return slow(ctx) }
						if who == "renewal" {
							fetch = func(context.Context, Request) (Token, error) {
								return NewTokenIn("first", time.Second).WithRefreshToken("refresh", time.Time{}), nil
							}
						}
						misbehave := func() {
							if broken.Load() {
								_ = does()
							}
						}
						opts := []Option{WithStore(store), WithName("n"), WithRenewal(func(ctx context.Context, _ Token) (Token, error) { return slow(ctx) })}
						if who == "observer" || who == "renewal" {
							opts = append(opts, WithObserver(func(Event) { misbehave() }))
						}
						if who == "classifier" {
							opts = append(opts, WithClassifier(func(Failure) Class { misbehave(); return ClassTransient }))
						}
						g, err := New(fetch, opts...)
						require.NoError(t, err)
						_, err = g.Token(t.Context())
						if who == "renewal" {
							require.NoError(t, err)
							time.Sleep(time.Second)
							_, err = g.Token(t.Context())
						}
						require.Error(t, err)
						require.NoError(t, g.Close())
						if who == "store" || who == "renewal" {
							store.broken.Store(&does)
						}
						broken.Store(true)
						time.Sleep(3 * time.Minute)
						synctest.Wait()
					})
				})
			}
		}
	}
}
