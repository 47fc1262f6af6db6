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

// Further secrets that come by different answers of one account, late or beside an adopted value, are all kept, of each name
// the last: also where the answers wait for the store, and in each form in which they are stored.
func TestFurtherSecretsOfSeveralAnswers(t *testing.T) {
	type answer struct {
		after   time.Duration
		refresh string // "": it returns none
		name    string
	}
	for name, c := range map[string]struct {
		answers []answer // to the presentations in their order; the last serves all that follow
		adopts  time.Duration
		want    map[string]string
		refresh string // that is presented at the end
	}{
		"the earlier comes later, and rotates": {[]answer{{90 * time.Second, "R1", "one"}, {time.Minute, "R2", "two"}}, 0,
			map[string]string{"first": "0", "one": "1", "two": "2", "both": "2"}, "R2"},
		"the earlier comes first": {[]answer{{70 * time.Second, "R1", "one"}, {time.Minute, "R2", "two"}}, 0,
			map[string]string{"first": "0", "one": "1", "two": "2", "both": "2"}, "R2"},
		"the later returns no refresh token": {[]answer{{70 * time.Second, "R1", "one"}, {time.Minute, "", "two"}}, 0,
			map[string]string{"first": "0", "one": "1", "two": "2", "both": "2"}, "R1"},
		"none returns a refresh token": {[]answer{{90 * time.Second, "", "one"}, {time.Minute, "", "two"}}, 0,
			map[string]string{"first": "0", "one": "1", "two": "2", "both": "2"}, "R0"},
		"a value is adopted meanwhile": {[]answer{{8 * time.Second, "R1", "one"}}, 5 * time.Second,
			map[string]string{"first": "0", "one": "1", "adopted": "a", "both": "1"}, "R1"},
		"a value is adopted before a late answer": {[]answer{{time.Minute, "R1", "one"}}, 50 * time.Second,
			map[string]string{"first": "0", "one": "1", "adopted": "a", "both": "1"}, "R1"},
	} {
		for form, opts := range map[string][]Option{
			"plain": nil, "encrypted": {WithEncryption([]byte("0123456789abcdef0123456789abcdef"))}, "not kept": {WithoutTokenPersistence()},
		} {
			for _, away := range []bool{false, true} {
				if away && c.adopts != 0 {
					continue // what cannot be stored is not adopted
				}
				t.Run(fmt.Sprint(name, ", ", form, ", store away: ", away), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := &brokenStore{Store: NewMemoryStore()}
						var shown presented
						var done atomic.Bool
						g := newTestGuard(t, func(context.Context, Request) (Token, error) {
							return NewTokenIn("value", 10*time.Minute).WithRefreshToken("R0", time.Time{}).WithSecret("first", "0").WithSecret("both", "0"), nil
						}, append([]Option{WithStore(store), WithName("n"), WithRenewal(func(_ context.Context, old Token) (Token, error) {
							n := shown.add(old.RefreshToken())
							if done.Load() {
								return NewTokenIn("last", time.Hour), nil
							}
							if n > len(c.answers) {
								return Token{}, Failed(Failure{StatusCode: 503})
							}
							a := c.answers[n-1]
							time.Sleep(a.after)
							token := NewTokenIn(fmt.Sprint("renewed ", n), 10*time.Minute).WithSecret(a.name, fmt.Sprint(n)).WithSecret("both", fmt.Sprint(n))
							if a.refresh != "" {
								token = token.WithRefreshToken(a.refresh, time.Time{})
							}
							return token, nil
						})}, opts...)...)
						_, err := g.Token(t.Context())
						require.NoError(t, err)
						time.Sleep(9*time.Minute + 30*time.Second)
						began := time.Now()
						for time.Since(began) < 25*time.Second && c.adopts == 0 { // it is presented twice
							go func() { _, _ = g.Token(context.Background()) }()
							time.Sleep(time.Second)
						}
						if c.adopts != 0 {
							go func() { _, _ = g.Token(context.Background()) }()
							time.Sleep(c.adopts)
							require.NoError(t, g.Adopt(t.Context(), NewTokenIn("value", 10*time.Minute).WithSecret("adopted", "a").WithSecret("both", "a")))
						}
						require.Len(t, shown.list(), len(c.answers))
						if away {
							gone := func() error { return errors.New("away") }
							store.broken.Store(&gone)
						}
						time.Sleep(2 * time.Minute)
						synctest.Wait()
						store.broken.Store(nil)
						require.NoError(t, g.Adopt(t.Context(), NewTokenIn("x", time.Minute).WithScope("z"))) // a commit
						done.Store(true)
						time.Sleep(time.Hour)
						got, err := g.Token(t.Context())
						require.NoError(t, err)
						all := shown.list()
						assert.Equal(t, c.refresh, all[len(all)-1])
						for name, want := range c.want {
							assert.Equal(t, want, got.Secret(name), name)
						}
					})
				})
			}
		}
	}
}
