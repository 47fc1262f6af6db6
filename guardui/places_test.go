package guardui_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/guardui"
)

// streams opens live connections of one page and says how the server answered each.
type streams struct {
	t   *testing.T
	url string
}

// open asks for the events with these headers. The stream lives until the test ends or close is called.
func (s streams) open(header map[string]string) (code int, text string, close func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/events", nil)
	require.NoError(s.t, err)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		text = string(b)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp.StatusCode, text, cancel
}

func serve(t *testing.T, opts ...guardui.Option) streams {
	guard, _ := newGuard(t)
	server := httptest.NewServer(guardui.New(guard, opts...))
	t.Cleanup(server.Close)
	return streams{t, server.URL}
}

// A page of another site opens as many streams as it likes: none counts, and the operator's own still finds a place.
func TestOtherSitesTakeNoPlace(t *testing.T) {
	s := serve(t)
	for _, header := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "http://evil.example"},
		{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
		{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": "http://127.0.0.1:9"}, // another port
		{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
		{"Sec-Fetch-Site": "something new"},
		{"Origin": "http://evil.example"},
		{"Origin": "http://127.0.0.1:9"},
		{"Origin": "null"},
	} {
		for range 33 {
			code, text, _ := s.open(header)
			require.Equal(t, http.StatusForbidden, code, header)
			require.Contains(t, text, "other sites")
		}
	}
	host := s.url[len("http://"):]
	for _, header := range []map[string]string{
		{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, {"Sec-Fetch-Site": "none"}, {}, {"Origin": "http://" + host},
	} {
		code, _, _ := s.open(header)
		require.Equal(t, http.StatusOK, code, header)
	}
}

// A link on another site leads to the page; nothing else there can ask for it or for its parts.
func TestOtherSitesMayLink(t *testing.T) {
	guard, _ := newGuard(t)
	for _, h := range []http.Handler{
		guardui.New(guard), guardui.New(guard, guardui.AllowRemote("example.com")), guardui.New(guard, guardui.Auth(func(*http.Request) bool { return true })),
	} {
		for _, test := range []struct {
			target, mode, dest string
			want               int
		}{
			{"/", "navigate", "document", http.StatusOK},
			{"/?scope=a", "navigate", "document", http.StatusOK},
			{"/", "navigate", "iframe", http.StatusForbidden},
			{"/", "no-cors", "image", http.StatusForbidden},
			{"/", "cors", "empty", http.StatusForbidden},
			{"/style.css", "no-cors", "style", http.StatusForbidden},
			{"/script.js", "navigate", "document", http.StatusForbidden},
		} {
			w := ask(h, test.target, func(r *http.Request) {
				r.Header.Set("Sec-Fetch-Site", "cross-site")
				r.Header.Set("Sec-Fetch-Mode", test.mode)
				r.Header.Set("Sec-Fetch-Dest", test.dest)
			})
			assert.Equal(t, test.want, w.Code, test)
		}
	}
}

// One peer takes at most 8 of the 32 places, all peers together no more than 32, and one that leaves makes room.
func TestLiveIsBounded(t *testing.T) {
	// As behind a proxy, which says whom it asks for.
	s := serve(t, guardui.Auth(func(*http.Request) bool { return true }))
	from := func(peer string) map[string]string {
		return map[string]string{"X-Forwarded-For": "198.51.100.1, " + peer}
	}
	var leave []func()
	for peer := range 4 {
		for i := range 8 {
			// All of one network, with whatever they claim in front of it.
			code, _, close := s.open(from(fmt.Sprintf("2001:db8:0:%x::%x", peer, i)))
			require.Equal(t, http.StatusOK, code)
			leave = append(leave, close)
		}
		code, text, _ := s.open(from(fmt.Sprintf("2001:db8:0:%x::ffff", peer)))
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.Contains(t, text, "too many browsers are connected from your address")
	}
	code, text, _ := s.open(from("203.0.113.9"))
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, text, "too many browsers are connected\n")

	leave[0]()
	for code := 0; code != http.StatusOK; { // once the server has noticed
		code, _, _ = s.open(from("203.0.113.9"))
	}
}

// Without a proxy the peer is its address, of whatever port.
func TestPeerIsItsAddress(t *testing.T) {
	s := serve(t)
	for range 8 {
		code, _, _ := s.open(nil)
		require.Equal(t, http.StatusOK, code)
	}
	code, text, _ := s.open(nil)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, text, "from your address")
}

// A proxy that names the port, too, or writes the address in brackets, still says who asks: else all count as the proxy.
func TestPeersWithAPort(t *testing.T) {
	s := serve(t, guardui.Auth(func(*http.Request) bool { return true }))
	for _, form := range []string{"198.51.100.7:%d", "[2001:db8:0:1::%x]:443", "[2001:db8:0:2::%x]"} {
		for i := range 8 {
			code, _, _ := s.open(map[string]string{"X-Forwarded-For": fmt.Sprintf(form, 5000+i)})
			require.Equal(t, http.StatusOK, code, form)
		}
		code, text, _ := s.open(map[string]string{"X-Forwarded-For": fmt.Sprintf(form, 6000)})
		require.Equal(t, http.StatusServiceUnavailable, code, form)
		require.Contains(t, text, "from your address")
	}
}
