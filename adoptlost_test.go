package tokenguard_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// What becomes of a value that waits for its commit while another process changes its account, the log says, once; and
// where nothing is lost it says nothing. Also if Close stores it.
func TestWhatBecomesOfASuccessorThatWaits(t *testing.T) {
	successor := func(of tokenguard.Token, value string) tokenguard.Token {
		return tokenguard.NewTokenIn(value, time.Hour).WithPredecessor(of.ID())
	}
	ours := func(t tokenguard.Token) tokenguard.Token { return t }
	secret := func(t tokenguard.Token) tokenguard.Token { return t.WithSecret("device", "a further secret") }
	rotate := func(t *testing.T, g *tokenguard.Guard, first tokenguard.Token) {
		require.NoError(t, g.Adopt(t.Context(), successor(first, "rotated elsewhere").WithRefreshToken("refresh token of elsewhere", time.Time{})))
	}
	for name, c := range map[string]struct {
		waits     func(tokenguard.Token) tokenguard.Token
		meanwhile func(*testing.T, *tokenguard.Guard, tokenguard.Token)
		said      string // "": nothing
		handed    string
		starts    int
	}{
		"stored":            {secret, func(*testing.T, *tokenguard.Guard, tokenguard.Token) {}, "", "it waits", 1},
		"stale":             {secret, rotate, "was not stored", "rotated elsewhere", 1},
		"stale, no secrets": {ours, rotate, "", "it waits", 1},
		"stale, with its own refresh token": {func(t tokenguard.Token) tokenguard.Token {
			return secret(t).WithRefreshToken("refresh token of ours", time.Time{})
		}, rotate, "", "it waits", 1},
		"cleared": {secret, func(t *testing.T, g *tokenguard.Guard, first tokenguard.Token) {
			require.NoError(t, g.Clear(t.Context(), tokenguard.Clear{Identity: first.Identity()}))
		}, "is charged as an acquisition", "it waits", 2},
		"cleared, with its own refresh token": {func(t tokenguard.Token) tokenguard.Token {
			return secret(t).WithRefreshToken("refresh token of ours", time.Time{})
		}, func(t *testing.T, g *tokenguard.Guard, first tokenguard.Token) {
			require.NoError(t, g.Clear(t.Context(), tokenguard.Clear{Identity: first.Identity()}))
		}, "is charged as an acquisition:", "it waits", 2},
		"another account, with its own refresh token": {func(t tokenguard.Token) tokenguard.Token {
			return t.WithAccount("ours").WithRefreshToken("refresh token of ours", time.Time{})
		}, func(t *testing.T, g *tokenguard.Guard, first tokenguard.Token) {
			require.NoError(t, g.Adopt(t.Context(), successor(first, "named elsewhere").WithAccount("theirs")))
		}, "is charged as an acquisition:", "it waits", 2},
		"another account": {func(t tokenguard.Token) tokenguard.Token { return t.WithAccount("ours") }, func(t *testing.T, g *tokenguard.Guard, first tokenguard.Token) {
			require.NoError(t, g.Adopt(t.Context(), successor(first, "named elsewhere").WithAccount("theirs")))
		}, "is charged as an acquisition", "it waits", 2},
	} {
		for n := range 4 {
			closes, encrypted := n%2 == 1, n > 1
			t.Run(fmt.Sprint(name, ", Close: ", closes, ", encrypted: ", encrypted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := tokenguard.NewMemoryStore()
					var mu sync.Mutex
					var said []string
					open := func(opts ...tokenguard.Option) *tokenguard.Guard {
						if encrypted {
							opts = append(opts, tokenguard.WithEncryption([]byte("0123456789abcdef0123456789abcdef")))
						}
						g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
							return tokenguard.NewTokenIn("the first", time.Hour).WithRefreshToken("the first refresh token", time.Time{}), nil
						}, append(opts, tokenguard.WithStore(store), tokenguard.WithName("guests"), tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
							return tokenguard.Token{}, tokenguard.Failed(serverDown)
						}))...)
						require.NoError(t, err)
						return g
					}
					g, other := open(tokenguard.WithObserver(func(e tokenguard.Event) {
						if e.Kind == tokenguard.EventState {
							mu.Lock()
							defer mu.Unlock()
							said = append(said, e.Text)
						}
					})), open()
					first, err := g.Token(t.Context())
					require.NoError(t, err)
					_, err = other.Token(t.Context())
					require.NoError(t, err)
					time.Sleep(time.Minute)
					require.NoError(t, g.Adopt(t.Context(), successor(first, "committed at once")))
					waiting := c.waits(successor(tokenguard.NewTokenIn("committed at once", time.Hour), "it waits"))
					require.NoError(t, g.Adopt(t.Context(), waiting))
					got, err := g.Token(t.Context())
					require.NoError(t, err)
					require.Equal(t, "it waits", got.Value(), "handed out at once")
					time.Sleep(500 * time.Millisecond)
					c.meanwhile(t, other, first)
					if !closes {
						time.Sleep(5 * time.Second)
					}
					require.NoError(t, g.Close())
					time.Sleep(5 * time.Second)

					mu.Lock()
					defer mu.Unlock()
					if c.said == "" {
						assert.Empty(t, said)
					} else if assert.Len(t, said, 1) {
						assert.Contains(t, said[0], c.said)
						assert.Contains(t, said[0], waiting.ID())
						assert.Contains(t, said[0], first.Identity())
					}
					got, err = other.Token(t.Context())
					require.NoError(t, err)
					assert.Equal(t, c.handed, got.Value())
					if c.handed == "it waits" {
						assert.Equal(t, waiting.Secret("device"), got.Secret("device"))
					}
					if c.starts == 2 { // its own refresh token is kept, and no other taken over
						assert.Equal(t, waiting.RefreshToken() != "", got.Identity() != "")
						assert.NotEqual(t, first.Identity(), got.Identity())
					}
					assert.Equal(t, c.starts, other.Stats().Acquisitions.Day.Used)
					require.NoError(t, other.Close())
				})
			})
		}
	}
}
