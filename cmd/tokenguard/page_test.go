package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
)

func TestPageIsForLoopbackUnlessSaid(t *testing.T) {
	for _, listen := range []string{":8321", "0.0.0.0:0", "[::]:80", "192.0.2.1:80", "example.org:80"} {
		assert.Equal(t, exitUsage, code(t, (&pageFlags{listen: listen}).check()), listen)
		assert.NoError(t, (&pageFlags{listen: listen, withToken: true}).check(), listen)
		assert.NoError(t, (&pageFlags{listen: listen, allow: []string{"10.0.0.0/8"}}).check(), listen)
	}
	for _, listen := range []string{"127.0.0.1:8321", "[::1]:0", "localhost:80"} {
		assert.NoError(t, (&pageFlags{listen: listen}).check(), listen)
	}
	for _, f := range []pageFlags{{listen: "8321"}, {listen: "x", withToken: true}, {listen: ":1", allow: []string{"10.0.0.0/99"}}} {
		assert.Equal(t, exitUsage, code(t, f.check()))
	}
}

// shown asks for a page as a peer would, and returns the status.
func shown(t *testing.T, f *pageFlags, peer, host, target string, cookies ...*http.Cookie) *http.Response {
	t.Helper()
	g, err := tokenguard.New(readOnly)
	require.NoError(t, err)
	defer g.Close()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr, r.Host = peer, host
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	f.handler(guardui.New(g, f.options()...)).ServeHTTP(w, r)
	return w.Result()
}

func TestPageAsksForItsToken(t *testing.T) {
	f := &pageFlags{listen: ":8321", withToken: true}
	require.NoError(t, f.check())
	at := &net.TCPAddr{IP: net.IPv4zero, Port: 8321}
	address, err := url.Parse(f.address(at))
	require.NoError(t, err)
	assert.NotContains(t, address.Host, "0.0.0.0", "an address that opens")
	assert.Equal(t, f.token, address.Query().Get("token"))

	const peer = "192.0.2.9:5000"
	assert.Equal(t, http.StatusForbidden, shown(t, f, peer, "host", "/").StatusCode)
	assert.Equal(t, http.StatusForbidden, shown(t, f, peer, "host", "/?token=wrong").StatusCode)
	assert.Equal(t, http.StatusForbidden, shown(t, f, "127.0.0.1:5000", "localhost", "/").StatusCode, "a token is a token")
	answer := shown(t, f, peer, "host", "/?scope=a&"+address.RawQuery)
	assert.Equal(t, http.StatusSeeOther, answer.StatusCode)
	assert.Equal(t, "/?scope=a", answer.Header.Get("Location"), "the secret leaves the address bar")
	cookies := answer.Cookies()
	require.Len(t, cookies, 1)
	assert.True(t, cookies[0].HttpOnly)
	assert.Equal(t, http.StatusOK, shown(t, f, peer, "host", "/", cookies...).StatusCode)
	cookies[0].Value += "x"
	assert.Equal(t, http.StatusForbidden, shown(t, f, peer, "host", "/", cookies...).StatusCode)
}

func TestPageAllowsItsList(t *testing.T) {
	f := &pageFlags{listen: "10.0.0.5:8321", allow: []string{"10.0.0.0/24", "192.0.2.7"}}
	require.NoError(t, f.check())
	for peer, want := range map[string]int{"10.0.0.9:1": 200, "192.0.2.7:1": 200, "127.0.0.1:1": 200, "10.0.1.1:1": 403, "192.0.2.8:1": 403} {
		assert.Equal(t, want, shown(t, f, peer, "10.0.0.5:8321", "/").StatusCode, peer)
	}
	assert.Equal(t, 403, shown(t, f, "10.0.0.9:1", "evil.example:8321", "/").StatusCode, "a foreign name that points here")
}
