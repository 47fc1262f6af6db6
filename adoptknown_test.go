package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// adopters are two processes on one store that sign up nowhere, however their values are kept; each notes which refresh
// token it presents.
func adopters(t *testing.T, each func(t *testing.T, a, b *Guard, shown *presented)) {
	for name, opts := range map[string][]Option{
		"plain":     nil,
		"encrypted": {WithEncryption([]byte("0123456789abcdef0123456789abcdef"))},
		"not kept":  {WithoutTokenPersistence()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var shown presented
				store := NewMemoryStore()
				open := func() *Guard {
					return newTestGuard(t, func(context.Context, Request) (Token, error) {
						shown.add("a sign-up")
						return Token{}, errors.New("nobody is to ask")
					}, append([]Option{WithStore(store), WithName("n"), WithFreshness(0), WithRenewal(func(_ context.Context, old Token) (Token, error) {
						n := shown.add(old.RefreshToken() + " " + old.Secret("device") + old.Secret("cookie"))
						return NewTokenIn(fmt.Sprint("renewed ", n), time.Hour).WithRefreshToken(fmt.Sprint("next ", n), time.Time{}), nil
					})}, opts...)...)
				}
				a, b := open(), open()
				if name == "not kept" { // what a process adopts, it alone knows
					b = a
				}
				each(t, a, b, &shown)
			})
		})
	}
}

func mustHave(t *testing.T, g *Guard, value, device, cookie string) {
	t.Helper()
	got, err := g.Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{value, device, cookie}, []string{got.Value(), got.Secret("device"), got.Secret("cookie")})
}

// What is adopted of a value that is known is taken, and what is left out stays: further secrets, and a refresh token, which
// renews it then.
func TestAdoptBringsWhatAKnownValueLacks(t *testing.T) {
	adopters(t, func(t *testing.T, a, b *Guard, shown *presented) {
		v := NewTokenIn("v", time.Hour)
		for _, step := range []struct {
			by             *Guard
			token          Token
			device, cookie string
		}{
			{a, v, "", ""},
			{b, v.WithSecret("device", "d"), "d", ""},
			{a, v.WithSecret("cookie", "c"), "d", "c"},
			{a, v, "d", "c"},
			{b, v.WithSecret("cookie", "c2"), "d", "c2"},
			{b, v.WithRefreshToken("R1", time.Time{}), "d", "c2"},
			{a, v, "d", "c2"},
			{a, v.WithRefreshToken("R2", time.Time{}).WithSecret("device", "d2"), "d2", "c2"},
		} {
			require.NoError(t, step.by.Adopt(t.Context(), step.token))
			for range 2 {
				mustHave(t, a, "v", step.device, step.cookie)
				mustHave(t, b, "v", step.device, step.cookie)
				time.Sleep(time.Minute)
			}
		}
		time.Sleep(time.Hour)
		mustHave(t, b, "renewed 1", "d2", "c2")
		assert.Equal(t, []string{"R2 d2c2"}, shown.list())
		attempts, err := a.Attempts(t.Context())
		require.NoError(t, err)
		assert.Len(t, attempts, 1)
	})
}

// The same of a value that outlives its refresh token.
func TestAdoptBringsWhatAValueLacksWhoseAccountEnded(t *testing.T) {
	adopters(t, func(t *testing.T, a, b *Guard, shown *presented) {
		v := NewTokenIn("v", 10*time.Hour)
		require.NoError(t, a.Adopt(t.Context(), v.WithSecret("device", "d").WithRefreshToken("R1", time.Now().Add(time.Hour))))
		time.Sleep(2 * time.Hour)
		require.NoError(t, a.Adopt(t.Context(), NewTokenIn("another", time.Hour).WithScope("other"))) // its commit ends the account
		require.NotZero(t, a.Stats().Renewals.Ended)
		for _, step := range []struct {
			by             *Guard
			token          Token
			device, cookie string
		}{
			{a, v, "d", ""},
			{a, v.WithSecret("device", "d2"), "d2", ""},
			{a, v.WithSecret("cookie", "c"), "d2", "c"},
			{b, v.WithSecret("device", "d3"), "d3", "c"},
		} {
			require.NoError(t, step.by.Adopt(t.Context(), step.token))
			for range 2 {
				mustHave(t, a, "v", step.device, step.cookie)
				mustHave(t, b, "v", step.device, step.cookie)
				time.Sleep(time.Minute)
			}
		}
		assert.Empty(t, shown.list())
	})
}

// An older value of an account that was renewed since, with the refresh token that it had, changes nothing: that one is not
// presented again.
func TestAdoptOfAnOlderValue(t *testing.T) {
	adopters(t, func(t *testing.T, a, b *Guard, shown *presented) {
		v := NewTokenIn("v", time.Hour).WithRefreshToken("R1", time.Time{})
		require.NoError(t, a.Adopt(t.Context(), v))
		time.Sleep(57 * time.Minute)
		mustHave(t, a, "renewed 1", "", "")
		require.NoError(t, b.Adopt(t.Context(), v.WithScope("other")))
		require.NoError(t, b.Adopt(t.Context(), v))
		mustHave(t, b, "renewed 1", "", "")
		got, err := b.Acquire(t.Context(), Request{Scope: "other"})
		require.NoError(t, err)
		assert.Equal(t, "renewed 1", got.Token.Value())
		time.Sleep(time.Hour)
		mustHave(t, b, "renewed 2", "", "")
		assert.Equal(t, []string{"R1 ", "next 1 "}, shown.list())
		attempts, err := a.Attempts(t.Context())
		require.NoError(t, err)
		assert.Len(t, attempts, 1)
	})
}

