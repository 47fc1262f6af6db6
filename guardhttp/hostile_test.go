package guardhttp_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

// moody is a judge that panics.
type moody struct {
	inFeed  bool
	feeds   atomic.Int32
	verdict atomic.Int32
}

func (m *moody) Feed([]byte) bool {
	m.feeds.Add(1)
	if m.inFeed {
		panic("feed")
	}
	return true
}

func (m *moody) Verdict(bool) (tokenguard.Failure, bool) {
	m.verdict.Add(1)
	panic("verdict")
}

// A judge that panics is a mistake in the caller's own code, and panics there, once: what is read and closed afterwards is
// the body alone, and nothing was said of the call.
func TestAJudgeThatPanics(t *testing.T) {
	for _, inFeed := range []bool{true, false} {
		for _, accept := range []string{"identity", "gzip"} {
			r := newRig(t, func(w http.ResponseWriter, r *http.Request) { encoded(w, r, http.StatusOK, "application/json", spent) })
			judge := &moody{inFeed: inFeed}
			r.transport.Judge = func(*http.Response) guardhttp.Judge { return judge }
			resp := r.get(t, "Accept-Encoding", accept)
			panics := 0
			read := func() (n int, err error) {
				defer func() {
					if recover() != nil {
						panics++
					}
				}()
				return resp.Body.Read(make([]byte, 1<<10))
			}
			for range 5 {
				_, _ = read()
			}
			func() {
				defer func() { require.Nil(t, recover()) }()
				require.NoError(t, resp.Body.Close())
				_, err := resp.Body.Read(make([]byte, 1))
				require.Error(t, err)
			}()
			require.Equal(t, 1, panics)
			require.EqualValues(t, 1, judge.feeds.Load())
			require.LessOrEqual(t, judge.verdict.Load(), int32(1))
			require.Zero(t, total(r.guard.Stats().Calls.Outcomes))
		}
	}
}

// A media type that breaks the grammar is still one.
func TestMediaTypesAsServersSendThem(t *testing.T) {
	for kind, judged := range map[string]bool{
		"application/json": true, "Application/JSON": true, "application/json;charset=utf-8": true, "application/json; charset": true,
		"application/json; charset=utf-8; charset=utf-8": true, "application/json;": true, " application/json ; x=\"": true,
		"application/json, application/json": true, "application/vnd.api+json; ext=\"https://x.test/y": true,
		"text/event-stream": true, "text/event-stream; charset=utf-8;charset=UTF-8": true, "TEXT/event-stream;;": true,
		"": false, ";application/json": false, "text/plain; x=application/json": false, "application/jsonp": false,
	} {
		require.Equal(t, judged, guardhttp.JudgeErrors(typed(kind)) != nil, kind)
	}
}

// A connection that was upgraded is handed over as it came: it can be written to.
func TestUpgradedConnection(t *testing.T) {
	r := judging(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, bearer(r), " ", line)
		_ = rw.Flush()
	})
	resp := r.get(t, "Connection", "Upgrade", "Upgrade", "echo")
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	both, ok := resp.Body.(io.ReadWriteCloser)
	require.True(t, ok, "%T", resp.Body)
	_, err := io.WriteString(both, "hello\n")
	require.NoError(t, err)
	all, err := io.ReadAll(both)
	require.NoError(t, err)
	require.Equal(t, "t1 hello\n", string(all))
	require.NotEmpty(t, guardhttp.TokenID(resp.Request.Context()))
	require.EqualValues(t, map[string]int64{"success": 1}, nonzero(r.guard.Stats().Calls.Outcomes))
}

// Trailers come with the end of a body, judged or read ahead.
func TestTrailersArrive(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusForbidden} {
		r := judging(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-End")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprint(w, `{"a":1}`)
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, strings.Repeat(" ", 10000))
			w.Header().Set("X-End", "here")
		})
		resp := r.get(t)
		_, err := io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.Equal(t, "here", resp.Trailer.Get("X-End"))
	}
}

// raw is a server that writes bytes, and closes.
func raw(t *testing.T, answer string) (host string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	})
	return l.Addr().String()
}

// Bodies that end before their framing does: the caller gets what came and the error, and the guard hears of a call that
// failed on its way, or of what was told before.
func TestBodiesThatAreCutOff(t *testing.T) {
	const json, events = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	chunk := func(s string) string { return fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(s), s) }
	for name, tt := range map[string]struct{ head, body, after, class string }{
		"chunked":                {json, `{"a":1`, "", "transient"},
		"chunked, after all":     {json, `{"a":1}`, "", "success"},
		"chunked, after errors":  {json, `{"data":null,"errors":["No remaining quota"]}`, "", "quota_exhausted"},
		"chunked, a bad length":  {json, `{"a":1`, "zz\r\n", "transient"},
		"stream after an event":  {events, "data: 1\n\n", "", "transient"},
		"stream in an event":     {events, "event: error\ndata: No remaining quota", "", "transient"},
		"stream after its end":   {events, "data: [DONE]\n\n", "", "success"},
		"stream after the error": {events, "event: error\ndata: No remaining quota\n\n\n", "", "quota_exhausted"},
		"with a length":          {json + "Content-Length: 100\r\n", `{"a":1`, "", "transient"},
		"without anything":       {json + "Content-Length: 100\r\n", "", "", "transient"},
	} {
		r := newRig(t, only(""))
		answer := tt.head + "\r\n" + tt.body
		if !strings.Contains(tt.head, "Length") {
			answer = tt.head + chunk(tt.body) + tt.after
		}
		host := raw(t, answer)
		base := &http.Transport{DisableKeepAlives: true}
		client := &http.Client{Transport: &guardhttp.Transport{Guard: r.guard, Base: base, AllowedHosts: []string{host}, Clock: r.clock, Judge: guardhttp.JudgeErrors}}
		resp, err := client.Get("http://" + host)
		require.NoError(t, err, name)
		body, err := io.ReadAll(resp.Body)
		require.Error(t, err, name)
		require.Equal(t, tt.body, string(body), name)
		require.NoError(t, resp.Body.Close())
		require.EqualValues(t, map[string]int64{tt.class: 1}, nonzero(r.guard.Stats().Calls.Outcomes), name)
	}
}

