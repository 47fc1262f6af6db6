package guardhttp_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/sha256"
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
	all, err := io.ReadAll(body)
	if err == nil { // so that a test can tell that nothing was lost
		h.Set("X-Body", fmt.Sprintf("%x", sha256.Sum256(all)))
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(io.MultiReader(bytes.NewReader(all), reader{err}))}
}

// reader ends with err, or as a body should.
type reader struct{ err error }

func (r reader) Read([]byte) (int, error) {
	if r.err == nil {
		return 0, io.EOF
	}
	return 0, r.err
}

func compressed(w io.WriteCloser, into *bytes.Buffer, s string) string {
	_, _ = io.WriteString(w, s) // into memory
	_ = w.Close()
	return into.String()
}

func gzipped(s string) string {
	var b bytes.Buffer
	return compressed(gzip.NewWriter(&b), &b, s)
}

func zlibbed(s string) string {
	var b bytes.Buffer
	return compressed(zlib.NewWriter(&b), &b, s)
}

func deflated(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.DefaultCompression) // a level that exists
	return compressed(w, &b, s)
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
		"stream":       {resp: response(429, strings.NewReader("event: error\ndata: x\n\ndata: y\n"), "Content-Type", "text/event-stream; charset=utf-8"), message: "x\ny\n"},
		"gzip":         {resp: response(429, strings.NewReader(gzipped("No remaining quota")), "Content-Encoding", "GZIP"), message: "No remaining quota"},
		"twice":        {resp: response(429, strings.NewReader(gzipped(gzipped("No remaining quota"))), "Content-Encoding", "gzip, x-gzip"), message: "No remaining quota"},
		"zlib":         {resp: response(429, strings.NewReader(zlibbed("No remaining quota")), "Content-Encoding", "deflate"), message: "No remaining quota"},
		"raw deflate":  {resp: response(429, strings.NewReader(deflated("No remaining quota")), "Content-Encoding", "deflate"), message: "No remaining quota"},
		"long gzip":    {resp: response(500, strings.NewReader(gzipped(long)), "Content-Encoding", "gzip"), message: long[:4096]},
		"bomb":         {resp: response(500, strings.NewReader(gzipped(strings.Repeat("a", 1<<20))), "Content-Encoding", "gzip"), message: strings.Repeat("a", 4096)},
		"not gzip":     {resp: response(429, strings.NewReader("plain"), "Content-Encoding", "gzip")},
		"unreadable":   {resp: response(429, strings.NewReader("\x1b\x03"), "Content-Encoding", "br")},
		"identity":     {resp: response(429, strings.NewReader("No remaining quota"), "Content-Encoding", "identity"), message: "No remaining quota"},
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
			require.Equal(t, tt.resp.Header.Get("X-Body"), fmt.Sprintf("%x", sha256.Sum256(all)), "the body is as it came")
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
