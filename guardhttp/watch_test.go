package guardhttp_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func TestWatchReportsTheGuardsOwnTokens(t *testing.T) {
	status := http.StatusOK
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="r",error="invalid_token"`)
		}
		w.WriteHeader(status)
	})
	watch, err := guardhttp.Watch(r.guard, guardhttp.WatchOptions{
		Base: r.server.Client().Transport, Caller: func(*http.Request) string { return "job" },
	})
	require.NoError(t, err)
	client := &http.Client{Transport: watch}
	send := func(authorization string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
		require.NoError(t, err)
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, status, resp.StatusCode)
	}
	token := func() tokenguard.Token {
		t.Helper()
		grant, err := r.guard.Acquire(t.Context(), tokenguard.Request{Caller: "job"})
		require.NoError(t, err)
		return grant.Token
	}
	first := token()
	send("Bearer " + first.Value())
	r.clock.Advance(2 * time.Minute)

	status = http.StatusUnauthorized
	send("")
	send("Basic " + first.Value())
	send("Bearer another")
	assert.Equal(t, first.ID(), token().ID(), "none of these was about the guard's token")

	send("bearer " + first.Value())
	assert.NotEqual(t, first.ID(), token().ID(), "the registry has refused the first")
}

func TestWatchNeedsAGuard(t *testing.T) {
	_, err := guardhttp.Watch((*tokenguard.Guard)(nil), guardhttp.WatchOptions{})
	assert.ErrorContains(t, err, "guard is nil")
}

// advancing is a base whose answers take 30 s by a clock.
type advancing struct {
	clock  *tokenguardtest.Clock
	header http.Header
}

func (a advancing) RoundTrip(req *http.Request) (*http.Response, error) {
	a.clock.Advance(30 * time.Second)
	return &http.Response{StatusCode: http.StatusOK, Header: a.header, Body: http.NoBody, Request: req}, nil
}

// What an answer states in seconds counts from when it came, by the guard's clock.
func TestWatchReadsAResetByTheGuardsClock(t *testing.T) {
	r := newRig(t, only(""))
	watch, err := guardhttp.Watch(r.guard, guardhttp.WatchOptions{Clock: r.clock, Base: advancing{r.clock, http.Header{
		"X-Ratelimit-Limit": {"10"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"60"},
	}}})
	require.NoError(t, err)
	token, err := r.guard.Token(t.Context())
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.Value())
	resp, err := watch.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	r.clock.Advance(59 * time.Second)
	assert.Equal(t, tokenguard.LevelExhausted, r.guard.Stats().Predictor.Level)
	r.clock.Advance(2 * time.Second)
	assert.NotEqual(t, tokenguard.LevelExhausted, r.guard.Stats().Predictor.Level)
}
