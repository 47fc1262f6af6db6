package tokenguard_test

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

	"github.com/tokenguard/tokenguard"
)

// countedStore counts commits, and can fail.
type countedStore struct {
	tokenguard.Store
	commits atomic.Int64
	away    atomic.Bool
	failing atomic.Int64 // so many commits fail
	lost    atomic.Bool  // it takes what it says that it did not
}

func (s *countedStore) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if s.away.Load() || s.failing.Add(-1) >= 0 {
		return tokenguard.Snapshot{}, errors.New("the store is away")
	}
	snap, err := s.Store.Update(ctx, name, func(snap tokenguard.Snapshot) ([]byte, error) {
		data, err := fn(snap)
		if data != nil && err == nil {
			s.commits.Add(1)
		}
		return data, err
	})
	if s.lost.Load() {
		return tokenguard.Snapshot{}, errors.New("the answer of the store was lost")
	}
	return snap, err
}

// adopting hands in so many successors of the token, each of the one before, and returns the last.
func adopting(t *testing.T, g *tokenguard.Guard, token tokenguard.Token, from, to int) tokenguard.Token {
	t.Helper()
	for n := from; n < to; n++ {
		next := tokenguard.NewTokenIn(fmt.Sprint("renewed elsewhere ", n), time.Hour).WithPredecessor(token.ID())
		require.NoError(t, g.Adopt(t.Context(), next))
		got, err := g.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, next.Value(), got.Value(), "it is handed out at once")
		require.Equal(t, token.Identity(), got.Identity(), "%d", n)
		token = got
	}
	return token
}

// However many values of an account are renewed elsewhere, one commit a second stores them, and the last one wins.
func TestSuccessorsAreCommittedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
		g, other := u.open(t, store), u.open(t, store)
		defer func() { assert.NoError(t, g.Close()); assert.NoError(t, other.Close()) }()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		identity := token.Identity()
		time.Sleep(time.Minute)
		store.commits.Store(0)
		for second := range 5 {
			token = adopting(t, g, token, 20*second, 20*(second+1))
			time.Sleep(time.Second + time.Millisecond)
		}
		assert.LessOrEqual(t, store.commits.Load(), int64(6))
		assert.Equal(t, identity, token.Identity())
		time.Sleep(time.Second)
		got, err := other.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, token.Value(), got.Value(), "also where nobody calls any more")
		assert.Equal(t, identity, got.Identity())
		assert.Equal(t, 1, g.Stats().Acquisitions.Day.Used)
		assert.Equal(t, 1, u.signups)
		require.NoError(t, other.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
		store.commits.Store(0)
		time.Sleep(time.Minute)
		assert.Zero(t, store.commits.Load(), "nothing runs at rest")
	})
}

// What waits is stored by Close, on either kind of store.
func TestSuccessorsThatWaitSurviveClose(t *testing.T) {
	for name, store := range map[string][]tokenguard.Option{
		"memory": {tokenguard.WithStore(tokenguard.NewMemoryStore()), tokenguard.WithName("guests")},
		"file":   {tokenguard.WithStateFile(t.TempDir() + "/state"), tokenguard.WithName("guests")},
	} {
		t.Run(name, func(t *testing.T) {
			u := newAccounts()
			process := func() *tokenguard.Guard {
				g, err := tokenguard.New(u.signUp, append([]tokenguard.Option{tokenguard.WithRenewal(u.renew)}, store...)...)
				require.NoError(t, err)
				return g
			}
			g := process()
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			token = adopting(t, g, token, 0, 20)
			require.NoError(t, g.Close())
			g = process()
			defer func() { assert.NoError(t, g.Close()) }()
			got, err := g.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, token.Value(), got.Value())
			assert.Equal(t, token.Identity(), got.Identity())
			assert.Equal(t, 1, u.signups)
		})
	}
}

