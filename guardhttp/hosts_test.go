package guardhttp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/guardhttp"
)

func TestTokenStaysHomeOnARedirectToAnotherHost(t *testing.T) {
	var elsewhere *http.Request
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere = r }))
	defer other.Close()
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if bearer(r) != "t1" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	resp, _ := r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NotNil(t, elsewhere)
	for name, values := range elsewhere.Header {
		require.NotContains(t, strings.Join(values, ""), "t1", name)
	}
	require.Empty(t, elsewhere.Header.Get("Authorization"))
}

func TestTokenFollowsARedirectOnItsHost(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case bearer(r) != "t1":
			http.Error(w, "no token", http.StatusUnauthorized)
		case r.URL.Path == "/":
			http.Redirect(w, r, "/there", http.StatusFound)
		}
	})
	resp, _ := r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "/there", resp.Request.URL.Path)
}

// sent is a base that shows whether a request went out with a token.
type sent struct{ authorization string }

func (s *sent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.authorization = r.Header.Get("Authorization")
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func TestAllowedHosts(t *testing.T) {
	r := newRig(t, only(""))
	for _, tt := range []struct {
		allowed, url string
		want         bool
	}{
		{"api.example.com", "https://api.example.com/v1", true},
		{"api.example.com", "https://api.example.com:443/v1", true},
		{"api.example.com", "http://api.example.com/v1", true},
		{"API.example.com", "https://api.EXAMPLE.com./v1", true},
		{"api.example.com:443", "https://api.example.com", true},
		{"api.example.com.", "https://api.example.com", true},
		{"api.example.com:443", "https://api.example.com:8443", false},
		{"api.example.com:8443", "https://api.example.com:8443", true},
		{"api.example.com:8443", "https://api.example.com", false},
		{"example.com", "https://api.example.com", false},
		{"api.example.com", "https://api.example.com.evil.test", false},
		{"api.example.com", "https://user:api.example.com@evil.test", false},
		{"::1", "http://[::1]/", true},
		{"[::1]", "http://[::1]/", true},
		{"[::1]:8080", "http://[::1]:8080/", true},
		{"[::1]:80", "http://[::1]:8080/", false},
		{"::1", "http://[0:0:0:0:0:0:0:1]/", true},
		{"[2001:DB8::0:1]:8080", "http://[2001:db8::1]:8080/", true},
		{"2001:db8::1", "http://[2001:db8::2]/", false},
		{"api.example.com:0443", "https://api.example.com/v1", true},
		{"api.example.com", "https://api.example.com:0443/v1", true},
		{"api.example.com:8443", "https://api.example.com:08443", true},
		{"api.example.com:443", "https://api.example.com:0", false},
		{"http:8080", "http://http:8080/", true},
		{"https:443", "https://https/", true},
		{"bücher.example", "https://bücher.example/", true},
		{"bücher.example", "https://xn--bcher-kva.example/", true},
		{"xn--bcher-kva.example", "https://bücher.example/", true},
		{"XN--BCHER-KVA.example.", "https://Bücher.EXAMPLE.:443/", true},
		{"bücher.example:8443", "https://xn--bcher-kva.example:8443/", true},
		{"bücher.example", "https://b%C3%BCcher.example/", true},
		{"例え.テスト", "https://xn--r8jz45g.xn--zckzah/", true},
		{"straße.example", "https://xn--strae-oqa.example/", true},
		{"straße.example", "https://strasse.example/", false},
		{"strasse.example", "https://straße.example/", false},
		{"istanbul.example", "https://İstanbul.example/", false},
		{"bücher.example", "https://bucher.example/", false},
		{"xn--j2g.example", "https://ℓ.example/", false}, // net/http dials l.example
		{"bücher.example:8443", "https://BÜCHER.example/", false},
		{"api.example.com", "https://аpi.example.com/", false}, // a Cyrillic letter
	} {
		base := &sent{}
		transport := &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: []string{"unrelated.test", tt.allowed}}
		resp, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, tt.url, nil))
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, tt.want, base.authorization == "Bearer t1", "%s for %s", tt.allowed, tt.url)
	}
}

