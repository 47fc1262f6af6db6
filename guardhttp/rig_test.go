package guardhttp_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// rig is a client behind a guard in front of a real server.
type rig struct {
	clock     *tokenguardtest.Clock
	script    *tokenguardtest.Script // its tokens are t1, t2, ...
	guard     *tokenguard.Guard
	transport *guardhttp.Transport
	client    *http.Client
	server    *httptest.Server
	conns     atomic.Int32 // opened to the server
}

// newRig serves with handler. The limits are wide open, since they are not what is tested here.
func newRig(t *testing.T, handler http.HandlerFunc) *rig {
	r := &rig{clock: tokenguardtest.NewClock(time.Time{})}
	r.script = tokenguardtest.NewScript(r.clock)
	for i := range 9 {
		r.script.Add(tokenguardtest.Reply{Value: fmt.Sprintf("t%d", i+1), Lifetime: 24 * time.Hour})
	}
	var err error
	r.guard, err = tokenguard.New(r.script.Request, tokenguard.WithClock(r.clock), tokenguard.WithConfig(tokenguard.Config{
		RateLimit: tokenguard.RateLimits{MaxRequestsPerHour: 100, MaxRequestsPerDay: 100, MinInterval: time.Nanosecond},
		Manager:   tokenguard.ManagerConfig{MinTokenAge: time.Minute, RecentWindow: time.Nanosecond},
	}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.guard.Close() })
	r.server = httptest.NewUnstartedServer(handler)
	r.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			r.conns.Add(1)
		}
	}
	r.server.Start()
	t.Cleanup(r.server.Close)
	u, err := url.Parse(r.server.URL)
	require.NoError(t, err)
	r.transport = &guardhttp.Transport{Guard: r.guard, Base: r.server.Client().Transport, AllowedHosts: []string{u.Host}, Clock: r.clock}
	r.client = &http.Client{Transport: r.transport}
	return r
}

// warm gets a first token and lets it spread, so that what is said of it later counts.
func (r *rig) warm(t *testing.T) {
	tok, err := r.guard.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.guard.Report(t.Context(), tokenguard.Outcome{TokenID: tok.ID()}))
	r.clock.Advance(5 * time.Minute)
}

func (r *rig) do(t *testing.T, method string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.server.URL, body)
	require.NoError(t, err)
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(text)
}

func bearer(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// only lets one token in.
func only(token string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bearer(r) != token {
			http.Error(w, "invalid token", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "hello %s", body)
	}
}
