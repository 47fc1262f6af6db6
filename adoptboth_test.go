package tokenguard_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// refusingStore runs the first function of each two on what it last took but one, refuses that, and runs it again, as a
// store does whose compare-and-set fails.
type refusingStore struct {
	tokenguard.Store
	older atomic.Pointer[tokenguard.Snapshot]
	newer atomic.Pointer[tokenguard.Snapshot]
}

func (s *refusingStore) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if older := s.older.Load(); older != nil {
		if _, err := fn(*older); err != nil {
			return tokenguard.Snapshot{}, err
		}
	}
	snap, err := s.Store.Update(ctx, name, fn)
	if err == nil {
		s.older.Store(s.newer.Swap(&snap))
	}
	return snap, err
}

// bothStores are the kinds of stores on which two processes meet.
func bothStores(t *testing.T) map[string]func() []tokenguard.Option {
	file := t.TempDir() + "/state"
	memory, refusing := tokenguard.NewMemoryStore(), &refusingStore{Store: tokenguard.NewMemoryStore()}
	return map[string]func() []tokenguard.Option{
		"memory":   func() []tokenguard.Option { return []tokenguard.Option{tokenguard.WithStore(memory)} },
		"file":     func() []tokenguard.Option { return []tokenguard.Option{tokenguard.WithStateFile(file)} },
		"refusing": func() []tokenguard.Option { return []tokenguard.Option{tokenguard.WithStore(refusing)} },
	}
}

// A value that two processes adopt at one instant, neither of which has seen the other's commit, was renewed once; a token
// was acquired once. Also with further secrets, in the clear and encrypted, which look different each time.
func TestTwoProcessesAdoptTheSame(t *testing.T) {
	for name, change := range map[string]func(tokenguard.Token) tokenguard.Token{
		"value":         func(t tokenguard.Token) tokenguard.Token { return t },
		"secret":        func(t tokenguard.Token) tokenguard.Token { return t.WithSecret("device", "a further secret") },
		"refresh token": func(t tokenguard.Token) tokenguard.Token { return t.WithRefreshToken("rotated elsewhere", time.Time{}) },
		"all": func(t tokenguard.Token) tokenguard.Token {
			return t.WithSecret("device", "a further secret").WithRefreshToken("rotated elsewhere", time.Time{})
		},
	} {
		for _, encrypted := range []bool{false, true} {
			for kind, store := range bothStores(t) {
				t.Run(fmt.Sprint(name, ", encrypted: ", encrypted, ", ", kind), func(t *testing.T) {
					u := newAccounts()
					open := func() *tokenguard.Guard {
						opts := append(store(), tokenguard.WithName("guests"), tokenguard.WithRenewal(u.renew), tokenguard.WithFreshness(time.Minute))
						if encrypted {
							opts = append(opts, tokenguard.WithEncryption([]byte("0123456789abcdef0123456789abcdef")))
						}
						g, err := tokenguard.New(u.signUp, opts...)
						require.NoError(t, err)
						return g
					}
					g, other := open(), open()
					token, err := g.Token(t.Context())
					require.NoError(t, err)
					got, err := other.Token(t.Context())
					require.NoError(t, err)
					require.Equal(t, token.ID(), got.ID())
					next := change(tokenguard.NewTokenIn("renewed elsewhere", time.Hour).WithPredecessor(token.ID()))
					require.NoError(t, g.Adopt(t.Context(), next))
					require.NoError(t, other.Adopt(t.Context(), next))
					alone := tokenguard.NewTokenIn("acquired elsewhere", time.Hour).WithScope("b")
					require.NoError(t, g.Adopt(t.Context(), alone))
					require.NoError(t, other.Adopt(t.Context(), alone))
					for _, p := range []*tokenguard.Guard{g, other} {
						got, err := p.Token(t.Context())
						require.NoError(t, err)
						assert.Equal(t, next.Value(), got.Value())
						assert.Equal(t, next.Secret("device"), got.Secret("device"))
					}
					require.NoError(t, g.Close())
					require.NoError(t, other.Close())
					last := open()
					_, err = last.Token(t.Context())
					require.NoError(t, err)
					stats := last.Stats()
					assert.EqualValues(t, 1, stats.Renewals.Succeeded)
					assert.Equal(t, 2, stats.Acquisitions.Day.Used, "one of each scope")
					require.NoError(t, last.Close())
				})
			}
		}
	}
}