func TestTokenIsNotSentInTheClearAfterADowngrade(t *testing.T) {
	r := newRig(t, only(""))
	base := &sent{}
	transport := &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: []string{"api.example.com"}}
	secure := httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil)
	plain := httptest.NewRequest(http.MethodGet, "http://api.example.com/", nil)
	plain.Response = &http.Response{Request: secure} // as http.Client marks a redirect
	again := httptest.NewRequest(http.MethodGet, "http://api.example.com/again", nil)
	again.Response = &http.Response{Request: plain}
	for _, req := range []*http.Request{plain, again} {
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Empty(t, base.authorization)
	}
}

func TestRealRedirectFromHTTPSToHTTPDropsTheToken(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Saw", bearer(r)) })
	secure := httptest.NewTLSServer(http.RedirectHandler(r.server.URL, http.StatusFound))
	defer secure.Close()
	u, err := url.Parse(secure.URL)
	require.NoError(t, err)
	r.transport.Base = secure.Client().Transport
	r.transport.AllowedHosts = append(r.transport.AllowedHosts, u.Host)
	resp, err := r.client.Get(secure.URL)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Empty(t, resp.Header.Get("X-Saw"))
}

func TestAllowedHostsSaysWhatToWrite(t *testing.T) {
	r := newRig(t, only(""))
	for entry, want := range map[string]string{
		"https://api.example.com":         `"https://api.example.com": write "api.example.com"`,
		"https://alice:s3cret@a.test:8/x": `write "a.test:8"`,
		"api.example.com/v1":              `"api.example.com/v1": write "api.example.com"`,
		"api.example.com?key=s3cret":      `write "api.example.com"`,
		"alice:s3cret@api.example.com":    `write "api.example.com"`,
		"*.example.com":                   "wildcards are not supported: write each host",
		"*":                               "wildcards are not supported",
		".example.com":                    "wildcards are not supported",
		"api.*.com:8443":                  "wildcards are not supported",
		"//api.example.com/v1":            `"//api.example.com/v1": write "api.example.com"`,
		"https:api.example.com":           `"https:api.example.com": write "api.example.com"`,
		"HTTP:/alice:s3cret@a.test:8":     `write "a.test:8"`,
		"":                                `want a host, such as "api.example.com"`,
		":8080":                           "want one host",
		"api.example.com:":                "the port",
		"api.example.com:https":           "1 to 65535",
		"api.example.com:0":               "1 to 65535",
		"api.example.com:65536":           "1 to 65535",
		"a.test,b.test":                   "want one host for each entry",
		" a.test":                         "want one host for each entry",
		"1:2:3":                           "neither a host nor an IPv6 address",
		"[::1":                            `want "host" or "host:port"`,
		"[::1]x:80":                       `want "host" or "host:port"`,
		"BÜCHER.example":                  `"BÜCHER.example": write the host's ASCII form, with "xn--"`,
		"bu\u0308cher.example:8443":       "write the host's ASCII form",
		"api。example。com":                 "write the host's ASCII form",
		"ℓ.example":                       "write the host's ASCII form",
		"ſample.example":                  "write the host's ASCII form",
		"oﬃce.example":                    "write the host's ASCII form",
		"[.]":                             "want one host for each entry",
		"ａｐｉ.example.com":                 "write the host's ASCII form",
		"\xff.example.com":                "write the host's ASCII form",
	} {
		_, err := guardhttp.NewTransport(r.guard, []string{"fine.example.com", entry})
		require.ErrorContains(t, err, want, entry)
		require.ErrorContains(t, err, "tokenguard: guardhttp: Transport.AllowedHosts")
		require.NotContains(t, err.Error(), "s3cret", entry)

		literal := &guardhttp.Transport{Guard: r.guard, AllowedHosts: []string{entry}}
		body := &closing{Reader: strings.NewReader("x")}
		_, again := literal.RoundTrip(httptest.NewRequest(http.MethodPost, "https://fine.example.com", body))
		require.ErrorContains(t, again, want)
		require.True(t, body.closed)
	}
}

