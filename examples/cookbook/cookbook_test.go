package cookbook

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// signIn answers like the two services, by their documented APIs.
func signIn(t *testing.T, limited bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limited {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"code":429,"error_code":"over_request_rate_limit","msg":"Request rate limit reached"}`))
			return
		}
		switch r.URL.Path {
		case "/v1/accounts:signUp":
			assert.Equal(t, "key", r.URL.Query().Get("key"))
			_ = json.NewEncoder(w).Encode(map[string]string{"idToken": "firebase token", "expiresIn": "3600"})
		case "/auth/v1/signup":
			assert.Equal(t, "key", r.Header.Get("apikey"))
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "supabase token", "expires_in": 3600})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAnonymousSignIn(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := signIn(t, false)
	a, b, err := Several(s.Client(), s.URL, s.URL, "key")
	require.NoError(t, err)
	defer a.Close()
	defer b.Close()
	for guard, want := range map[*tokenguard.Guard]string{a: "firebase token", b: "supabase token"} {
		token, err := guard.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, token.Value())
		assert.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry, time.Minute)
	}
}

func TestALimitOfTheServiceIsHeard(t *testing.T) {
	s := signIn(t, true)
	guard, err := tokenguard.New(Supabase(s.Client(), s.URL, "key"))
	require.NoError(t, err)
	defer guard.Close()
	_, err = guard.Token(t.Context())
	var failed *tokenguard.RequestError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, tokenguard.ClassRateLimited, failed.Class)
	_, err = guard.Token(t.Context())
	assert.ErrorIs(t, err, tokenguard.ErrBackoff)
}

// A day of tokens of five minutes, a call each half minute: what the defaults serve, and what ShortLived does.
func TestShortLivedTokens(t *testing.T) {
	served := func(limits tokenguard.Option) (share float64) {
		clock := tokenguardtest.NewClock(time.Time{})
		script := func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewTokenIn(clock.Now().String(), 5*time.Minute), nil
		}
		opts := []tokenguard.Option{tokenguard.WithClock(clock)}
		if limits != nil {
			opts = append(opts, limits)
		}
		guard, err := tokenguard.New(script, opts...)
		require.NoError(t, err)
		defer guard.Close()
		calls, ok := 0, 0
		for ; calls < 2880; calls++ {
			if _, err := guard.Token(t.Context()); err == nil {
				ok++
			}
			clock.Advance(30 * time.Second)
		}
		return float64(ok) / float64(calls)
	}
	assert.InDelta(t, 0.07, served(nil), 0.005)
	assert.Greater(t, served(tokenguard.WithRateLimits(tokenguard.RateLimits{
		MaxRequestsPerHour: 15, MaxRequestsPerDay: 300, MinInterval: 10 * time.Second,
	})), 0.95)
}