// Where the store is away, a successor counts in this process at once and is stored once the store is back.
func TestSuccessorsWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
		g, other := u.open(t, store), u.open(t, store.Store)
		defer func() { assert.NoError(t, g.Close()); assert.NoError(t, other.Close()) }()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		store.away.Store(true)
		for n := range 5 {
			next := tokenguard.NewTokenIn(fmt.Sprint("renewed elsewhere ", n), time.Hour).WithPredecessor(token.ID())
			require.ErrorIs(t, g.Adopt(t.Context(), next), tokenguard.ErrStore)
			token, err = g.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, next.Value(), token.Value())
			time.Sleep(time.Duration(n) * time.Second)
		}
		require.ErrorIs(t, g.Adopt(t.Context(), tokenguard.NewTokenIn("of no account", time.Hour)), tokenguard.ErrStore, "a start that is not charged is not taken in")
		got, err := other.Token(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, token.Value(), got.Value())
		require.NoError(t, other.Adopt(t.Context(), tokenguard.NewTokenIn("of another key", time.Hour).WithScope("other"))) // a document without them
		store.away.Store(false)
		time.Sleep(time.Second)
		_, err = g.Acquire(t.Context(), tokenguard.Request{Caller: "new"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		got, err = other.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, token.Value(), got.Value())
		assert.Equal(t, token.Identity(), got.Identity())
		assert.Equal(t, 2, g.Stats().Acquisitions.Day.Used, "the sign-up, and the token of the other key")

		renewed := g.Stats().Renewals.Succeeded
		store.lost.Store(true)
		for n := range 2 {
			next := tokenguard.NewTokenIn(fmt.Sprint("stored without a word ", n), time.Hour).WithPredecessor(token.ID())
			require.ErrorIs(t, g.Adopt(t.Context(), next), tokenguard.ErrStore)
			token, err = g.Token(t.Context())
			require.NoError(t, err)
		}
		store.lost.Store(false)
		time.Sleep(time.Second)
		_, err = g.Acquire(t.Context(), tokenguard.Request{Caller: "new"})
		require.NoError(t, err)
		got, err = other.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, token.Value(), got.Value())
		assert.Equal(t, renewed+2, g.Stats().Renewals.Succeeded, "each counts once")
	})
}

// A refresh token that one of several waiting adoptions brings is stored, though those around it leave theirs out.
func TestRefreshTokensOfWaitingAdoptionsAreStored(t *testing.T) {
	for _, away := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
			g := u.open(t, store)
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Minute)
			store.away.Store(away)
			for n, refresh := range []string{"", "", "rotated once", "", "rotated twice", ""} {
				next := tokenguard.NewTokenIn(fmt.Sprint("renewed elsewhere ", n), time.Hour).WithPredecessor(token.ID())
				if refresh != "" {
					next = next.WithRefreshToken(refresh, time.Time{})
				}
				if err := g.Adopt(t.Context(), next); away {
					require.ErrorIs(t, err, tokenguard.ErrStore)
				} else {
					require.NoError(t, err)
				}
				token, err = g.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, next.Value(), token.Value())
			}
			other := u.open(t, store.Store)
			require.NoError(t, other.Adopt(t.Context(), tokenguard.NewTokenIn("of another key", time.Hour).WithScope("other"))) // a document without them
			require.NoError(t, other.Close())
			store.away.Store(false)
			require.NoError(t, g.Close())

			var presented string
			next, err := tokenguard.New(u.signUp, tokenguard.WithStore(store.Store), tokenguard.WithName("guests"), tokenguard.WithRenewal(func(_ context.Context, old tokenguard.Token) (tokenguard.Token, error) {
				presented = old.RefreshToken()
				return tokenguard.NewTokenIn("renewed here", time.Hour), nil
			}))
			require.NoError(t, err)
			got, err := next.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, token.Value(), got.Value())
			time.Sleep(58 * time.Minute)
			_, err = next.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, "rotated twice", presented)
			require.NoError(t, next.Close())
		})
	}
}

// A token of another account is no successor, and takes nothing over from the one that it names.
func TestTokenOfAnotherAccountIsNoSuccessor(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.NoError(t, g.Adopt(t.Context(), tokenguard.NewTokenIn("of another account", time.Hour).WithPredecessor(token.ID()).WithAccount("another")))
		assert.Equal(t, 2, g.Stats().Acquisitions.Day.Used, "which is charged")
		got, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "of another account", got.Value())
		assert.NotEqual(t, token.Identity(), got.Identity())
	})
}