func TestNewTransport(t *testing.T) {
	_, err := guardhttp.NewTransport(nil, nil, func(t *guardhttp.Transport) { t.Pause = 7 })
	for _, want := range []string{"Guard is nil", "AllowedHosts is empty", "Transport.Pause: 7"} {
		require.ErrorContains(t, err, want)
	}
	r := newRig(t, only(""))
	base := &sent{}
	transport, err := guardhttp.NewTransport(r.guard, []string{"api.example.com"}, func(t *guardhttp.Transport) { t.Base = base })
	require.NoError(t, err)
	resp, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, "Bearer t1", base.authorization)
}

func TestAllowedHostWithoutThePortOfTheRequest(t *testing.T) {
	r := newRig(t, only(""))
	for allowed, want := range map[string]string{
		"localhost": `write "localhost:8080" to send the token there, or "localhost:80"`,
		"::1":       `write "[::1]:8080"`,
	} {
		base := &sent{}
		transport := &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: []string{allowed}}
		url := "http://" + strings.ReplaceAll(allowed, "::1", "[::1]") + ":8080/"
		_, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, url, nil))
		require.ErrorContains(t, err, want)

		// A redirect there is the upstream's doing: it goes on, without the token.
		req := httptest.NewRequest(http.MethodGet, url, nil)
		req.Response = &http.Response{Request: httptest.NewRequest(http.MethodGet, "http://"+strings.TrimSuffix(url[7:], ":8080/"), nil)}
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Empty(t, base.authorization)
	}
}

// A request that spells an allowed host as no registry has it does not go out without a token unnoticed.
func TestAllowedHostInOddLetters(t *testing.T) {
	r := newRig(t, only(""))
	for allowed, asked := range map[string]string{
		"bücher.example": "BÜCHER.example", "xn--bcher-kva.example": "BÜCHER.example", "api.example.com": "api。example.com",
		"api2.example.com": "ａｐｉ2.example.com", "l.example": "ℓ.example", "xn--bcher-kva.example.": "bu\u0308cher.example",
	} {
		transport := &guardhttp.Transport{Guard: r.guard, Base: &sent{}, AllowedHosts: []string{allowed}}
		_, err := transport.RoundTrip(&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: asked}})
		require.ErrorContains(t, err, `and the request goes to "`+asked+`": write "`)
		redirected := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: asked}}
		redirected.Response = &http.Response{}
		resp, err := transport.RoundTrip(redirected)
		require.NoError(t, err)
		resp.Body.Close()
	}
}

// What net/http looks up is the host that was allowed, in each form of both.
func TestInternationalisedHostIsTheOneThatIsDialled(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, req.Host, " ", bearer(req)) })
	_, port, err := net.SplitHostPort(r.server.Listener.Addr().String())
	require.NoError(t, err)
	dialled := ""
	base := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled = addr
		return new(net.Dialer).DialContext(ctx, network, r.server.Listener.Addr().String())
	}}
	defer base.CloseIdleConnections()
	for _, allowed := range []string{"bücher.example:" + port, "xn--bcher-kva.example:" + port} {
		for _, asked := range []string{"bücher.example:" + port, "Bücher.example:" + port, "xn--bcher-kva.example:" + port} {
			base.CloseIdleConnections()
			client := &http.Client{Transport: &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: []string{allowed}}}
			resp, err := client.Get("http://" + asked)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, "xn--bcher-kva.example:"+port+" t1", strings.ToLower(string(body)))
			require.Equal(t, "xn--bcher-kva.example:"+port, dialled)
		}
	}
}
