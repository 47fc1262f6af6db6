package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// Tests allocate much and keep little: collecting less often saves a third of what they cost.
func init() { debug.SetGCPercent(400) }

const (
	own       = "the account's own token"
	quota     = 200 // calls of a token
	anonymous = 5   // tokens that the API gives away in an hour
)

// A storm of two hours in the life of a proxy, on a clock of its own and over real HTTP.
type storm struct {
	clock    *tokenguardtest.Clock
	upstream *tokenguardtest.Upstream
	api      *httptest.Server
	together atomic.Pointer[barrier] // of the burst that is on

	mu             sync.Mutex // guards what follows
	calls, working int
}

// barrier lets the calls of a burst meet at the API, whatever else the machine does: that is what makes it a burst.
type barrier struct {
	mu      sync.Mutex
	missing int
	open    chan struct{} // closed when nobody is missing
}

func (b *barrier) arrive() {
	b.gone()
	<-b.open
}

// gone counts out a call that has arrived, or ended without.
func (b *barrier) gone() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing--; b.missing == 0 {
		close(b.open)
	}
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	clock := tokenguardtest.NewClock(time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC))
	s := &storm{clock: clock, upstream: &tokenguardtest.Upstream{Clock: clock, Quota: quota, IssueLimit: anonymous}}
	s.upstream.Grant(own)
	s.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api" {
			s.together.Load().arrive()
		}
		s.upstream.ServeHTTP(w, r)
	}))
	t.Cleanup(s.api.Close)
	return s
}

func (s *storm) url() *url.URL {
	u, _ := url.Parse(s.api.URL) // httptest's own
	return u
}

// burst makes n calls at once; each that fails is tried again at once, five times in all, as the clients of that
// afternoon did.
func (s *storm) burst(proxies []*httptest.Server, n int) {
	together := &barrier{missing: n, open: make(chan struct{})}
	s.together.Store(together)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			defer together.gone()
			ok := false
			for attempt := 0; attempt < 5 && !ok; attempt++ {
				resp, err := http.Get(proxies[(i+attempt)%len(proxies)].URL + "/api")
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				ok = resp.StatusCode == http.StatusOK
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls++
			if ok {
				s.working++
			}
		})
	}
	wg.Wait()
}

// run lives through two hours: a call each half minute, a burst of forty every ten minutes; the proxies restart in the
// middle of it. open starts one proxy and returns how to stop it.
func (s *storm) run(open func() (*httptest.Server, func())) {
	var proxies []*httptest.Server
	var stops []func()
	start := func() {
		for range 2 {
			p, stop := open()
			proxies, stops = append(proxies, p), append(stops, stop)
		}
	}
	stop := func() {
		for _, stop := range stops {
			stop()
		}
		proxies, stops = nil, nil
	}
	start()
	for i := range 240 {
		s.clock.Advance(30 * time.Second)
		if i%20 == 10 {
			s.burst(proxies, 40)
		} else {
			s.burst(proxies, 1)
		}
		if i == 130 { // mid-storm
			stop()
			start()
		}
	}
	stop()
}

// Two proxies on one state file, the account's token first, against the same proxies without a guard.
func TestStorm(t *testing.T) {
	guarded := newStorm(t)
	state := filepath.Join(t.TempDir(), "proxy.state")
	guarded.run(func() (*httptest.Server, func()) {
		guard, err := tokenguard.New(tokenguardtest.RequestFunc(http.DefaultClient, guarded.api.URL),
			tokenguard.WithStateFile(state), tokenguard.WithName("storm"), tokenguard.WithClock(guarded.clock),
			tokenguard.WithConfig(tokenguard.Moderate()),
			tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
				return tokenguard.NewToken(own, time.Time{}), nil
			}))
		require.NoError(t, err)
		server := httptest.NewServer(newProxy(guarded.url(), guard, guarded.clock))
		return server, func() {
			server.Close()
			require.NoError(t, guard.Close())
		}
	})

	bare := newStorm(t)
	bare.run(func() (*httptest.Server, func()) {
		server := httptest.NewServer(&unguarded{api: bare.api.URL, token: own})
		return server, server.Close
	})

	for _, r := range []struct {
		name string
		*storm
	}{{"without a guard", bare}, {"with the guard", guarded}} {
		c := r.upstream.Counts()
		asked := c.Issued
		for _, n := range c.RefusedIssues {
			asked += n
		}
		t.Logf("%-16s %d calls, %d working, %d token requests (%d issued)", r.name, r.calls, r.working, asked, c.Issued)
	}
	counts := guarded.upstream.Counts()
	assert.Empty(t, counts.RefusedIssues, "the upstream never has to say no")
	assert.LessOrEqual(t, counts.Issued, 4, "708 calls need the account's 200 and three anonymous tokens of 200")
	assert.Greater(t, guarded.working, guarded.calls*9/10)
	assert.NotEmpty(t, bare.upstream.Counts().RefusedIssues, "without a guard the upstream has to say no")

	// The pages say so. What happens without a guard depends on who runs when.
	for page, says := range map[string]string{
		"../../docs/cookbook/proxy.md": fmt.Sprintf("| with the guard | %d | %d | %d, all granted |", guarded.calls, guarded.working, counts.Issued),
		"../../docs/guide.md":          fmt.Sprintf("send %d token requests instead of over 700, and %d of %d calls work instead of", counts.Issued, guarded.working, guarded.calls),
	} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		assert.True(t, strings.Contains(string(text), says), "%s does not say %q", page, says)
	}
}

// A proxy without a guard: it keeps a token in memory and, whenever a call fails, fetches another.
type unguarded struct {
	api string

	mu    sync.Mutex // guards token
	token string
}

func (p *unguarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, _ := url.Parse(p.api) // httptest's own
	(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			p.mu.Lock()
			defer p.mu.Unlock()
			pr.Out.Header.Set("Authorization", "Bearer "+p.token)
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode < 400 {
				return nil
			}
			token, err := tokenguardtest.RequestFunc(http.DefaultClient, p.api)(context.Background(), tokenguard.Request{})
			if err == nil {
				p.mu.Lock()
				p.token = token.Value()
				p.mu.Unlock()
			}
			return nil
		},
	}).ServeHTTP(w, r)
}

// The proxy tells its clients when to come back, in a header and in words.
func TestRefusalsReachTheClient(t *testing.T) {
	s := newStorm(t)
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, fmt.Errorf("503 service unavailable")
	})
	require.NoError(t, err)
	defer guard.Close()
	proxy := httptest.NewServer(newProxy(s.url(), guard, nil))
	defer proxy.Close()
	get := func() *http.Response {
		resp, err := http.Get(proxy.URL + "/api")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	assert.Equal(t, http.StatusBadGateway, get().StatusCode)
	second := get()
	assert.Equal(t, http.StatusServiceUnavailable, second.StatusCode)
	assert.Equal(t, "600", second.Header.Get("Retry-After"))
	assert.Equal(t, "application/problem+json", second.Header.Get("Content-Type"))
}
