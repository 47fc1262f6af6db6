package guardhttp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// limited answers each call to /limited with 429 and a wait of six hours, all others with 200, and counts.
func limited(sent *int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*sent++
		if strings.HasPrefix(r.URL.Path, "/limited") {
			w.Header().Set("Retry-After", "21600")
			http.Error(w, "rate limit exceeded", http.StatusTooManyRequests)
		}
	}
}

// Three hundred polls of an hour into a stated pause of six: one is sent.
func TestPauseAnswersLocally(t *testing.T) {
	for _, mode := range []guardhttp.Pause{guardhttp.PauseOff, guardhttp.PauseAnswer, guardhttp.PauseRefuse} {
		sent, answers, refusals := 0, 0, 0
		r := newRig(t, limited(&sent))
		r.transport.Pause = mode
		for range 300 {
			resp, err := r.client.Get(r.server.URL + "/limited")
			switch {
			case err != nil:
				require.ErrorIs(t, err, tokenguard.ErrUpstreamLimited)
				refusals++
			default:
				require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
				answers++
				resp.Body.Close()
			}
			r.clock.Advance(12 * time.Second)
		}
		t.Logf("mode %d: %d of 300 polls were sent, %d answered, %d refused", mode, sent, answers, refusals)
		switch mode {
		case guardhttp.PauseOff:
			require.Equal(t, 300, sent)
		case guardhttp.PauseAnswer:
			require.Equal(t, []int{1, 300, 0}, []int{sent, answers, refusals})
		case guardhttp.PauseRefuse:
			require.Equal(t, []int{1, 1, 299}, []int{sent, answers, refusals})
		}
		if mode != guardhttp.PauseOff {
			require.EqualValues(t, 1, total(r.guard.Stats().Calls.Outcomes), "what was not sent is not reported")
			resp, err := r.client.Get(r.server.URL + "/other")
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusOK, resp.StatusCode, "another operation was asked to wait for nothing")
			sent = 0
			r.clock.Advance(6 * time.Hour)
			resp, err = r.client.Get(r.server.URL + "/limited")
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, 1, sent, "the pause is over")
		}
	}
}

func TestPauseAnswerSaysHowLong(t *testing.T) {
	sent := 0
	r := newRig(t, limited(&sent))
	r.transport.Pause = guardhttp.PauseAnswer
	r.do(t, http.MethodGet, nil)
	for range 2 {
		resp, err := r.client.Get(r.server.URL + "/limited")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		if sent == 2 && resp.Header.Get("Content-Type") != "application/problem+json" {
			r.clock.Advance(time.Hour)
			continue
		}
		require.Equal(t, "429 Too Many Requests", resp.Status)
		require.EqualValues(t, len(body), resp.ContentLength)
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		require.NoError(t, err)
		require.InDelta(t, 5*3600, seconds, 1)
		var p guardhttp.Problem
		require.NoError(t, json.Unmarshal(body, &p))
		require.Equal(t, tokenguard.ReasonUpstreamRateLimited, p.Reason)
		require.NotNil(t, resp.Request)
		require.Empty(t, guardhttp.TokenID(resp.Request.Context()))
	}
	require.Equal(t, 2, sent)
}

// Which answers state a wait for the calls of an operation: not those that are about the token.
func TestPauseIsForWaitsOfTheOperation(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		wait, body string
		second     int // the status of the second call
		sentTwice  bool
	}{
		"rate limit":             {429, "60", "slow down", 429, false},
		"a wait in the text":     {429, "", `{"error":"rate limit exceeded","retry_after":60}`, 429, false},
		"no wait is stated":      {429, "", "slow down", 429, true},
		"unavailable":            {503, "60", "maintenance", 503, false},
		"unavailable, no wait":   {503, "", "maintenance", 503, true},
		"the quota of the token": {429, "86400", "No remaining quota: No AI requests remaining", 429, true},
		"another failure":        {500, "60", "oops", 500, true},
		"a wait that is over":    {429, "0", "slow down", 429, true},
	} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
				sent++
				if tt.wait != "" {
					w.Header().Set("Retry-After", tt.wait)
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			})
			r.transport.Pause = guardhttp.PauseAnswer
			r.do(t, http.MethodGet, nil)
			before := sent
			resp, _ := r.do(t, http.MethodGet, nil)
			require.Equal(t, tt.second, resp.StatusCode)
			require.Equal(t, tt.sentTwice, sent > before)
		})
	}
}

// Two answers to calls that were under way together: the later end counts, whichever came last.
func TestAPauseIsOnlyMovedLater(t *testing.T) {
	for _, waits := range [][]string{{"3600", "60"}, {"60", "3600"}} {
		r := newRig(t, only(""))
		r.transport.Pause, r.transport.AllowedHosts = guardhttp.PauseRefuse, []string{"api.example.com"}
		r.transport.Base = meeting{func(n int) *http.Response {
			resp := answering(http.StatusTooManyRequests, http.NoBody)
			resp.Header.Set("Retry-After", waits[n])
			return resp
		}, new(atomic.Int32), make(chan struct{})}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				resp, err := r.transport.RoundTrip(get(t.Context()))
				if err == nil {
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		r.clock.Advance(30 * time.Minute)
		_, err := r.transport.RoundTrip(get(t.Context()))
		require.ErrorIs(t, err, tokenguard.ErrUpstreamLimited)
	}
}

// meeting is a base whose two calls are under way together.
type meeting struct {
	answer func(n int) *http.Response
	n      *atomic.Int32
	all    chan struct{}
}

func (m meeting) RoundTrip(*http.Request) (*http.Response, error) {
	n := m.n.Add(1)
	if n == 2 {
		close(m.all)
	}
	<-m.all
	return m.answer(int(n - 1)), nil
}

func TestPausesAreBounded(t *testing.T) {
	sent := 0
	r := newRig(t, limited(&sent))
	r.transport.Pause = guardhttp.PauseAnswer
	r.transport.Scope = nil
	n := 0
	r.transport.Caller = func(*http.Request) string { return "caller " + letters(n) } // numbers in it would make them one
	base := &replies{}
	r.transport.Base, r.transport.AllowedHosts = base, []string{"api.example.com"}
	for n = range 1500 {
		base.next = append(base.next, func() *http.Response {
			resp := httptest.NewRecorder()
			resp.Header().Set("Retry-After", strconv.Itoa(1000+n))
			resp.WriteHeader(http.StatusTooManyRequests)
			return resp.Result()
		})
		resp, err := r.transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		resp.Body.Close()
	}
	require.Equal(t, 1024, guardhttp.PausesKept(r.transport))
	n = 0
	before := base.sent
	resp, err := r.transport.RoundTrip(get(t.Context()))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, before+1, base.sent, "the one that ends first went")
}

// letters is a number without digits, of one length.
func letters(n int) string {
	b := []byte("aaaa")
	for i := range b {
		b[i] += byte(n >> (4 * i) & 15)
	}
	return string(b)
}
