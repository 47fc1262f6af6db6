package oauth2guard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/oauth2guard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// served is an upstream with accounts, on loopback.
func served(t *testing.T, u *tokenguardtest.Upstream) (base string, conf *oauth2.Config) {
	t.Helper()
	s := httptest.NewServer(u)
	t.Cleanup(s.Close)
	return s.URL, &oauth2.Config{ClientID: "guest", Endpoint: oauth2.Endpoint{TokenURL: s.URL + "/token"}}
}

func of(refresh string) tokenguard.Token {
	return tokenguard.NewToken("", time.Time{}).WithRefreshToken(refresh, time.Time{})
}

func TestRenewal(t *testing.T) {
	u := &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict, RefreshLifetime: 30 * 24 * time.Hour}
	base, conf := served(t, u)
	first, err := tokenguardtest.RequestFunc(nil, base)(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	second, err := oauth2guard.Renewal(conf)(t.Context(), first)
	require.NoError(t, err)
	assert.Equal(t, "anonymous-2", second.Value())
	assert.Equal(t, "refresh-1-2", second.RefreshToken())
	assert.Nil(t, oauth2guard.Renewal(nil))
}

// Over restarts with a store on disk, one account; each refresh token presented once.
func TestRenewalOverRestarts(t *testing.T) {
	clock := tokenguardtest.NewClock(time.Time{})
	u := &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict, Clock: clock}
	base, conf := served(t, u)
	file := filepath.Join(t.TempDir(), "state")
	for range 24 * 6 {
		guard, err := tokenguard.New(tokenguardtest.RequestFunc(nil, base), tokenguard.WithClock(clock),
			tokenguard.WithStateFile(file), tokenguard.WithRenewal(oauth2guard.Renewal(conf)))
		require.NoError(t, err)
		for range 2 {
			_, err := guard.Token(t.Context())
			require.NoError(t, err)
			clock.Advance(5 * time.Minute)
		}
		require.NoError(t, guard.Close())
	}
	assert.Equal(t, 1, u.Counts().Issued)
	seen := map[string]bool{}
	for _, p := range u.Presentations() {
		assert.Equal(t, tokenguardtest.Renewed, p.Result)
		assert.False(t, seen[p.RefreshToken], p.RefreshToken)
		seen[p.RefreshToken] = true
	}
	assert.InDelta(t, 26, len(seen), 2, "a day in values of an hour")
}

// x/oauth2 finds out how to name the client by asking twice. A refresh token must not be presented twice for that.
func TestRenewalAsksOnce(t *testing.T) {
	for _, fails := range []func(*tokenguardtest.Upstream){
		func(u *tokenguardtest.Upstream) { u.CutAnswers(1) },
		func(u *tokenguardtest.Upstream) { u.SetOutage(true) },
		func(u *tokenguardtest.Upstream) { u.Delete() },
	} {
		for _, secret := range []string{"", "made up"} {
			u := &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict}
			base, conf := served(t, u)
			conf.ClientSecret = secret
			first, err := tokenguardtest.RequestFunc(nil, base)(t.Context(), tokenguard.Request{})
			require.NoError(t, err)
			fails(u)
			_, err = oauth2guard.Renewal(conf)(t.Context(), first)
			require.Error(t, err)
			assert.Len(t, u.Presentations(), 1)
		}
	}
}

// How the client is named, and what is read from the answer.
func TestRenewalForms(t *testing.T) {
	var got *http.Request
	answer := map[string]any{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got = r
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer s.Close()
	conf := &oauth2.Config{ClientID: "guest", Endpoint: oauth2.Endpoint{TokenURL: s.URL}}
	for _, c := range []struct {
		secret        string
		style         oauth2.AuthStyle
		header, param string
	}{
		{"", oauth2.AuthStyleAutoDetect, "", "guest"},
		{"made up", oauth2.AuthStyleAutoDetect, "guest", ""},
		{"made up", oauth2.AuthStyleInParams, "", "guest"},
		{"", oauth2.AuthStyleInHeader, "guest", ""},
	} {
		conf.ClientSecret, conf.Endpoint.AuthStyle = c.secret, c.style
		answer = map[string]any{"access_token": "made up", "expires_in": "120"}
		token, err := oauth2guard.Renewal(conf)(t.Context(), of("refresh"))
		require.NoError(t, err)
		user, _, _ := got.BasicAuth()
		assert.Equal(t, [2]string{c.header, c.param}, [2]string{user, got.PostForm.Get("client_id")}, "%+v", c)
		assert.Equal(t, "refresh", got.PostForm.Get("refresh_token"))
		assert.Equal(t, "refresh_token", got.PostForm.Get("grant_type"))
		assert.Equal(t, "refresh", token.RefreshToken(), "left out: it stays")
	}
	answer = map[string]any{"access_token": "made up", "refresh_token": "next", "refresh_expires_in": 60}
	token, err := oauth2guard.Renewal(conf)(t.Context(), of("refresh"))
	require.NoError(t, err)
	assert.Equal(t, "next", token.RefreshToken())

	answer = map[string]any{"expires_in": 3600}
	_, err = oauth2guard.Renewal(conf)(t.Context(), of("refresh"))
	assert.ErrorContains(t, err, "oauth2guard: renewal: ")
}

// A client of x/oauth2 that keeps its account: the token endpoint is that of the configuration.
func ExampleRenewal() {
	upstream := &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict}
	server := httptest.NewServer(upstream)
	defer server.Close()

	conf := &oauth2.Config{ClientID: "guest", Endpoint: oauth2.Endpoint{TokenURL: server.URL + "/token", AuthStyle: oauth2.AuthStyleInParams}}
	clock := tokenguardtest.NewClock(time.Time{})
	upstream.Clock = clock
	guard, err := tokenguard.New(tokenguardtest.RequestFunc(nil, server.URL), tokenguard.WithClock(clock),
		tokenguard.WithRenewal(oauth2guard.Renewal(conf)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Close()
	for range 24 * 12 {
		if _, err := guard.Token(context.Background()); err != nil {
			fmt.Println(err)
		}
		clock.Advance(5 * time.Minute)
	}
	fmt.Println("accounts in a day:", upstream.Counts().Issued)
	// Output: accounts in a day: 1
}
