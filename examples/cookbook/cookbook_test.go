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
		assert.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry(), time.Minute)
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

// The README's ordinary days: a call each half minute, around the clock, and what share of them finds a token.
func TestOrdinaryDays(t *testing.T) {
	day := func(lifetime time.Duration, limits tokenguard.RateLimits) (share float64, starts int) {
		clock := tokenguardtest.NewClock(time.Time{})
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			starts++
			return tokenguard.NewTokenIn(clock.Now().String(), lifetime), nil
		}, tokenguard.WithClock(clock), tokenguard.WithRateLimits(limits))
		require.NoError(t, err)
		defer guard.Close()
		calls, ok := 0, 0
		for ; calls < 2880; calls++ {
			if _, err := guard.Token(t.Context()); err == nil {
				ok++
			}
			clock.Advance(30 * time.Second)
		}
		return float64(ok) / float64(calls), starts
	}
	defaults := tokenguard.RateLimits{}
	short := tokenguard.RateLimits{MaxRequestsPerHour: 15, MaxRequestsPerDay: 300, MinInterval: 10 * time.Second}
	for _, c := range []struct {
		lifetime time.Duration
		limits   tokenguard.RateLimits
		share    float64
		starts   int
	}{
		{24 * time.Hour, defaults, 1, 1},
		{time.Hour, defaults, 0.833, 20},
		{time.Hour, tokenguard.RateLimits{MaxRequestsPerDay: 25}, 1, 24},
		{5 * time.Minute, defaults, 0.069, 20},
		{5 * time.Minute, short, 1, 288},
	} {
		share, starts := day(c.lifetime, c.limits)
		t.Logf("tokens of %-8v %+v: %.1f %% with %d starts", c.lifetime, c.limits, 100*share, starts)
		assert.InDelta(t, c.share, share, 0.005, c.lifetime)
		assert.Equal(t, c.starts, starts, c.lifetime)
	}
}
