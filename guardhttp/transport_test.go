package guardhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func TestTransportInjectsACopy(t *testing.T) {
	r := newRig(t, only("t1"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	req.Header.Set("X-Mine", "yes")
	resp, err := r.transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, http.Header{"X-Mine": {"yes"}}, req.Header, "the caller's request is as it was")
	require.Equal(t, req.Header, resp.Request.Header, "no token in what the response shows")
	require.Equal(t, tokenguard.TokenID("t1"), guardhttp.TokenID(resp.Request.Context()), "but its ID")
	require.Empty(t, guardhttp.TokenID(req.Context()))
}

func TestTransportOwnInjection(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Api-Key"), bearer(r)) })
	r.transport.Inject = func(req *http.Request, tok tokenguard.Token) error {
		req.Header.Set("X-Api-Key", tok.Value())
		return nil
	}
	_, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, "t1", body)
}

func TestTransportInjectionThatFails(t *testing.T) {
	sent := false
	r := newRig(t, func(http.ResponseWriter, *http.Request) { sent = true })
	broken := errors.New("no signing key")
	r.transport.Inject = func(*http.Request, tokenguard.Token) error { return broken }
	body := &closing{Reader: strings.NewReader("x")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL, body)
	require.NoError(t, err)
	_, err = r.client.Do(req)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "Transport.Inject")
	require.True(t, body.closed)
	require.False(t, sent)
	require.Zero(t, total(r.guard.Stats().Calls.Outcomes))
}

func TestTransportInjectionMayChangeTheURL(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Query().Get("key")) })
	r.transport.Inject = func(req *http.Request, tok tokenguard.Token) error {
		req.URL.RawQuery = url.Values{"key": {tok.Value()}}.Encode()
		return nil
	}
	resp, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, "t1", body)
	require.Empty(t, resp.Request.URL.RawQuery)
}

func TestTransportScopeAndCaller(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, bearer(r)) })
	r.transport.Scope = func(req *http.Request) string { return req.Method }
	r.transport.Caller = func(*http.Request) string { return "worker" }
	_, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, "t1", body)
	r.clock.Advance(time.Minute)
	_, body = r.do(t, http.MethodDelete, nil)
	require.Equal(t, "t2", body)
	calls := r.script.Calls()
	require.Equal(t, "DELETE", calls[1].Request.Scope)
	require.Equal(t, "worker", calls[1].Request.Caller)
}

// turns records what happens at the wire: attempts, and the end of bodies.
type turns struct {
	base http.RoundTripper
	mu   sync.Mutex
	log  []string
}

func (b *turns) RoundTrip(r *http.Request) (*http.Response, error) {
	b.note("send")
	resp, err := b.base.RoundTrip(r)
	if err == nil {
		resp.Body = &watched{resp.Body, b}
	}
	return resp, err
}

func (b *turns) CloseIdleConnections() { b.note("idle") }

func (b *turns) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, s)
}

type watched struct {
	io.ReadCloser
	b *turns
}

func (w *watched) Read(p []byte) (int, error) {
	w.b.note("read")
	return w.ReadCloser.Read(p)
}

func (w *watched) Close() error {
	w.b.note("close")
	return w.ReadCloser.Close()
}

func TestTransportClosesTheFirstAnswerBeforeTheSecondAttempt(t *testing.T) {
	r := newRig(t, only("t2"))
	r.warm(t)
	b := &turns{base: r.transport.Base}
	r.transport.Base = b
	r.do(t, http.MethodGet, nil)
	var marks []string
	for _, s := range b.log {
		if s != "read" {
			marks = append(marks, s)
		}
	}
	require.Equal(t, []string{"send", "close", "send", "close"}, marks)
}

func TestTransportLeavesGoodBodiesAlone(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	b := &turns{base: r.transport.Base}
	r.transport.Base = b
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	require.Equal(t, []string{"send"}, b.log, "not one byte is read ahead")
	resp.Body.Close()
	r.client.CloseIdleConnections()
	require.Equal(t, "idle", b.log[len(b.log)-1])
}

func TestTransportPutsTheErrorBodyBack(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, long)
	})
	resp, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.Equal(t, long, body)
}

