package guardhttp_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// trickle is a body that says its pieces at their times, and then waits until it is closed.
type trickle struct {
	pieces []piece
	start  time.Time
	closed chan struct{}
	once   sync.Once
	ends   bool // with the last piece
}

type piece struct {
	after time.Duration
	text  string
}

func trickling(ends bool, pieces ...piece) *trickle {
	return &trickle{pieces: pieces, start: time.Now(), closed: make(chan struct{}), ends: ends}
}

func (b *trickle) Read(p []byte) (int, error) {
	if len(b.pieces) == 0 {
		if b.ends {
			return 0, io.EOF
		}
		<-b.closed
		return 0, io.ErrClosedPipe
	}
	select {
	case <-time.After(b.pieces[0].after - time.Since(b.start)):
	case <-b.closed:
		return 0, io.ErrClosedPipe
	}
	n := copy(p, b.pieces[0].text)
	if b.pieces[0].text = b.pieces[0].text[n:]; b.pieces[0].text == "" {
		b.pieces = b.pieces[1:]
	}
	return n, nil
}

func (b *trickle) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// replies is a base that answers each call with the next of its answers, and after the last one with 200.
type replies struct {
	next []func() *http.Response
	sent int
}

func (b *replies) RoundTrip(r *http.Request) (*http.Response, error) {
	b.sent++
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
	if len(b.next) > 0 {
		resp, b.next = b.next[0](), b.next[1:]
	}
	resp.Request = r
	return resp, nil
}

// bubble runs f with a Transport over a base, in a synctest bubble.
func bubble(t *testing.T, base *replies, f func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport)) {
	synctest.Test(t, func(t *testing.T) {
		script := tokenguardtest.NewScript(nil, tokenguardtest.Reply{Value: "t1", Lifetime: 24 * time.Hour}, tokenguardtest.Reply{Value: "t2", Lifetime: 24 * time.Hour})
		guard, err := tokenguard.New(script.Request, tokenguard.WithConfig(tokenguard.Config{RateLimit: tokenguard.RateLimits{MinInterval: time.Nanosecond},
			Manager: tokenguard.ManagerConfig{MinTokenAge: time.Minute, RecentWindow: time.Nanosecond}}))
		require.NoError(t, err)
		defer guard.Close()
		tok, err := guard.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, guard.Report(t.Context(), tokenguard.Outcome{TokenID: tok.ID()}))
		time.Sleep(time.Minute) // the bubble's
		f(t, guard, &guardhttp.Transport{Guard: guard, Base: base, AllowedHosts: []string{"api.example.com"}})
	})
}

func answering(status int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}
}

func get(ctx context.Context) *http.Request {
	return httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil).WithContext(ctx)
}

// A 403 of one byte and no end is passed on after a second, and the guard has heard of it.
func TestAnErrorWithoutAnEndHoldsNobody(t *testing.T) {
	base := &replies{next: []func() *http.Response{func() *http.Response {
		return answering(http.StatusForbidden, trickling(false, piece{0, "n"}, piece{5 * time.Second, "o way"}))
	}}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		start := time.Now()
		resp, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start))
		require.EqualValues(t, 1, guard.Stats().Calls.Outcomes["forbidden"])
		b := make([]byte, 100)
		n, err := io.ReadAtLeast(resp.Body, b, 6)
		require.NoError(t, err)
		require.Equal(t, "no way", string(b[:n]), "what was read ahead, then what comes later")
		require.Equal(t, 5*time.Second, time.Since(start))
		time.AfterFunc(time.Second, func() { resp.Body.Close() })
		_, err = resp.Body.Read(b)
		require.ErrorIs(t, err, io.ErrClosedPipe, "Close ends a Read")
	})
}

// After the second no more is read than the caller asks for, but for the Read that was under way.
func TestReadingAheadEnds(t *testing.T) {
	var body *trickle
	base := &replies{next: []func() *http.Response{func() *http.Response { return answering(http.StatusForbidden, body) }}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		body = trickling(true, piece{0, "a"}, piece{2 * time.Second, "b"}, piece{3 * time.Second, "c"}, piece{4 * time.Second, "d"})
		resp, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, body.pieces, 2)
		all, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "abcd", string(all))
	})
}

func TestAnErrorThatIsCompleteIsNotWaitedFor(t *testing.T) {
	base := &replies{next: []func() *http.Response{func() *http.Response {
		return answering(http.StatusForbidden, trickling(true, piece{0, "no "}, piece{300 * time.Millisecond, "way"}))
	}}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		start := time.Now()
		resp, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		require.Equal(t, 300*time.Millisecond, time.Since(start))
		all, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "no way", string(all))
		require.NoError(t, resp.Body.Close())
	})
}

// What is known after a second is enough to replay; draining adds nothing to it, and costs the connection instead.
func TestAnAnswerWithoutAnEndIsReplayed(t *testing.T) {
	var body *trickle // a channel of the bubble's
	base := &replies{next: []func() *http.Response{func() *http.Response { return answering(http.StatusUnauthorized, body) }}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		body = trickling(false, piece{0, "invalid token"})
		start := time.Now()
		resp, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, 2, base.sent)
		require.Equal(t, time.Second, time.Since(start))
		<-body.closed
	})
}

// An answer of 4 KiB at once and then nothing is known at once; only the drain is bounded by the second.
func TestTheDrainIsBounded(t *testing.T) {
	var body *trickle
	base := &replies{next: []func() *http.Response{func() *http.Response { return answering(http.StatusUnauthorized, body) }}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		body = trickling(false, piece{0, "invalid token" + strings.Repeat(" ", 4096)})
		start := time.Now()
		_, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start))
		<-body.closed
	})
}

// The guard reads from the latency when a call began: of a judged one it is the time up to the verdict.
func TestALongStreamBeganWhenItBegan(t *testing.T) {
	base := &replies{next: []func() *http.Response{func() *http.Response {
		resp := answering(http.StatusOK, trickling(true, piece{0, "data: 1\n\n"}, piece{time.Minute, "data: 2\n\n"}))
		resp.Header.Set("Content-Type", "text/event-stream")
		return resp
	}}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		transport.Judge = guardhttp.JudgeErrors
		resp, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Contains(t, guard.Stats().Predictor.Reason, "the mean response took 1m0s")
	})
}

// A body that panics ends its own call.
func TestABodyThatPanics(t *testing.T) {
	base := &replies{next: []func() *http.Response{func() *http.Response { return answering(http.StatusForbidden, panicking{}) }}}
	bubble(t, base, func(t *testing.T, guard *tokenguard.Guard, transport *guardhttp.Transport) {
		resp, err := transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorContains(t, err, "panicked")
	})
}

type panicking struct{ io.Closer }

func (panicking) Read([]byte) (int, error) { panic("a foreign body") }
