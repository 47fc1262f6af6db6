package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	client "github.com/tokenguard/tokenguard/examples/retryablehttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

type world struct {
	client *retryablehttp.Client
	clock  *tokenguardtest.Clock
	guard  *tokenguard.Guard
	url    string
	bodies []string // as the server got them
}

// serve starts a server that answers with the next of these, and with 200 after the last.
func serve(t *testing.T, answers ...http.HandlerFunc) *world {
	t.Helper()
	w := &world{clock: tokenguardtest.NewClock(time.Time{})}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.bodies = append(w.bodies, r.Header.Get("Authorization")+" "+string(body))
		if len(answers) > 0 {
			answer := answers[0]
			answers = answers[1:]
			answer(rw, r)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	script := tokenguardtest.NewScript(w.clock, tokenguardtest.Reply{Value: "t1", Lifetime: 24 * time.Hour}, tokenguardtest.Reply{Value: "t2", Lifetime: 24 * time.Hour})
	w.guard, err = tokenguard.New(script.Request, tokenguard.WithClock(w.clock))
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.guard.Close() })
	w.client, err = client.New(w.guard, u.Host)
	require.NoError(t, err)
	w.client.RetryWaitMin, w.client.RetryWaitMax = time.Millisecond, time.Millisecond
	w.url = server.URL
	tok, err := w.guard.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.guard.Report(t.Context(), tokenguard.Outcome{TokenID: tok.ID()}))
	w.clock.Advance(10 * time.Minute)
	return w
}

func (w *world) post(t *testing.T) (int, error) {
	t.Helper()
	resp, err := w.client.Post(w.url, "text/plain", strings.NewReader("body"))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, nil
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestAnOutageIsRepeatedWithTheSameToken(t *testing.T) {
	w := serve(t, status(502), status(503))
	code, err := w.post(t)
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Equal(t, []string{"Bearer t1 body", "Bearer t1 body", "Bearer t1 body"}, w.bodies)
}

func TestADeadTokenIsTheTransportsMatter(t *testing.T) {
	w := serve(t, status(401))
	code, err := w.post(t)
	require.NoError(t, err)
	require.Equal(t, 200, code)
	require.Equal(t, []string{"Bearer t1 body", "Bearer t2 body"}, w.bodies, "the body went out twice, whole")
}

func TestARefusalIsNotRepeated(t *testing.T) {
	w := serve(t)
	require.NoError(t, w.guard.Close())
	_, err := w.post(t)
	require.ErrorIs(t, err, tokenguard.ErrClosed)
	require.EqualValues(t, 1, w.guard.Stats().Calls.Refused, "asked once")
	require.Empty(t, w.bodies)
}

func TestALongWaitIsHandedBack(t *testing.T) {
	w := serve(t, status(429, "Retry-After", "3600"))
	code, err := w.post(t)
	require.NoError(t, err)
	require.Equal(t, 429, code)
	require.Len(t, w.bodies, 1)
	_, err = w.post(t)
	require.ErrorIs(t, err, tokenguard.ErrUpstreamLimited, "and the next call is not sent")
	require.Len(t, w.bodies, 1)
}

func TestClientNeedsAHost(t *testing.T) {
	_, err := client.New(nil)
	require.ErrorContains(t, err, "Guard is nil")
	require.ErrorContains(t, err, "AllowedHosts is empty")
}
