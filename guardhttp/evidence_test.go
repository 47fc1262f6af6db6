package guardhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

// What a Transport reports is what the guard believes. Each world runs for hours of its clock, with a call a minute, and
// prints how many calls were served; the least is stated in each.

// metered lets each token be used ten times, and then says so in the way of the test.
type metered struct {
	mu   sync.Mutex
	used map[string]int
	say  func(w http.ResponseWriter, r *http.Request, spent bool)
}

func (m *metered) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	if m.used == nil {
		m.used = map[string]int{}
	}
	m.used[bearer(r)]++
	over := m.used[bearer(r)] > 10
	m.mu.Unlock()
	m.say(w, r, over)
}

// worldOf is a guard with Moderate limits, whose tokens last a day, and the reverse proxy of the cookbook before api.
func worldOf(t *testing.T, api http.Handler, set func(*guardhttp.Transport)) (clock *tokenguardtest.Clock, guard *tokenguard.Guard, proxy *httptest.Server) {
	clock = tokenguardtest.NewClock(time.Time{})
	upstream := httptest.NewServer(api)
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	script := tokenguardtest.NewScript(clock)
	for i := range 100 {
		script.Add(tokenguardtest.Reply{Value: fmt.Sprintf("t%d", i), Lifetime: 24 * time.Hour})
	}
	guard, err = tokenguard.New(script.Request, tokenguard.WithClock(clock), tokenguard.WithConfig(tokenguard.Moderate()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	transport, err := guardhttp.NewTransport(guard, []string{target.Host}, func(t *guardhttp.Transport) { t.Clock = clock }, set)
	require.NoError(t, err)
	proxy = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { guardhttp.WriteError(w, err) },
	})
	t.Cleanup(proxy.Close)
	return clock, guard, proxy
}

// asks makes one call and reports whether good says that it was served.
func asks(t *testing.T, url, accept string, good func(status int, body string) bool) bool {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header.Set("Accept-Encoding", accept)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return good(resp.StatusCode, string(body))
}

func onTransportPage(t *testing.T, says string) {
	t.Helper()
	page, err := os.ReadFile("../docs/transport.md")
	require.NoError(t, err)
	require.True(t, strings.Contains(string(page), says), "docs/transport.md does not say %q", says)
}

// Four hours behind the proxy of clients that accept gzip and br: as many calls are served as of clients that do not.
func TestCompressedErrorsCostNothing(t *testing.T) {
	calls, missed := 80, 2
	if os.Getenv("TOKENGUARD_LONG") != "" {
		calls, missed = 240, 5
	}
	served := map[string]int{}
	for _, accept := range []string{"identity", "gzip", "gzip, br", "br"} {
		clock, guard, proxy := worldOf(t, &metered{say: func(w http.ResponseWriter, r *http.Request, over bool) {
			if over {
				encoded(w, r, http.StatusTooManyRequests, "application/json", spent)
				return
			}
			encoded(w, r, http.StatusOK, "application/json", `{"result":"ok"}`)
		}}, func(*guardhttp.Transport) {})
		for range calls {
			if asks(t, proxy.URL, accept, func(status int, _ string) bool { return status == http.StatusOK }) {
				served[accept]++
			}
			clock.Advance(time.Minute)
		}
		t.Logf("a 429 with its reason in a body, asked for %q: %d of %d served, %d acquisitions", accept, served[accept], calls, guard.Stats().Acquisitions.Attempts)
	}
	if calls == 240 {
		onTransportPage(t, fmt.Sprintf("%d of %d calls are served, whatever the client accepts", served["br"], calls))
	}
	for accept, n := range served {
		require.Equal(t, served["identity"], n, accept)
		require.GreaterOrEqual(t, n, calls-missed, accept)
	}
}

// Four hours of calls whose spent quota is told in the JSON of a 200, or in the last event of a stream.
func TestQuotaToldInA200(t *testing.T) {
	const least, mostUnjudged = 215, 10
	for kind, spent := range map[string]string{"application/json": spent, "text/event-stream": "data: 1\n\ndata: " + spent + "\n\n"} {
		for _, judged := range []bool{false, true} {
			fine := "data: 1\n\n"
			if kind == "application/json" {
				fine = `{"result":"ok"}`
			}
			clock, guard, proxy := worldOf(t, &metered{say: func(w http.ResponseWriter, r *http.Request, over bool) {
				if over {
					encoded(w, r, http.StatusOK, kind, spent)
					return
				}
				encoded(w, r, http.StatusOK, kind, fine)
			}}, func(t *guardhttp.Transport) {
				if judged {
					t.Judge = guardhttp.JudgeErrors
				}
			})
			served := 0
			for range 240 {
				if asks(t, proxy.URL, "identity", func(status int, body string) bool { return status == http.StatusOK && body == fine }) {
					served++
				}
				clock.Advance(time.Minute)
			}
			t.Logf("a spent quota told in a 200 of %s, judged %v: %d of 240 served, %d acquisitions", kind, judged, served, guard.Stats().Acquisitions.Attempts)
			if judged {
				require.GreaterOrEqual(t, served, least)
				onTransportPage(t, fmt.Sprintf("Where the spent quota is reported in a 200, %d, and %d without a `Judge`:", served, mostUnjudged))
			} else {
				require.LessOrEqual(t, served, mostUnjudged)
			}
		}
	}
}

// A day with one endpoint that always answers 200 and one that always answers 401, a call of each a minute.
func TestOneEndpointThatRefusesBesideOneThatDoesNot(t *testing.T) {
	for _, refusal := range []string{`{"error":"unauthorized"}`, `{"error":"Missing permission"}`} {
		t.Run(refusal, func(t *testing.T) { oneRefuses(t, refusal) })
	}
}

func oneRefuses(t *testing.T, refusal string) {
	const leastShare, mostStarts = 99, 3
	clock, guard, proxy := worldOf(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/profile" {
			encoded(w, r, http.StatusUnauthorized, "application/json", refusal)
		}
	}), func(*guardhttp.Transport) {})
	served := 0
	ok := func(status int, _ string) bool { return status == http.StatusOK }
	hours := 6
	if os.Getenv("TOKENGUARD_LONG") != "" {
		hours = 24
	}
	calls := hours * 60
	for range calls {
		if asks(t, proxy.URL+"/me", "gzip", ok) {
			served++
		}
		asks(t, proxy.URL+"/profile", "gzip", ok)
		clock.Advance(time.Minute)
	}
	starts := guard.Stats().Acquisitions.Attempts
	t.Logf("/me served %d of %d calls, %d acquisitions", served, calls, starts)
	require.GreaterOrEqual(t, served, calls*leastShare/100)
	require.LessOrEqual(t, int(starts), mostStarts)
}