// A refresh token of another account is not taken for a value of this one, and one that another value has since is not
// taken from it.
func TestAdoptTakesNothingFromAnotherAccount(t *testing.T) {
	adopters(t, func(t *testing.T, a, _ *Guard, shown *presented) {
		v := NewTokenIn("v", time.Hour).WithAccount("one").WithRefreshToken("R1", time.Time{})
		require.NoError(t, a.Adopt(t.Context(), v))
		require.NoError(t, a.Adopt(t.Context(), NewTokenIn("v", time.Hour).WithAccount("two").WithRefreshToken("R2", time.Time{})))
		require.NoError(t, a.Adopt(t.Context(), NewTokenIn("plain", time.Hour).WithScope("b")))
		time.Sleep(time.Minute)
		require.NoError(t, a.Adopt(t.Context(), NewTokenIn("newer", time.Hour).WithScope("c").WithRefreshToken("R3", time.Time{})))
		require.NoError(t, a.Adopt(t.Context(), NewTokenIn("plain", time.Hour).WithScope("b").WithRefreshToken("R3", time.Time{})))
		got, err := a.Acquire(t.Context(), Request{Scope: "c"})
		require.NoError(t, err)
		assert.Equal(t, "newer", got.Token.Value())
		mustHave(t, a, "v", "", "")
		time.Sleep(time.Hour)
		_, err = a.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"R1 "}, shown.list())
	})
}

// Where values stay in the process, each that adopts one is served it, with what it brought.
func TestTwoProcessesAdoptWhatStaysInThem(t *testing.T) {
	for _, refresh := range []string{"", "R"} {
		synctest.Test(t, func(t *testing.T) {
			store := NewMemoryStore()
			open := func() *Guard {
				return newTestGuard(t, fails(Failure{StatusCode: 503}), WithStore(store), WithName("n"), WithoutTokenPersistence(), WithFreshness(0))
			}
			a, b := open(), open()
			v := NewTokenIn("v", time.Hour).WithSecret("device", "d")
			if refresh != "" {
				v = v.WithRefreshToken(refresh, time.Time{})
			}
			require.NoError(t, a.Adopt(t.Context(), v))
			time.Sleep(time.Second)
			_, err := b.Token(t.Context())
			require.Error(t, err)
			require.NoError(t, b.Adopt(t.Context(), v))
			for range 3 {
				mustHave(t, b, "v", "d", "")
				mustHave(t, a, "v", "d", "")
				time.Sleep(time.Minute)
			}
			attempts, err := a.Attempts(t.Context())
			require.NoError(t, err)
			assert.Len(t, attempts, 1)
		})
	}
}

// A refresh token that an answer with an unusable value has replaced, and that is adopted again with the value, does not lose
// the account: the one that replaced it is tried before that is given up.
func TestAdoptOfAnOlderRefreshToken(t *testing.T) {
	for name, opts := range map[string][]Option{"plain": nil, "encrypted": {WithEncryption([]byte("0123456789abcdef0123456789abcdef"))}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var shown presented
				live := "R1"
				g := newTestGuard(t, fails(Failure{StatusCode: 503}), append(opts, WithStore(NewMemoryStore()), WithName("n"), WithRenewal(func(_ context.Context, old Token) (Token, error) {
					n := shown.add(old.RefreshToken())
					if old.RefreshToken() != live {
						return Token{}, Failed(Failure{StatusCode: 400, Message: `{"error":"invalid_grant"}`})
					}
					live = fmt.Sprint("next ", n)
					lifetime := time.Hour
					if n == 1 {
						lifetime = time.Millisecond
					}
					return NewTokenIn(fmt.Sprint("renewed ", n), lifetime).WithRefreshToken(live, time.Time{}), nil
				}))...)
				v := NewTokenIn("v", time.Hour).WithRefreshToken("R1", time.Time{})
				require.NoError(t, g.Adopt(t.Context(), v))
				time.Sleep(57 * time.Minute)
				mustHave(t, g, "v", "", "")
				require.NoError(t, g.Adopt(t.Context(), v))
				for range 3 {
					time.Sleep(time.Hour)
					_, _ = g.Token(t.Context())
				}
				assert.Equal(t, []string{"R1", "R1", "next 1", "next 3"}, shown.list())
				assert.Zero(t, g.Stats().Renewals.Ended)
				got, err := g.Token(t.Context())
				require.NoError(t, err)
				assert.Contains(t, got.Value(), "renewed ")
			})
		})
	}
}

// A late answer of an upstream that rotates nothing is kept, also where another refresh token was adopted meanwhile.
func TestALateValueBesideAnAdoptedRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown presented
		g := newTestGuard(t, fails(Failure{StatusCode: 503}), WithStore(NewMemoryStore()), WithName("n"), WithRequestTimeout(10*time.Second), WithRenewal(func(_ context.Context, old Token) (Token, error) {
			n := shown.add(old.RefreshToken())
			if n == 1 {
				time.Sleep(30 * time.Second)
			}
			return NewTokenIn(fmt.Sprint("renewed ", n), time.Hour), nil
		}))
		v := NewTokenIn("v", time.Hour).WithRefreshToken("R1", time.Time{})
		require.NoError(t, g.Adopt(t.Context(), v))
		time.Sleep(57 * time.Minute)
		_, _ = g.Token(t.Context())
		require.NoError(t, g.Adopt(t.Context(), v.WithRefreshToken("R2", time.Time{})))
		time.Sleep(time.Minute)
		synctest.Wait()
		mustHave(t, g, "renewed 1", "", "")
		assert.Equal(t, []string{"R1"}, shown.list())
	})
}
