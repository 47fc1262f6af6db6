package tokenguard_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// Values of one account that wait for the store, with another further secret in each: the last one has all of them, in one
// process, over two, and whichever is stored first. What a value takes over from an older one gives way.
func TestWaitingValuesWithDifferentSecrets(t *testing.T) {
	for name, opts := range map[string][]tokenguard.Option{
		"plain":     nil,
		"encrypted": {tokenguard.WithEncryption([]byte("0123456789abcdef0123456789abcdef"))},
	} {
		for _, processes := range []int{1, 2} {
			for n := range 4 {
				lost, known := n%2 == 1, n > 1
				t.Run(fmt.Sprint(name, ", processes: ", processes, ", the store takes what it says it did not: ", lost, ", known: ", known), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						u, store := newAccounts(), &countedStore{Store: tokenguard.NewMemoryStore()}
						var mu sync.Mutex
						var said []string
						opts := append([]tokenguard.Option{tokenguard.WithObserver(func(e tokenguard.Event) {
							if e.Kind == tokenguard.EventState {
								mu.Lock()
								defer mu.Unlock()
								said = append(said, e.Text)
							}
						})}, opts...)
						guards := []*tokenguard.Guard{u.open(t, store, opts...), u.open(t, store, opts...)}
						token, err := guards[0].Token(t.Context())
						require.NoError(t, err)
						time.Sleep(time.Minute)
						token = tokenguard.NewTokenIn("before", time.Hour).WithPredecessor(token.ID())
						if known {
							token = token.WithSecret("device", "older").WithSecret("session", "older").WithSecret("csrf", "older")
						}
						require.NoError(t, guards[0].Adopt(t.Context(), token))
						_, err = guards[1].Token(t.Context())
						require.NoError(t, err)
						time.Sleep(time.Minute)
						store.away.Store(!lost)
						store.lost.Store(lost)
						for n, name := range []string{"device", "session", "csrf"} {
							g := guards[n%processes]
							next := tokenguard.NewTokenIn(fmt.Sprint("renewed elsewhere ", n), time.Hour).WithPredecessor(token.ID()).WithSecret(name, "of "+name)
							require.ErrorIs(t, g.Adopt(t.Context(), next), tokenguard.ErrStore)
							time.Sleep(10 * time.Second)
						}
						store.away.Store(false)
						store.lost.Store(false)
						for range 3 {
							for _, g := range guards {
								time.Sleep(2 * time.Second)
								_, err = g.Acquire(t.Context(), tokenguard.Request{Caller: "new"})
								require.NoError(t, err)
								require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Failure: tooFast}))
							}
						}
						for _, g := range guards {
							got, err := g.Token(t.Context())
							require.NoError(t, err)
							for _, name := range []string{"device", "session", "csrf"} {
								assert.Equal(t, "of "+name, got.Secret(name), "%s", got.Value())
							}
							require.NoError(t, g.Close())
						}
						assert.Equal(t, 1, guards[0].Stats().Acquisitions.Day.Used)
						mu.Lock()
						defer mu.Unlock()
						assert.Empty(t, said, "nothing was lost")
					})
				})
			}
		}
	}
}