// A value that is adopted once more has not been renewed once more, however often it is said, and in whichever process.
func TestTheSameSuccessorCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
		g, other := u.open(t, store), u.open(t, store)
		defer func() { assert.NoError(t, g.Close()); assert.NoError(t, other.Close()) }()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		succeeded := func() uint64 {
			time.Sleep(2 * time.Second) // what is paced is stored, and the other process has seen it
			require.Equal(t, g.Stats().Renewals.Succeeded, other.Stats().Renewals.Succeeded)
			return g.Stats().Renewals.Succeeded
		}
		next := tokenguard.NewTokenIn("renewed elsewhere", time.Hour).WithPredecessor(token.ID())
		require.NoError(t, g.Adopt(t.Context(), next))
		require.NoError(t, g.Adopt(t.Context(), next), "at once")
		require.NoError(t, other.Adopt(t.Context(), next))
		time.Sleep(300 * time.Millisecond)
		again := tokenguard.NewTokenIn("renewed elsewhere", time.Hour-300*time.Millisecond).WithPredecessor(token.ID())
		require.NoError(t, g.Adopt(t.Context(), again))
		assert.EqualValues(t, 1, succeeded())
		commits := store.commits.Load()
		require.NoError(t, g.Adopt(t.Context(), next), "seconds later")
		assert.EqualValues(t, 1, succeeded())
		assert.Equal(t, commits, store.commits.Load(), "nor is it stored again")

		require.NoError(t, g.Adopt(t.Context(), next.WithSecret("device", "a further secret")))
		assert.EqualValues(t, 1, succeeded(), "what is new is taken")
		got, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a further secret", got.Secret("device"))
		time.Sleep(10 * time.Minute)
		require.NoError(t, g.Adopt(t.Context(), tokenguard.NewTokenIn("renewed elsewhere", time.Hour).WithPredecessor(token.ID())))
		assert.EqualValues(t, 2, succeeded(), "a session that slides")
		got, err = g.Token(t.Context())
		require.NoError(t, err)
		assert.Greater(t, time.Until(got.Expiry()), 59*time.Minute)
		assert.Equal(t, 1, u.signups)
	})
}

// A further secret that waits for its commit is stored, also if another process commits in between.
func TestASecretThatWaitsIsNotLostToAnotherCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
		g, other := u.open(t, store), u.open(t, store)
		defer func() { assert.NoError(t, g.Close()); assert.NoError(t, other.Close()) }()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		next := tokenguard.NewTokenIn("renewed elsewhere", time.Hour).WithPredecessor(token.ID())
		require.NoError(t, g.Adopt(t.Context(), next))
		commits := store.commits.Load()
		require.NoError(t, g.Adopt(t.Context(), next.WithSecret("device", "a further secret")))
		require.Equal(t, commits, store.commits.Load(), "it waits")
		require.NoError(t, other.Report(t.Context(), tokenguard.Outcome{TokenID: next.ID(), Failure: tooFast}))
		require.Greater(t, store.commits.Load(), commits)
		time.Sleep(2 * time.Second)
		for _, p := range []*tokenguard.Guard{g, other} {
			got, err := p.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "a further secret", got.Secret("device"))
		}
	})
}

// A value that waits for its commit while another process brings the account's next refresh token keeps its place: it is
// taken in with that one.
func TestASuccessorThatWaitsIsNotLostToANewRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
		g, other := u.open(t, store), u.open(t, store)
		defer func() { assert.NoError(t, g.Close()); assert.NoError(t, other.Close()) }()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		_, err = other.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		token = adopting(t, g, token, 0, 2) // the second waits
		require.NoError(t, other.Adopt(t.Context(), tokenguard.NewTokenIn("rotated elsewhere", time.Hour).WithRefreshToken("refresh token of elsewhere", time.Time{}).WithPredecessor(tokenguard.TokenID("renewed elsewhere 0"))))
		u.live["refresh token of elsewhere"] = "account 1"
		time.Sleep(3 * time.Second)
		for _, p := range []*tokenguard.Guard{g, other} {
			got, err := p.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, token.Value(), got.Value())
			assert.Equal(t, token.Identity(), got.Identity())
		}
		time.Sleep(time.Hour)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, u.shown["refresh token of elsewhere"], "which renews it")
		assert.Equal(t, 1, u.signups)
	})
}

