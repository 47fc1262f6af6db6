package tokenguardtest

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

type served struct {
	*Upstream
	clock  *Clock
	server *httptest.Server
}

func serve(t *testing.T, u *Upstream) served {
	clock := NewClock(noon)
	u.Clock = clock
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	return served{u, clock, server}
}

func (s served) issue(t *testing.T) (tokenguard.Token, error) {
	return RequestFunc(s.server.Client(), s.server.URL)(t.Context(), tokenguard.Request{})
}

func (s served) get(t *testing.T, path, token string) (*http.Response, string) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.server.URL+path, nil)
	require.NoError(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.server.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func TestUpstreamMetersTokens(t *testing.T) {
	u := serve(t, &Upstream{Quota: 2, QuotaReset: 10 * time.Minute})
	tok, err := u.issue(t)
	require.NoError(t, err)
	for left := 1; left >= 0; left-- {
		resp, body := u.get(t, "/api", tok.Value())
		require.Equal(t, 200, resp.StatusCode)
		require.JSONEq(t, `{"result":"ok"}`, body)
		require.Equal(t, "2", resp.Header.Get("X-RateLimit-Limit"))
		require.Equal(t, strconv.Itoa(left), resp.Header.Get("X-RateLimit-Remaining"))
	}
	resp, body := u.get(t, "/api", tok.Value())
	require.Equal(t, 429, resp.StatusCode)
	require.JSONEq(t, `{"error":"No remaining quota: No AI requests remaining"}`, body)
	require.Equal(t, "0", resp.Header.Get("X-RateLimit-Remaining"))
	require.Equal(t, strconv.FormatInt(noon.Add(10*time.Minute).Unix(), 10), resp.Header.Get("X-RateLimit-Reset"))

	u.clock.Advance(10 * time.Minute)
	resp, _ = u.get(t, "/api", tok.Value())
	require.Equal(t, 200, resp.StatusCode, "the quota is full again")
	_, _ = u.get(t, "/api", tok.Value())
	u.ResetQuota()
	resp, _ = u.get(t, "/api", tok.Value())
	require.Equal(t, 200, resp.StatusCode)
	c := u.Counts()
	require.Equal(t, UpstreamCounts{Issued: 1, OK: 5, FailedCalls: map[int]int{429: 1}}, c)
}

func TestUpstreamKnowsItsTokens(t *testing.T) {
	u := serve(t, &Upstream{Lifetime: time.Minute})
	a, err := u.issue(t)
	require.NoError(t, err)
	b, err := u.issue(t)
	require.NoError(t, err)
	require.NotEqual(t, a.ID(), b.ID())
	status := func(token string) int {
		resp, _ := u.get(t, "/api", token)
		return resp.StatusCode
	}
	require.Equal(t, 401, status(""))
	require.Equal(t, 401, status("unheard of"))
	require.Equal(t, 200, status(a.Value()))
	u.Revoke(a.Value())
	require.Equal(t, 401, status(a.Value()))
	require.Equal(t, 200, status(b.Value()))
	u.Grant("mine")
	u.clock.Advance(time.Minute)
	require.Equal(t, 401, status(b.Value()), "expired")
	require.Equal(t, 200, status("mine"))
	u.Revoke()
	require.Equal(t, 401, status("mine"))
	u.SetOutage(true)
	require.Equal(t, 503, status("mine"))
	_, err = u.issue(t)
	require.ErrorContains(t, err, "503")
	require.Equal(t, UpstreamCounts{Issued: 2, OK: 3, RefusedIssues: map[int]int{503: 1}, FailedCalls: map[int]int{401: 5, 503: 1}}, u.Counts())
}

func TestUpstreamLimitsWhatItIssues(t *testing.T) {
	for _, date := range []bool{false, true} {
		u := serve(t, &Upstream{IssueLimit: 1, IssueWindow: 10 * time.Minute, RetryAfterDate: date, Lifetime: -1})
		u.clock.Advance(time.Second / 2)
		tok, err := u.issue(t)
		require.NoError(t, err)
		require.True(t, tok.Expiry().IsZero())
		u.clock.Advance(time.Minute + time.Millisecond)
		_, err = u.issue(t)
		require.ErrorContains(t, err, "<title>429</title>")
		resp, err := http.Post(u.server.URL+"/token", "", nil)
		require.NoError(t, err)
		resp.Body.Close()
		want := "540"
		if date {
			want = noon.Add(10*time.Minute + time.Second).Format(http.TimeFormat)
		}
		require.Equal(t, want, resp.Header.Get("Retry-After"))
		u.clock.Advance(9 * time.Minute)
		_, err = u.issue(t)
		require.NoError(t, err)
		resp, _ = u.get(t, "/token", "")
		require.Equal(t, 405, resp.StatusCode)
	}
}

func TestUpstreamStreamsEachEvent(t *testing.T) {
	u := serve(t, &Upstream{})
	u.Grant("mine")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.server.URL+"/stream?events=2&pause=1h", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer mine")
	resp, err := u.server.Client().Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	require.True(t, lines.Scan())
	require.Equal(t, "data: 1", lines.Text())
	require.NoError(t, u.clock.AwaitSleepers(t.Context(), 1))
	u.clock.Advance(time.Hour)
	for lines.Scan() && lines.Text() == "" {
	}
	require.Equal(t, "data: 2", lines.Text())
}

func TestUpstreamTakesItsTime(t *testing.T) {
	u := serve(t, &Upstream{})
	u.SetLatency(time.Minute)
	got := make(chan error)
	go func() {
		_, err := u.issue(t)
		got <- err
	}()
	require.NoError(t, u.clock.AwaitSleepers(t.Context(), 1))
	require.Zero(t, u.Counts().Issued)
	u.clock.Advance(time.Minute)
	require.NoError(t, <-got)
}

func TestRequestFuncStatesTheLifetime(t *testing.T) {
	for lifetime, expiry := range map[time.Duration]time.Time{90 * time.Second: noon.Add(90 * time.Second), -1: {}} {
		u := serve(t, &Upstream{Lifetime: lifetime})
		guard, err := tokenguard.New(RequestFunc(u.server.Client(), u.server.URL), tokenguard.WithClock(u.clock))
		require.NoError(t, err)
		defer guard.Close()
		tok, err := guard.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "anonymous-1", tok.Value())
		require.True(t, expiry.Equal(tok.Expiry()), "%v", tok.Expiry())
		u.server.Close()
		_, err = u.issue(t)
		require.Error(t, err)
	}
}
