package guardhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// untouched makes three calls through base, each of which fails, and requires that nothing is held against the token.
func untouched(t *testing.T, name string, r *rig, base http.RoundTripper, url string) {
	t.Helper()
	r.warm(t)
	transport := &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: r.transport.AllowedHosts, Clock: r.clock, Inject: r.transport.Inject,
		Caller: func(*http.Request) string { return "x" }}
	client := &http.Client{Transport: transport}
	for range 3 {
		resp, err := client.Get(url)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			require.Equal(t, http.StatusProxyAuthRequired, resp.StatusCode, name)
		}
		r.clock.Advance(2 * time.Minute)
	}
	for class, n := range r.guard.Stats().Calls.Outcomes {
		switch class {
		case "success": // of warm
		case "transient", "unknown":
		default:
			require.Zero(t, n, "%s: %s", name, class)
		}
	}
	require.EqualValues(t, 3, r.guard.Stats().Calls.Outcomes["transient"]+r.guard.Stats().Calls.Outcomes["unknown"], name)
	for _, caller := range []string{"x", "another"} {
		e, err := r.guard.Explain(t.Context(), tokenguard.Request{Caller: caller})
		require.NoError(t, err)
		require.Equal(t, tokenguard.AnswerServe, e.Verdict.Answer, name)
		for _, ev := range e.Evidence {
			require.NotEqual(t, "x", ev.Operation, "%s: %+v", name, ev)
		}
		grant, err := r.guard.Acquire(t.Context(), tokenguard.Request{Caller: caller})
		require.NoError(t, err, name)
		require.Equal(t, tokenguard.TokenID("t1"), grant.Token.ID(), name)
	}
	end, err := r.guard.Paused(t.Context(), tokenguard.Request{Caller: "x"})
	require.NoError(t, err)
	require.True(t, end.IsZero() || !end.After(r.clock.Now()), name)
}

// listen serves each connection with f.
func listen(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

func through(t *testing.T, proxy string) http.RoundTripper {
	u, err := url.Parse(proxy)
	require.NoError(t, err)
	base := &http.Transport{Proxy: http.ProxyURL(u)}
	t.Cleanup(base.CloseIdleConnections)
	return base
}

// A proxy's answer to CONNECT never was the upstream's, of whatever status and in whatever words.
func TestAProxyThatAnswersForTheUpstream(t *testing.T) {
	for _, status := range []string{
		"401 Unauthorized", "402 Payment Required", "403 Forbidden", "403 Your account is banned", "407 Proxy Authentication Required",
		"429 Too Many Requests", "429 Daily quota exceeded", "400 invalid token", "502 Bad Gateway", "503 Service Unavailable", "403 ", "401 token expired, sign in (E_AUTH: 17)",
	} {
		r := newRig(t, only("t1"))
		r.transport.AllowedHosts = []string{"api.example.com"}
		untouched(t, status, r, through(t, "http://"+listen(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fmt.Fprintf(c, "HTTP/1.1 %s\r\nRetry-After: 3600\r\nContent-Length: 25\r\n\r\n{\"error\":\"invalid_token\"}", status)
			}
		})), "https://api.example.com/me")
	}
	// One that stands between plain requests can only be known by its status.
	for _, body := range []string{`{"error":"invalid_token"}`, "daily quota exceeded", "Your account is suspended", ""} {
		r := newRig(t, only("t1"))
		r.transport.AllowedHosts = []string{"api.example.com"}
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, body, http.StatusProxyAuthRequired)
		}))
		defer proxy.Close()
		untouched(t, body, r, through(t, proxy.URL), "http://api.example.com/me")
	}
}