// A value that is given again with another further secret is handed out with that one, in every process and however it is
// stored: no refresh token tells the two apart.
func TestTheSameValueWithAnotherSecret(t *testing.T) {
	for name, opts := range map[string][]tokenguard.Option{
		"plain":     nil,
		"encrypted": {tokenguard.WithEncryption([]byte("0123456789abcdef0123456789abcdef"))},
		"not kept":  {tokenguard.WithoutTokenPersistence()},
	} {
		for _, refresh := range []string{"", "what renews the guest"} {
			t.Run(fmt.Sprint(name, ", a refresh token: ", refresh != ""), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, cookie := tokenguard.NewMemoryStore(), "the first"
					issue := func() tokenguard.Token {
						token := tokenguard.NewTokenIn("value of a guest", time.Hour).WithSecret("cookie", cookie)
						if refresh != "" {
							token = token.WithRefreshToken(refresh, time.Time{})
						}
						return token
					}
					process := func() *tokenguard.Guard {
						g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return issue(), nil },
							append([]tokenguard.Option{tokenguard.WithStore(store), tokenguard.WithName("guests"), tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) { return issue(), nil })}, opts...)...)
						require.NoError(t, err)
						return g
					}
					g, other := process(), process()
					defer func() { assert.NoError(t, g.Close()); assert.NoError(t, other.Close()) }()
					holders := []*tokenguard.Guard{g, other}
					if name == "not kept" {
						holders = holders[:1]
					}
					has := func(secret string) {
						t.Helper()
						for _, p := range holders {
							got, err := p.Token(t.Context())
							require.NoError(t, err)
							assert.Equal(t, secret, got.Secret("cookie"))
						}
					}
					has("the first")
					if refresh != "" {
						time.Sleep(time.Minute)
						cookie = "adopted"
						require.NoError(t, g.Adopt(t.Context(), issue().WithPredecessor(tokenguard.TokenID("value of a guest"))))
						time.Sleep(2 * time.Second)
						has("adopted")
					}
					cookie = "adopted once more"
					require.NoError(t, g.Adopt(t.Context(), issue()))
					time.Sleep(2 * time.Second)
					has("adopted once more")
					time.Sleep(time.Hour)
					cookie = "acquired or renewed"
					has("acquired or renewed")
				})
			})
		}
	}
}

// A token that is adopted again is not charged again. It serves the other scope as well, and until the later of its ends.
func TestAdoptOfAKnownToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := tokenguard.NewMemoryStore()
		open := func() *tokenguard.Guard {
			g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
				return tokenguard.Token{}, errors.New("nobody is to ask")
			}, tokenguard.WithStore(store), tokenguard.WithName("shared"), tokenguard.WithFreshness(0))
			require.NoError(t, err)
			return g
		}
		g, other := open(), open()
		defer g.Close()
		defer other.Close()
		began := time.Now()
		until := func(of string, want time.Duration) {
			t.Helper()
			for _, g := range []*tokenguard.Guard{g, other} {
				grant, err := g.Acquire(t.Context(), tokenguard.Request{Scope: of})
				require.NoError(t, err)
				assert.Equal(t, "value", grant.Token.Value())
				assert.Equal(t, want, grant.Token.Expiry().Sub(began))
			}
		}
		require.NoError(t, g.Adopt(t.Context(), tokenguard.NewTokenIn("value", 10*time.Minute)))
		until("", 10*time.Minute)
		require.NoError(t, other.Adopt(t.Context(), tokenguard.NewToken("value", began.Add(10*time.Minute)).WithScope("b")))
		until("b", 10*time.Minute)
		time.Sleep(5 * time.Minute)
		require.NoError(t, other.Adopt(t.Context(), tokenguard.NewTokenIn("value", 20*time.Minute)))
		until("", 25*time.Minute)
		until("b", 25*time.Minute)
		require.NoError(t, g.Adopt(t.Context(), tokenguard.NewTokenIn("value", time.Minute)), "an earlier end is no news")
		until("", 25*time.Minute)
		time.Sleep(15 * time.Minute)
		until("b", 25*time.Minute)
		time.Sleep(time.Hour)
		require.NoError(t, g.Adopt(t.Context(), tokenguard.NewToken("value", began.Add(100*time.Minute))))
		until("", 100*time.Minute)
		attempts, err := g.Attempts(t.Context())
		require.NoError(t, err)
		assert.Len(t, attempts, 1, "the upstream was asked once")
	})
}
