package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What comes late, or twice, or with a value that is known: of a refresh token the newest alone is presented.

// presented are the refresh tokens that were, in order.
type presented struct {
	mu  sync.Mutex
	all []string
}

// add returns how many there are.
func (p *presented) add(token string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, token)
	return len(p.all)
}

func (p *presented) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}

// losingStore takes what it says that it did not, while it loses answers.
type losingStore struct {
	Store
	lose atomic.Bool
}

func (s *losingStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	snap, err := s.Store.Update(ctx, name, fn)
	if s.lose.Load() {
		return Snapshot{}, errors.New("the connection broke")
	}
	return snap, err
}

// countCuts counts the events that report a wait that was cut.
func countCuts(n *atomic.Int32) Option {
	return WithObserver(func(e Event) {
		if e.Kind == EventState && strings.Contains(e.Text, "cut") {
			n.Add(1)
		}
	})
}

// A late Retry-After beyond the bound is cut to it, and that is an event.
func TestALateRetryAfterIsCutAloud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		g := newTestGuard(t, func(context.Context, Request) (Token, error) {
			time.Sleep(45 * time.Second)
			return Token{}, Failed(Failure{StatusCode: 429, Message: "slow down", Header: map[string][]string{"Retry-After": {fmt.Sprint(400 * 24 * 3600)}}})
		}, countCuts(&n))
		_, err := g.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 31*24*time.Hour, (pausedFor(t, g, Request{}) + time.Hour).Truncate(24*time.Hour))
		assert.Equal(t, int32(1), n.Load(), "cuts told")
	})
}

// Those who are refused after a late ban learn of the ban.
func TestALateRefusalIsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGuard(t, func(context.Context, Request) (Token, error) {
			time.Sleep(45 * time.Second)
			return Token{}, Failed(Failure{StatusCode: 403, Message: "your IP address has been banned"})
		})
		_, err := g.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		_, err = g.Acquire(t.Context(), Request{})
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		assert.NotErrorIs(t, refused.Cause, context.DeadlineExceeded)
		assert.Contains(t, refused.Cause.Error(), "banned")
	})
}

// A late token whose commit was taken, though the store did not say so, is not entered again after it was renewed.
func TestALateTokenIsTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := NewMemoryStore()
		a := &losingStore{Store: inner}
		var shown presented
		n, gone := 1, false
		renew := func(who string) Option {
			return WithRenewal(func(_ context.Context, old Token) (Token, error) {
				shown.add(who + " " + old.RefreshToken())
				if gone {
					return Token{}, ErrIdentityEnded
				}
				n++
				return NewTokenIn(fmt.Sprint("value ", n), 10*time.Minute).WithRefreshToken(fmt.Sprint("refresh ", n), time.Time{}), nil
			})
		}
		first := newTestGuard(t, func(context.Context, Request) (Token, error) {
			time.Sleep(45 * time.Second)
			return NewTokenIn("value 1", 10*time.Minute).WithRefreshToken("refresh 1", time.Time{}), nil
		}, WithStore(a), WithName("n"), WithFreshness(0), renew("A"))
		second := newTestGuard(t, fails(Failure{StatusCode: 503}), WithStore(inner), WithName("n"), WithFreshness(0), renew("B"))
		_, err := first.Token(t.Context())
		require.Error(t, err)
		a.lose.Store(true)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		a.lose.Store(false)
		for range 30 { // B alone
			time.Sleep(time.Minute)
			_, err = second.Token(t.Context())
			require.NoError(t, err)
		}
		_, err = first.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, first.Report(t.Context(), Outcome{TokenID: TokenID(fmt.Sprint("value ", n)), Failure: Failure{StatusCode: 429}}))
		gone = true
		for range 30 {
			time.Sleep(time.Minute)
			_, _ = second.Token(t.Context())
		}
		seen := map[string]bool{}
		for _, s := range shown.list() {
			s = s[2:]
			assert.False(t, seen[s], "%s is presented twice", s)
			seen[s] = true
		}
	})
}

// The refresh token of an unusable answer of another account is not kept.
func TestNoRefreshTokenOfAnotherAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown presented
		g := newTestGuard(t, func(context.Context, Request) (Token, error) {
			return NewTokenIn("mine", time.Hour).WithAccount("me").WithRefreshToken("refresh of mine", time.Time{}), nil
		}, WithRenewal(func(_ context.Context, old Token) (Token, error) {
			shown.add(old.RefreshToken())
			return NewToken("theirs", time.Now().Add(-time.Second)).WithAccount("another").WithRefreshToken("refresh of another", time.Time{}), nil
		}))
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		for range 6 {
			time.Sleep(time.Hour)
			_, _ = g.Token(t.Context())
		}
		assert.NotContains(t, shown.list(), "refresh of another")
	})
}

