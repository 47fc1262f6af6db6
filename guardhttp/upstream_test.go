package guardhttp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func TestTransportFallsBackFromAPersonalToken(t *testing.T) {
	clock := tokenguardtest.NewClock(time.Time{})
	upstream := &tokenguardtest.Upstream{Clock: clock, Quota: 2, QuotaReset: 24 * time.Hour, Lifetime: 24 * time.Hour}
	upstream.Grant("mine")
	server := httptest.NewServer(upstream)
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	guard, err := tokenguard.New(tokenguardtest.RequestFunc(server.Client(), server.URL), tokenguard.WithClock(clock),
		tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
			return tokenguard.NewToken("mine", time.Time{}), nil
		}))
	require.NoError(t, err)
	defer guard.Close()
	client := &http.Client{Transport: &guardhttp.Transport{Guard: guard, AllowedHosts: []string{u.Host}, Clock: clock}}
	call := func() int {
		clock.Advance(10 * time.Second)
		resp, err := client.Get(server.URL + "/api")
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.StatusCode
	}
	for range 4 { // two with the personal token, and two with the first anonymous one: no caller sees the change
		require.Equal(t, http.StatusOK, call())
	}
	require.Equal(t, 1, upstream.Counts().Issued)
	require.Equal(t, http.StatusTooManyRequests, call(), "too new to be replaced: the upstream's own answer")

	clock.Advance(30 * time.Minute)
	require.Equal(t, http.StatusOK, call())
	c := upstream.Counts()
	require.Equal(t, 2, c.Issued)
	require.Equal(t, 5, c.OK)
}