func TestASOCKSProxyThatRefuses(t *testing.T) {
	for name, answer := range map[string]string{
		"no method":            "\x05\xff",
		"not allowed":          "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00",
		"host unreachable":     "\x05\x00\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00",
		"general failure":      "\x05\x00\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00",
		"wrong user":           "\x05\x02\x01\x01",
		"no SOCKS at all":      "HTTP/1.1 401 Unauthorized\r\n\r\n",
		"hangs up":             "",
		"an unknown complaint": "\x05\x00\x05\x63\x00\x01\x00\x00\x00\x00\x00\x00",
	} {
		r := newRig(t, only("t1"))
		r.transport.AllowedHosts = []string{"api.example.com"}
		addr := listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64))
			_, _ = io.WriteString(c, answer) // and hangs up
		})
		untouched(t, name, r, through(t, "socks5://alice:secret@"+addr), "https://api.example.com/me")
	}
}

// What the network, TLS and net/http itself say of a request is about no token.
func TestARequestThatNeverWentOut(t *testing.T) {
	certified := httptest.NewTLSServer(only("t1"))
	defer certified.Close()
	certified.Config.ErrorLog = nil
	closed := httptest.NewServer(only("t1"))
	closed.Close()
	for name, tt := range map[string]struct {
		url  string
		base http.RoundTripper
		set  func(*rig)
	}{
		"a certificate of nobody": {url: certified.URL},
		"nobody listens":          {url: closed.URL},
		"TLS spoken to plain":     {url: strings.Replace(newRig(t, only("t1")).server.URL, "http:", "https:", 1)},
		"no HTTP": {url: "http://" + listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "401 invalid token\r\n\r\n")
		})},
		"a status that is none": {url: "http://" + listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 forbidden invalid token\r\n\r\n")
		})},
		"hung up": {url: "http://" + listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })},
		"a header that is none": {url: closed.URL, set: func(r *rig) {
			r.transport.Inject = func(req *http.Request, tok tokenguard.Token) error {
				req.Header["Authorization"] = []string{"Bearer " + tok.Value() + "\n"}
				return nil
			}
		}},
		"a header's name that is none": {url: closed.URL, set: func(r *rig) {
			r.transport.Inject = func(req *http.Request, tok tokenguard.Token) error {
				req.Header["X Token"] = []string{tok.Value()}
				return nil
			}
		}},
	} {
		r := newRig(t, only("t1"))
		u, err := url.Parse(tt.url)
		require.NoError(t, err)
		r.transport.AllowedHosts = []string{u.Host}
		if tt.set != nil {
			tt.set(r)
		}
		base := &http.Transport{}
		defer base.CloseIdleConnections()
		untouched(t, name, r, base, tt.url)
	}
}

// A Base may say what it likes: where there is no answer, nobody has spoken of the token.
func TestAnErrorInPlaceOfAnAnswer(t *testing.T) {
	long := strings.Repeat("invalid token ", 500)
	for _, err := range []error{
		errors.New("401 invalid token"), errors.New("Unauthorized"), errors.New("403: your account was banned"), errors.New("daily quota exceeded"),
		errors.New(`oauth2: "invalid_grant" "Token has been expired or revoked."`), errors.New(`{"error":"invalid_token"}`), errors.New("<h1>Access denied</h1>"),
		errors.New("too many requests, retry after 3600 seconds"), errors.New("rpc error: code = Unauthenticated desc = invalid token"), errors.New("400 bad request"), errors.New(long),
		fmt.Errorf("reauthentication: %w", &url.Error{Op: "Post", URL: "https://auth.example.com/token?secret=1", Err: errors.New("Forbidden")}),
		fmt.Errorf("the token has expired: %w", context.DeadlineExceeded),
	} {
		r := newRig(t, only("t1"))
		untouched(t, err.Error()[:min(60, len(err.Error()))], r, broken{err}, r.server.URL)
		f := guardhttp.FailureFromError(err)
		require.ErrorContains(t, f.Err, "") // its text can be read
		require.NotContains(t, f.Err.Error(), "secret")
		var at *url.Error
		if !errors.As(err, &at) {
			require.ErrorIs(t, f.Err, err)
		}
	}
}
