package guardhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

func response(status int, body io.Reader, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body)}
}

func TestFailureFromResponse(t *testing.T) {
	long := strings.Repeat("long ", 2000)
	for name, tt := range map[string]struct {
		resp    *http.Response
		message string
		zero    bool
	}{
		"success":      {resp: response(200, strings.NewReader("No remaining quota")), zero: true},
		"redirect":     {resp: response(302, strings.NewReader("")), zero: true},
		"not modified": {resp: response(304, strings.NewReader("")), zero: true},
		"short":        {resp: response(429, strings.NewReader("No remaining quota")), message: "No remaining quota"},
		"long":         {resp: response(500, strings.NewReader(long)), message: long[:4096]},
		"byte by byte": {resp: response(500, iotest.OneByteReader(strings.NewReader("slow"))), message: "slow"},
		"stream":       {resp: response(429, strings.NewReader("data: x"), "Content-Type", "text/event-stream; charset=utf-8")},
		"compressed":   {resp: response(429, strings.NewReader("\x1f\x8b"), "Content-Encoding", "gzip")},
	} {
		t.Run(name, func(t *testing.T) {
			body := tt.resp.Body
			f := guardhttp.FailureFromResponse(tt.resp)
			require.Equal(t, tt.zero, f.IsZero())
			require.Equal(t, tt.message, f.Message)
			if tt.zero {
				require.Equal(t, body, tt.resp.Body)
				return
			}
			require.Equal(t, tt.resp.StatusCode, f.StatusCode)
			all, err := io.ReadAll(tt.resp.Body)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(all), tt.message))
			if name == "long" {
				require.Equal(t, long, string(all))
			}
		})
	}
	require.True(t, guardhttp.FailureFromResponse(nil).IsZero())
	require.False(t, guardhttp.FailureFromResponse(&http.Response{StatusCode: 500}).IsZero())
}

func TestFailureFromResponseCopiesTheHeader(t *testing.T) {
	resp := response(429, strings.NewReader(""), "Retry-After", "5")
	f := guardhttp.FailureFromResponse(resp)
	resp.Header.Set("Retry-After", "7")
	require.Equal(t, []string{"5"}, f.Header["Retry-After"])
}

func TestFailureFromResponseKeepsAReadError(t *testing.T) {
	broken := errors.New("broken")
	resp := response(500, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
	require.Equal(t, "half", guardhttp.FailureFromResponse(resp).Message)
	all, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, broken)
	require.Equal(t, "half", string(all))
}

func TestFailureFromError(t *testing.T) {
	require.True(t, guardhttp.FailureFromError(nil).IsZero())
	require.True(t, guardhttp.FailureFromError(context.Canceled).IsZero())
	require.True(t, guardhttp.FailureFromError(&url.Error{Op: "Get", URL: "http://x", Err: context.Canceled}).IsZero())
	refused := errors.New("connection refused")
	f := guardhttp.FailureFromError(fmt.Errorf("call: %w", &url.Error{Op: "Get", URL: "http://x/?key=hidden", Err: refused}))
	require.Same(t, refused, f.Err)
	f = guardhttp.FailureFromError(context.DeadlineExceeded)
	require.Equal(t, tokenguard.Failure{Err: context.DeadlineExceeded}, f)
}