func TestTransportPassesStreamsThrough(t *testing.T) {
	proceed := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-proceed:
		case <-r.Context().Done():
			return
		}
		fmt.Fprint(w, "data: No remaining quota\n\n")
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	require.True(t, lines.Scan())
	require.Equal(t, "data: 1", lines.Text(), "the first event is here before the second is sent")
	close(proceed)
	for lines.Scan() && lines.Text() == "" {
	}
	require.Equal(t, "data: No remaining quota", lines.Text(), "a stream that has begun is never repeated")
	require.Len(t, r.script.Calls(), 1)
}

func TestTransportFailsBeforeSending(t *testing.T) {
	sent := false
	r := newRig(t, func(http.ResponseWriter, *http.Request) { sent = true })
	require.NoError(t, r.guard.Close())
	body := &closing{Reader: strings.NewReader("x")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL, body)
	require.NoError(t, err)
	_, err = r.client.Do(req)
	var refused *tokenguard.RefusedError
	require.ErrorAs(t, err, &refused, "under *url.Error")
	require.ErrorIs(t, err, tokenguard.ErrClosed)
	require.True(t, body.closed)
	require.False(t, sent)
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestTransportWaits(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, bearer(r)) })
	script := tokenguardtest.NewScript(r.clock, tokenguardtest.Reply{Err: tokenguardtest.ErrScripted}, tokenguardtest.Reply{Value: "later"})
	guard, err := tokenguard.New(script.Request, tokenguard.WithClock(r.clock))
	require.NoError(t, err)
	defer guard.Close()
	_, err = guard.Token(t.Context())
	require.Error(t, err)
	r.transport.Guard, r.transport.Wait = guard, true
	r.clock.AutoAdvance(true)
	_, body := r.do(t, http.MethodGet, nil)
	require.Equal(t, "later", body)
}

func TestTransportNeedsItsFields(t *testing.T) {
	req := httptest.NewRequest(http.MethodGet, "http://api.example.com", nil)
	_, err := (&guardhttp.Transport{}).RoundTrip(req)
	require.ErrorContains(t, err, "Transport.Guard is nil")
	require.ErrorContains(t, err, "AllowedHosts is empty")
	r := newRig(t, only(""))
	_, err = (&guardhttp.Transport{Guard: r.guard}).RoundTrip(req)
	require.ErrorContains(t, err, "AllowedHosts is empty")
	(&guardhttp.Transport{}).CloseIdleConnections() // http.DefaultTransport's
}

func total(outcomes map[string]int64) (n int64) {
	for _, v := range outcomes {
		n += v
	}
	return n
}

func TestTransportCountsEachCallOnce(t *testing.T) {
	r := newRig(t, only("t2"))
	r.warm(t)
	r.do(t, http.MethodGet, nil)
	outcomes := r.guard.Stats().Calls.Outcomes
	require.EqualValues(t, 1, outcomes["auth_invalid"])
	require.EqualValues(t, 2, outcomes["success"], "one of them was warming up")
	require.EqualValues(t, 3, total(outcomes))
}

func TestTransportReportsWhatItSaw(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "100")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("Retry-After", "90")
		http.Error(w, "rate limit exceeded, slow down", http.StatusTooManyRequests)
	})
	r.do(t, http.MethodGet, nil)
	e, err := r.guard.Explain(t.Context(), tokenguard.Request{Caller: "GET " + r.server.Listener.Addr().String() + "/"})
	require.NoError(t, err)
	for _, v := range e.Steps {
		if v.Step == tokenguard.StepManager {
			require.Equal(t, tokenguard.ReasonUpstreamRateLimited, v.Reason)
			require.Equal(t, 90*time.Second, v.Until.Sub(r.clock.Now()).Round(time.Second))
		}
	}
}

func TestTransportLeavesCancellationAlone(t *testing.T) {
	var rec tokenguardtest.Recorder
	inside := make(chan struct{})
	r := newRig(t, func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	})
	guard, err := tokenguard.New(r.script.Request, tokenguard.WithClock(r.clock), tokenguard.WithObserver(rec.Observe))
	require.NoError(t, err)
	defer guard.Close()
	r.transport.Guard = guard
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-inside
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	_, err = r.client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, rec.Kinds(), tokenguard.EventReported)
	require.Zero(t, total(guard.Stats().Calls.Outcomes))
}

func TestTransportReportsWhatNeverAnswered(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := r.client.Get(r.server.URL)
	require.Error(t, err)
	var at *url.Error
	require.True(t, errors.As(err, &at))
	outcomes := r.guard.Stats().Calls.Outcomes
	require.EqualValues(t, 1, total(outcomes))
	require.Zero(t, outcomes["success"])
}
