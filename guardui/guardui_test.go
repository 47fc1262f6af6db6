package guardui_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

const secret = "anon-sekrit-value"

// newGuard returns a guard whose clock stands still, and that clock.
func newGuard(t *testing.T, replies ...tokenguardtest.Reply) (*tokenguard.Guard, *tokenguardtest.Clock) {
	t.Helper()
	clock := tokenguardtest.NewClock(time.Time{})
	guard, err := tokenguard.New(tokenguardtest.NewScript(clock, replies...).Request, tokenguard.WithClock(clock))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, guard.Close()) })
	return guard, clock
}

// ask asks as a peer on the loopback interface.
func ask(h http.Handler, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	r.RemoteAddr, r.Host = "127.0.0.1:5000", "localhost:8080"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHeadersAndMethods(t *testing.T) {
	guard, _ := newGuard(t)
	h := guardui.New(guard)
	for target, kind := range map[string]string{"/": "text/html", "/a/b/": "text/html", "/style.css": "text/css", "/x/script.js": "text/javascript"} {
		w := ask(h, target)
		assert.Equal(t, http.StatusOK, w.Code, target)
		assert.Contains(t, w.Header().Get("Content-Type"), kind, target)
		assert.Equal(t, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "+
			"base-uri 'none'; form-action 'self'; frame-ancestors 'none'", w.Header().Get("Content-Security-Policy"))
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := ask(h, "/", func(r *http.Request) { r.Method = method })
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
		assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
	}
	assert.Equal(t, http.StatusOK, ask(h, "/events", func(r *http.Request) { r.Method = http.MethodHead }).Code)
	assert.Equal(t, http.StatusNotFound, ask(h, "/web/page.html").Code)
}

func TestRelativeUnderAnyPath(t *testing.T) {
	guard, _ := newGuard(t)
	body := ask(guardui.New(guard), "/debug/tokens/").Body.String()
	for _, link := range regexp.MustCompile(`(?:href|src|action|data-events)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		assert.NotRegexp(t, `^(/|https?:)`, link[1])
	}
	w := ask(http.StripPrefix("/debug/tokens", guardui.New(guard)), "/debug/tokens?scope=a%26b")
	assert.Equal(t, http.StatusPermanentRedirect, w.Code)
	assert.Equal(t, "./tokens/?scope=a%26b", w.Header().Get("Location"))
}

func TestAccess(t *testing.T) {
	guard, _ := newGuard(t)
	from := func(peer, host string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr, r.Host = peer, host }
	}
	through := func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") }
	with := func(r *http.Request) { r.SetBasicAuth("operator", "x") }
	auth := guardui.Auth(func(r *http.Request) bool { user, _, _ := r.BasicAuth(); return user == "operator" })
	tests := []struct {
		name   string
		opts   []guardui.Option
		change []func(*http.Request)
		want   int
	}{
		{"loopback", nil, nil, 200},
		{"loopback, IPv6", nil, []func(*http.Request){from("[::1]:5000", "[::1]:80")}, 200},
		{"loopback, IPv4 in IPv6", nil, []func(*http.Request){from("[::ffff:127.0.0.1]:5000", "127.8.0.1")}, 200},
		{"loopback, a local name", nil, []func(*http.Request){from("127.0.0.1:5000", "Tokens.localhost.:80")}, 200},
		{"remote", nil, []func(*http.Request){from("203.0.113.9:5000", "localhost")}, 403},
		{"no address", nil, []func(*http.Request){from("@", "localhost")}, 403},
		{"rebound name", nil, []func(*http.Request){from("127.0.0.1:5000", "evil.example:8080")}, 403},
		{"rebound name that looks local", nil, []func(*http.Request){from("127.0.0.1:5000", "127.0.0.1.evil.example")}, 403},
		{"no host", nil, []func(*http.Request){from("127.0.0.1:5000", "")}, 403},
		{"proxy", nil, []func(*http.Request){through}, 403},
		{"auth says no", []guardui.Option{auth}, nil, 403},
		{"auth says yes", []guardui.Option{auth}, []func(*http.Request){from("203.0.113.9:5000", "ops.example"), with}, 200},
		{"auth goes over allowed", []guardui.Option{auth, guardui.AllowRemote("ops.example")}, []func(*http.Request){from("203.0.113.9:5000", "ops.example")}, 403},
		{"allowed", []guardui.Option{guardui.AllowRemote("Ops.example")}, []func(*http.Request){from("203.0.113.9:5000", "ops.example:443"), through}, 200},
		{"allowed, another name", []guardui.Option{guardui.AllowRemote("ops.example")}, []func(*http.Request){from("203.0.113.9:5000", "evil.example")}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := guardui.New(guard, tt.opts...)
			for _, target := range []string{"/", "/script.js"} {
				assert.Equal(t, tt.want, ask(h, target, tt.change...).Code, target)
			}
		})
	}
}

func TestShowsTheGuard(t *testing.T) {
	guard, clock := newGuard(t, tokenguardtest.Reply{Lifetime: 10 * time.Minute}, tokenguardtest.Reply{Err: tokenguardtest.ErrScripted})
	h := guardui.New(guard)
	assert.Contains(t, ask(h, "/").Body.String(), "Yes: the next call acquires one")
	_, err := guard.Acquire(t.Context(), tokenguard.Request{Caller: "billing"})
	require.NoError(t, err)
	body := ask(h, "/").Body.String()
	assert.Contains(t, body, "1 of 3")
	assert.Contains(t, body, "min_interval")
	assert.Contains(t, body, "Yes, at once")
	assert.Contains(t, body, "billing")

	clock.Advance(11 * time.Minute)
	_, err = guard.Acquire(t.Context(), tokenguard.Request{Caller: "billing"})
	require.Error(t, err)
	_, err = guard.Acquire(t.Context(), tokenguard.Request{Caller: "billing"})
	require.ErrorIs(t, err, tokenguard.ErrBackoff)
	body = ask(h, "/").Body.String()
	assert.Contains(t, body, "No, not before")
	assert.Contains(t, body, `<rect class="closed"`)
	assert.Contains(t, body, `<rect class="failed"`)
	assert.Contains(t, body, "refused: backoff")
	assert.Regexp(t, `data-until="\d+"[^>]*>10 min<`, body)

	body = ask(h, "/?explain=1&scope=eu&caller=billing&status=429&failure=quota+exceeded").Body.String()
	assert.Contains(t, body, "quota_exhausted")
	assert.Contains(t, body, `class="decides"`)
	assert.EqualValues(t, 3, guard.Stats().Calls.Total, "explaining changes nothing")
	assert.Contains(t, ask(h, "/?explain=1&scope="+strings.Repeat("a", 600)).Body.String(), `class="alarm"`)

	require.NoError(t, guard.Close())
	assert.Contains(t, ask(h, "/").Body.String(), "this guard is closed")
}

func TestHostileTexts(t *testing.T) {
	guard, clock := newGuard(t, tokenguardtest.Reply{Value: secret, Lifetime: time.Hour})
	h := guardui.New(guard)
	_, err := guard.Token(t.Context()) // a text is searched for the tokens that are known
	require.NoError(t, err)
	hostile := []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "' onfocus='alert(1)", "javascript:alert(1)",
		"\u202egnp.exe\u2066", "\u200bzero\x00width\x1b[31m", strings.Repeat("ten kilobytes ", 750), "\xff\xfe", "{{.Scope}}", "</title><svg onload=alert(1)>",
	}
	for i, text := range hostile {
		clock.Advance(time.Second)
		grant, err := guard.Acquire(t.Context(), tokenguard.Request{Caller: text, Failure: tokenguard.Failure{StatusCode: 400 + i, Message: text + " " + secret}})
		if err == nil {
			require.NoError(t, guard.Report(t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Failure: tokenguard.Failure{StatusCode: 500, Message: text}}))
		}
		_, _ = guard.Acquire(t.Context(), tokenguard.Request{Caller: text, Scope: text})
		query := url.Values{"explain": {"1"}, "scope": {text}, "caller": {text}, "failure": {text}, "status": {text}}.Encode()
		for _, body := range []string{ask(h, "/?"+query).Body.String(), firstParts(t, h, "/events?"+query)} {
			assert.NotContains(t, body, secret)
			assert.NotRegexp(t, `<(script>|img|svg onload)`, body)
			assert.NotRegexp(t, `(?i)<[^>]*[\s"']on(error|load|focus)\s*=\s*["']?alert`, regexp.MustCompile(`"[^"]*"`).ReplaceAllString(body, `""`))
			assert.NotRegexp(t, "[\u202a-\u202e\u2066-\u2069\u200b\x00\x1b]", body, "invisible characters are spelled out")
			assert.Less(t, len(body), 1<<20)
		}
	}
}

// firstParts is the page's content as a live browser gets it.
func firstParts(t *testing.T, h http.Handler, target string) string {
	server := httptest.NewServer(h)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	parts := read(t, stream(ctx, t, server.URL+target))
	var all strings.Builder
	for _, html := range parts {
		all.WriteString(html)
	}
	return all.String()
}

func stream(ctx context.Context, t *testing.T, target string) *bufio.Scanner {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	scanner := bufio.NewScanner(resp.Body)
	scanner.Buffer(nil, 1<<22)
	return scanner
}

// read returns the next event's parts by ID; nil: the stream ended.
func read(t *testing.T, s *bufio.Scanner) map[string]string {
	for s.Scan() {
		data, ok := strings.CutPrefix(s.Text(), "data: [")
		if !ok {
			continue
		}
		var parts []struct{ ID, HTML string }
		require.NoError(t, json.Unmarshal([]byte("["+data), &parts))
		out := map[string]string{}
		for _, p := range parts {
			out[p.ID] = p.HTML
		}
		return out
	}
	return nil
}

func TestLive(t *testing.T) {
	guard, _ := newGuard(t)
	server := httptest.NewServer(guardui.New(guard))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := stream(ctx, t, server.URL+"/events")
	first := read(t, s)
	assert.Contains(t, first["verdict"], "Yes: the next call acquires one")
	page := ask(guardui.New(guard), "/").Body.String()
	for id, html := range first {
		assert.Contains(t, page, `id="`+id+`"`)
		assert.Contains(t, page, html, "the stream and the page are of the same templates")
	}
	_, err := guard.Token(t.Context())
	require.NoError(t, err)
	var seen strings.Builder
	for seen.Len() == 0 || !strings.Contains(seen.String(), "Yes, at once") {
		next := read(t, s)
		require.NotNil(t, next)
		assert.NotContains(t, next, "failures", "what did not change is not sent")
		seen.WriteString(next["verdict"])
	}
	require.NoError(t, guard.Close())
	var rest []string
	for s.Scan() {
		rest = append(rest, s.Text())
	}
	require.NoError(t, s.Err())
	assert.Contains(t, rest, "event: end")
}

func TestShadowModeAndCandidate(t *testing.T) {
	clock := tokenguardtest.NewClock(time.Time{})
	guard, err := tokenguard.New(tokenguardtest.NewScript(clock).Request, tokenguard.WithClock(clock),
		tokenguard.WithShadowModeRefusingNothing(), tokenguard.WithCandidate(tokenguard.Moderate()))
	require.NoError(t, err)
	defer guard.Close()
	h := guardui.New(guard)
	grant, err := guard.Acquire(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	for range 2 {
		_, err = guard.Acquire(t.Context(), tokenguard.Request{Failing: grant.Token.ID(),
			Failure: tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota"}})
		require.NoError(t, err)
		clock.Advance(10 * time.Minute)
	}
	body := ask(h, "/").Body.String()
	assert.Contains(t, body, "Shadow mode: nothing is refused.</strong> 2 calls")
	assert.Contains(t, body, "shadow mode: it was passed on")
	assert.Contains(t, body, "1 gained, 0 lost")
	assert.Regexp(t, `starts of this hour</th><td>1 of 3</td><td>2 of 10<`, body)
	assert.Regexp(t, `max_requests_per_day</th><td>20</td><td>50<`, body)
	assert.NotContains(t, body, "min_token_age</th>", "where they do not differ")

	plain, _ := newGuard(t)
	body = ask(guardui.New(plain), "/").Body.String()
	assert.NotContains(t, body, "Shadow")
	assert.NotContains(t, body, "candidate")
}