// Compressed bodies as servers send them: several members one after the other, an empty one, none at all.
func TestOddCompression(t *testing.T) {
	half := len(spent) / 2
	var empty bytes.Buffer
	z := gzip.NewWriter(&empty)
	require.NoError(t, z.Close())
	for name, tt := range map[string]struct{ body, class string }{
		"two members":           {gzipped(spent[:half]) + gzipped(spent[half:]), "quota_exhausted"},
		"an empty one first":    {empty.String() + gzipped(spent), "quota_exhausted"},
		"an empty one in it":    {gzipped(spent[:half]) + empty.String() + gzipped(spent[half:]), "quota_exhausted"},
		"with garbage after it": {gzipped(spent) + "garbage", "quota_exhausted"},
		"a member of nothing":   {empty.String(), "success"},
		"no bytes":              {"", "success"},
	} {
		for _, status := range []int{http.StatusOK, http.StatusPaymentRequired} {
			r := judging(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(status)
				for i := range len(tt.body) { // byte by byte
					_, _ = io.WriteString(w, tt.body[i:i+1])
					if i%16 == 0 {
						_ = http.NewResponseController(w).Flush()
					}
				}
			})
			resp := r.get(t, "Accept-Encoding", "gzip")
			all, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, tt.body, string(all), "as it came")
			class := tt.class
			if status != http.StatusOK && class == "success" {
				class = string(tokenguard.Classify(tokenguard.Failure{StatusCode: status}))
			}
			require.EqualValues(t, map[string]int64{class: 1}, nonzero(r.guard.Stats().Calls.Outcomes), "%s %d", name, status)
		}
	}
}

// Answers without a body, whatever their header says of one.
func TestAnswersWithoutABody(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
	}{
		{http.MethodHead, http.StatusOK}, {http.MethodHead, http.StatusUnauthorized}, {http.MethodGet, http.StatusNoContent},
		{http.MethodGet, http.StatusNotModified}, {http.MethodGet, http.StatusResetContent},
	} {
		r := judging(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(tt.status)
		})
		req, err := http.NewRequestWithContext(t.Context(), tt.method, r.server.URL, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := r.client.Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NotEmpty(t, guardhttp.TokenID(resp.Request.Context()))
		want := "success"
		if tt.status == http.StatusUnauthorized {
			want = "auth_invalid"
		}
		require.EqualValues(t, map[string]int64{want: 1}, nonzero(r.guard.Stats().Calls.Outcomes), "%+v", tt)
	}
}

// Over HTTP/2: an error event, a stream that is reset before its end, and an answer that is sent again.
func TestHTTP2(t *testing.T) {
	r := newRig(t, only(""))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		assert.Equal(t, 2, req.ProtoMajor)
		w.Header().Set("Content-Type", "text/event-stream")
		switch req.URL.Path {
		case "/error":
			fmt.Fprintf(w, "data: 1\n\nevent: error\ndata: %s\n\n", spent)
		case "/reset":
			fmt.Fprint(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/refused":
			if bearer(req) == "t1" {
				http.Error(w, "invalid token", http.StatusUnauthorized)
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	client := &http.Client{Transport: &guardhttp.Transport{Guard: r.guard, Base: server.Client().Transport, AllowedHosts: []string{u.Host}, Clock: r.clock, Judge: guardhttp.JudgeErrors}}
	said := func() map[string]int64 { return nonzero(r.guard.Stats().Calls.Outcomes) }
	call := func(path string) (*http.Response, error) {
		resp, err := client.Get(server.URL + path)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return resp, err
	}
	_, err = call("/reset")
	require.Error(t, err)
	require.EqualValues(t, map[string]int64{"transient": 1}, said())
	r.clock.Advance(5 * time.Minute)
	resp, err := call("/refused")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, tokenguard.TokenID("t2"), guardhttp.TokenID(resp.Request.Context()))
	require.EqualValues(t, map[string]int64{"transient": 1, "auth_invalid": 1, "success": 1}, said())
	_, err = call("/error")
	require.NoError(t, err)
	require.EqualValues(t, 1, said()["quota_exhausted"])
}