// The refresh token of an unusable answer is kept also where the account has another value since.
func TestRestOfAnAnswerOfAValueThatMovedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown presented
		g := newTestGuard(t, func(context.Context, Request) (Token, error) {
			return NewTokenIn("one", 10*time.Minute).WithRefreshToken("R1", time.Time{}), nil
		}, WithRenewal(func(_ context.Context, old Token) (Token, error) {
			n := shown.add(old.RefreshToken())
			if n == 1 {
				time.Sleep(5 * time.Second)
				return NewTokenIn("two", 600).WithRefreshToken("R2", time.Time{}), nil // 600 ns
			}
			return NewTokenIn(fmt.Sprint("next ", n), 10*time.Minute).WithRefreshToken(fmt.Sprint("R next ", n), time.Time{}), nil
		}))
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(9*time.Minute + 30*time.Second)
		go func() { _, _ = g.Token(context.Background()) }()
		time.Sleep(time.Second)
		require.NoError(t, g.Adopt(t.Context(), NewTokenIn("slid", 10*time.Minute).WithPredecessor(TokenID("one"))))
		for range 120 {
			time.Sleep(time.Minute)
			_, _ = g.Token(t.Context())
		}
		assert.Equal(t, "R2", shown.list()[1])
	})
}

// A late answer with a rotated refresh token, after a failed renewal and a value that was renewed by the caller.
func TestALateRotationIsKept(t *testing.T) {
	for _, slides := range []bool{false, true} {
		t.Run(fmt.Sprint(slides), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var shown presented
				g := newTestGuard(t, func(context.Context, Request) (Token, error) {
					return NewTokenIn("one", 10*time.Minute).WithRefreshToken("R1", time.Time{}), nil
				}, WithRenewal(func(_ context.Context, old Token) (Token, error) {
					switch shown.add(old.RefreshToken()) {
					case 1:
						time.Sleep(2 * time.Minute)
						return NewTokenIn("two", 10*time.Minute).WithRefreshToken("R2", time.Time{}), nil
					case 2:
						return Token{}, Failed(Failure{StatusCode: 503})
					}
					return NewTokenIn("three", time.Hour), nil
				}))
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(10 * time.Minute)
				_, _ = g.Token(t.Context()) // R1, late
				time.Sleep(30 * time.Second)
				_, _ = g.Token(t.Context()) // R1, 503
				require.Len(t, shown.list(), 2)
				if slides {
					require.NoError(t, g.Adopt(t.Context(), NewTokenIn("slid", 10*time.Minute).WithPredecessor(TokenID("one"))))
				}
				time.Sleep(15 * time.Minute)
				_, _ = g.Token(t.Context())
				assert.Equal(t, []string{"R1", "R1", "R2"}, shown.list())
			})
		})
	}
}

// A known value that is adopted again, alone, keeps its refresh token and its further secrets.
func TestAKnownValueKeepsItsSecrets(t *testing.T) {
	for _, private := range []bool{false, true} {
		for _, scope := range []string{"", "other"} {
			t.Run(fmt.Sprint(private, scope), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var shown presented
					opts := []Option{WithRenewal(func(_ context.Context, old Token) (Token, error) {
						n := shown.add(old.RefreshToken() + "/" + old.Secret("device"))
						return NewTokenIn(fmt.Sprint("w", n), time.Hour).WithRefreshToken(fmt.Sprint("R", 1+n), time.Time{}), nil
					})}
					if private {
						opts = append(opts, WithoutTokenPersistence())
					}
					g := newTestGuard(t, func(context.Context, Request) (Token, error) {
						return NewTokenIn("v", time.Hour).WithRefreshToken("R1", time.Time{}).WithSecret("device", "d"), nil
					}, opts...)
					_, err := g.Token(t.Context())
					require.NoError(t, err)
					time.Sleep(time.Minute)
					require.NoError(t, g.Adopt(t.Context(), NewTokenIn("v", 59*time.Minute).WithScope(scope)))
					got, err := g.Token(t.Context())
					require.NoError(t, err)
					assert.Equal(t, "d", got.Secret("device"))
					time.Sleep(time.Hour)
					_, err = g.Token(t.Context())
					assert.NoError(t, err)
					assert.Equal(t, []string{"R1/d"}, shown.list())
				})
			})
		}
	}
}

// A late answer with a value that is known does not return an older refresh token.
func TestALateAnswerWithAKnownValue(t *testing.T) {
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprint(private), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var shown presented
				opts := []Option{WithRenewal(func(_ context.Context, old Token) (Token, error) {
					n := shown.add(old.RefreshToken())
					if n == 1 {
						time.Sleep(2 * time.Minute)
					}
					return NewTokenIn("v", time.Hour).WithRefreshToken(fmt.Sprint("next ", n), time.Time{}), nil
				})}
				if private {
					opts = append(opts, WithoutTokenPersistence())
				}
				g := newTestGuard(t, func(context.Context, Request) (Token, error) {
					return NewTokenIn("v", time.Hour).WithRefreshToken("R", time.Time{}), nil
				}, opts...)
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(time.Hour)
				_, _ = g.Token(t.Context())
				time.Sleep(30 * time.Second)
				_, err = g.Token(t.Context())
				require.NoError(t, err)
				time.Sleep(5 * time.Minute)
				require.NoError(t, g.Adopt(t.Context(), NewTokenIn("x", time.Minute).WithScope("z"))) // another commit
				time.Sleep(time.Hour)
				_, _ = g.Token(t.Context())
				assert.Equal(t, []string{"R", "R", "next 2"}, shown.list())
			})
		})
	}
}
