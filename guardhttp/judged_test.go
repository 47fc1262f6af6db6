package guardhttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
)

func typed(kind string) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {kind}}}
}

// verdict feeds a judge in chunks of n bytes, as the Reads of a body may be.
func verdict(j guardhttp.Judge, body string, n int, whole bool) (f tokenguard.Failure, ok bool) {
	decided := false
	for len(body) > 0 && !decided {
		n := min(n, len(body))
		decided = j.Feed([]byte(body[:n]))
		body = body[n:]
	}
	return j.Verdict(whole || decided)
}

func TestJudgeJSON(t *testing.T) {
	long := strings.Repeat("x", 10000)
	for body, want := range map[string]string{
		`{"error":"No remaining quota"}`:                                                            `{"error":"No remaining quota"}`,
		" \r\n\t{ \"error\" : { \"code\" : 429 } }":                                                 `{"error":{"code":429}}`,
		"\xef\xbb\xbf" + `{"error":true,"message":"spent","n":[{}]}`:                                `{"error":true,"message":"spent"}`,
		`{"choices":[{"text":"invalid token"}],"content":"invalid token","error":"quota","code":7}`: `{"error":"quota","code":7}`,
		`{"message":"first","error":["a",{"b":"}"}],"detail":{"no":1}}`:                             `{"message":"first","error":["a",{"b":"}"}]}`,
		`{"error":"a \"quoted\" \\ text, {[","code":1}`:                                             `{"error":"a \"quoted\" \\ text, {[","code":1}`,
		`{"a":"` + long + `","error":"late"}`:                                                       `{"error":"late"}`,
		`{"error":"cut off in the mid`:                                                              "",
		`{"error":null,"code":7}`:                                                                   "",
		`{"error":false}`:                                                                           "", `{"error":0}`: "", `{"error":""}`: "", `{"error": { } }`: "", `{"error":[ ]}`: "",
		`{"data":{"error":"nested"}}`: "", `[{"error":"in an array"}]`: "", `"error"`: "", ``: "", `not JSON "error": 1`: "",
		`{"errors":"a text"}`: "", `{"text":"\"error\":1","x":{"error":2}}`: "", `{}`: "", `{"a":[1,2,"error"],"b":"error"}`: "",
	} {
		for _, n := range []int{1, 2, 7, 1 << 20} {
			f, ok := verdict(guardhttp.JudgeJSON(typed("application/json; charset=utf-8")), body, n, true)
			require.True(t, ok)
			require.Equal(t, want, f.Message, "%q in pieces of %d", body, n)
			require.Equal(t, want == "", f.IsZero())
		}
	}
	j := guardhttp.JudgeJSON(typed("application/problem+json"))
	f, ok := verdict(j, `{"error":"`+long+`"}`, 100, true)
	require.True(t, ok)
	require.Less(t, len(f.Message), 4200, "bounded")
	_, ok = verdict(guardhttp.JudgeJSON(typed("application/json")), `{"data":`, 1, false)
	require.False(t, ok, "it breaks off before the judge can tell")
	f, ok = verdict(guardhttp.JudgeJSON(typed("application/json")), `{"error":"x","data":`, 1, false)
	require.True(t, ok && !f.IsZero(), "the error was seen")
	_, ok = verdict(guardhttp.JudgeJSON(typed("application/json")), `{"data":1} `, 1, false)
	require.True(t, ok, "the object was complete")
	for _, kind := range []string{"", "text/html", "text/event-stream", "application/octet-stream"} {
		require.Nil(t, guardhttp.JudgeJSON(typed(kind)))
	}
	require.Nil(t, guardhttp.JudgeErrors(typed("text/html")))
}

// Errors in an array are a failure unless there is a result beside them.
func TestJudgeErrorsInAnArray(t *testing.T) {
	const errs = `"errors":[{"message":"Rate limit exceeded","path":["me"],"extensions":{"code":"RATE_LIMITED"}}]`
	const told = "{" + errs + "}"
	long := `"` + strings.Repeat("x", 10000) + `"`
	for body, want := range map[string]string{
		`{"data":null,` + errs + `}`:                             told,
		`{` + errs + `,"data":null}`:                             told,
		`{` + errs + `}`:                                         told,
		" {\n \"data\" : null,\n " + errs + " }":                 told,
		`{"data":{"me":null,"you":null},` + errs + `}`:           told,
		`{"data":{},` + errs + `}`:                               told,
		`{"data":[],` + errs + `}`:                               told,
		`{"data":[{"a":null},null],` + errs + `}`:                told,
		`{` + errs + `,"extensions":{"cost":7}}`:                 told,
		`{` + errs + `,"meta":{"n":1},"links":{"self":"/x"}}`:    told,
		`{` + errs + `,"items":[],"user":{},"n":null}`:           told,
		`{"errors":["quota exceeded"],"code":7,"success":false}`: `{"errors":["quota exceeded"],"code":7}`,
		`{"errors":[1]}`:                                         `{"errors":[1]}`,
		`{"text":` + long + `,` + errs + `}`:                     told,

		`{"data":{"me":{"id":null},"you":{"id":1}},` + errs + `}`: "",
		`{"data":{"me":null,"you":"x"},` + errs + `}`:             "",
		`{"data":{"me":false},` + errs + `}`:                      "",
		`{` + errs + `,"data":{"a":-1}}`:                          "",
		`{"data":"text",` + errs + `}`:                            "",
		`{"data":0,` + errs + `}`:                                 "",
		`{"data":[1],` + errs + `}`:                               "",
		`{"data":{"a":[""]},` + errs + `}`:                        "",
		`{"data":{"a":` + long + `},` + errs + `}`:                "",
		`{"results":[{"id":1}],` + errs + `}`:                     "",
		`{` + errs + `,"user":{"name":"x"}}`:                      "",
		`{"data":null,"errors":[]}`:                               "",
		`{"errors":[null]}`:                                       "",
		`{"errors":[{}, {"a": null}]}`:                            "",
		`{"errors":null}`:                                         "",
		`{"errors":true,"items":[{"x":1}]}`:                       "",
		`{"errors":3}`:                                            "",
		`{"success":true,"errors":["row 3: token expired"]}`:      "",
		`{"total":1,"errors":[{"message":"token expired"}]}`:      "",
		`{"created":3,"errors":["monthly quota exceeded"]}`:       "",
		`{"code":1,"total":0,"errors":["no quota"]}`:              `{"code":1,"errors":["no quota"]}`,
		`{"errors":{"name":["is missing"]}}`:                      "",
		`{"errors":"quota"}`:                                      "",
		`{"data":{` + errs + `}}`:                                 "",
		`[{` + errs + `}]`:                                        "",
	} {
		for _, n := range []int{1, 2, 7, 1 << 20} {
			f, ok := verdict(guardhttp.JudgeErrors(typed("application/graphql-response+json")), body, n, true)
			require.True(t, ok)
			require.Equal(t, want, f.Message, "%q in pieces of %d", body, n)
			event := "event: next\ndata: {\"data\":{\"n\":1}}\n\nevent: next\ndata: " + strings.ReplaceAll(body, "\n", "\ndata: ") + "\n\n"
			f, ok = verdict(guardhttp.JudgeErrors(typed("text/event-stream")), event, n, true)
			require.True(t, ok)
			require.Equal(t, want, f.Message, "%q in pieces of %d", event, n)
		}
	}
	for _, cut := range []string{`{` + errs, `{` + errs + `,"data":`, `{"data":null,` + errs + `,`} {
		_, ok := verdict(guardhttp.JudgeErrors(typed("application/json")), cut, 7, false)
		require.False(t, ok, "a result may have been to come: %s", cut)
	}
	_, ok := verdict(guardhttp.JudgeErrors(typed("application/json")), `{"data":null,`+errs+`}`, 7, false)
	require.True(t, ok)
}

func TestJudgeEvents(t *testing.T) {
	good := "data: {\"n\":1}\n\n: a comment\n\nid: 7\nretry: 10\ndata: two\ndata: lines\n\n"
	for body, want := range map[string]string{
		good: "",
		good + "event: error\ndata: No remaining quota\n\ndata: more\n\n": "No remaining quota",
		good + "data: {\"error\":{\"code\":429}}\n\n":                     `{"error":{"code":429}}`,
		good + "data: {\"error\":\ndata: \"two lines\"}\n\n":              `{"error":"two lines"}`,
		good + "data:{\"error\":\"no space\"}":                            `{"error":"no space"}`, // the stream ends without an empty line
		"event: error\ndata:  {\"type\":\"error\",\"error\":{}}\r\n\r\n":  ` {"type":"error","error":{}}`,
		"\xef\xbb\xbfevent: error\r\ndata: CRLF\r\n\r\n":                  "CRLF",
		"event: error\rdata: CR\r\r":                                      "CR",
		"event: error\n\n":                                                "", // without data it is no event
		"event: error\nevent: fine\ndata: x\n\n":                          "", // the last name counts
		"event: error\n\ndata: x\n\n":                                     "",
		"data: [DONE]\n\ndata: {\"error\":1}\n\n":                         "",
		"event: message_stop\ndata: {}\n\nevent: error\ndata: x\n\n":      "",
		"data: {\"delta\":\"{\\\"error\\\":1}\"}\n\n":                     "",
		"dat: {\"error\":1}\n\nxdata: {\"error\":1}\n\ndata\n\n":          "",
	} {
		for _, n := range []int{1, 2, 7, 1 << 20} {
			f, ok := verdict(guardhttp.JudgeEvents(typed("text/event-stream")), body, n, true)
			require.True(t, ok)
			require.Equal(t, want, f.Message, "%q in pieces of %d", body, n)
			require.Equal(t, want == "", f.IsZero())
		}
	}
	_, ok := verdict(guardhttp.JudgeErrors(typed("text/event-stream")), good+"event: error\ndata: x", 9, false)
	require.False(t, ok, "closed before the event was complete")
	_, ok = verdict(guardhttp.JudgeErrors(typed("text/event-stream")), good+"data: [DONE]\n\n", 9, false)
	require.True(t, ok, "a good end needs no end of the stream")
	f, ok := verdict(guardhttp.JudgeErrors(typed("text/event-stream")), "event: error\ndata: "+strings.Repeat("x", 1<<20)+"\n\n", 999, true)
	require.True(t, ok)
	require.Len(t, f.Message, 4096, "bounded")
}

// judging is a rig whose bodies are judged.
func judging(t *testing.T, handler http.HandlerFunc) *rig {
	r := newRig(t, handler)
	r.transport.Judge = guardhttp.JudgeErrors
	return r
}

func (r *rig) get(t *testing.T, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestJudgedBodies(t *testing.T) {
	for name, tt := range map[string]struct{ kind, body, class string }{
		"error":       {"application/json", spent, "quota_exhausted"},
		"fine":        {"application/json", `{"result":"ok"}`, "success"},
		"error event": {"text/event-stream", "data: 1\n\ndata: " + spent + "\n\n", "quota_exhausted"},
		"fine event":  {"text/event-stream", "data: 1\n\ndata: 2\n\n", "success"},
		"not judged":  {"text/plain", spent, "success"},
		"status told": {"application/json", `{"error":{"code":503,"message":"overloaded"}}`, "transient"},
	} {
		for _, accept := range []string{"identity", "gzip", ""} {
			t.Run(name+" "+accept, func(t *testing.T) {
				r := judging(t, func(w http.ResponseWriter, r *http.Request) { encoded(w, r, http.StatusOK, tt.kind, tt.body) })
				header := []string{"Accept-Encoding", accept}
				if accept == "" {
					header = nil
				}
				resp := r.get(t, header...)
				if tt.class != "success" {
					require.Zero(t, total(r.guard.Stats().Calls.Outcomes), "nothing is said before the judge has decided")
				}
				all, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				if accept == "gzip" {
					require.Equal(t, gzipped(tt.body), string(all), "as it came")
				} else {
					require.Equal(t, tt.body, string(all))
				}
				require.EqualValues(t, map[string]int64{tt.class: 1}, nonzero(r.guard.Stats().Calls.Outcomes))
				require.NoError(t, resp.Body.Close())
				require.EqualValues(t, 1, total(r.guard.Stats().Calls.Outcomes), "once")
			})
		}
	}
}

// A text under the header of an encoding that it does not have is judged as it is, in whatever pieces it comes.
func TestJudgedBodiesThatAreNotCompressed(t *testing.T) {
	for _, encoding := range []string{"gzip", "deflate", "gzip, gzip", "deflate, gzip"} {
		for name, tt := range map[string]struct{ kind, body, class string }{
			"error":       {"application/json", "\xef\xbb\xbf \r\n\t" + spent, "quota_exhausted"},
			"fine":        {"application/json", `{"result":"é"}`, "success"},
			"error event": {"text/event-stream", "data: 1\n\ndata: " + spent + "\n\n", "quota_exhausted"},
			"fine event":  {"text/event-stream", ": é\n\ndata: 2\n\n", "success"},
		} {
			t.Run(name+" "+encoding, func(t *testing.T) {
				r := judging(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Encoding", encoding)
					w.Header().Set("Content-Type", tt.kind)
					_, _ = io.WriteString(w, tt.body)
				})
				resp := r.get(t, "Accept-Encoding", "gzip")
				all, err := io.ReadAll(iotest.OneByteReader(resp.Body))
				require.NoError(t, err)
				require.Equal(t, tt.body, string(all))
				require.NoError(t, resp.Body.Close())
				require.EqualValues(t, map[string]int64{tt.class: 1}, nonzero(r.guard.Stats().Calls.Outcomes))
			})
		}
	}
}

// Deflate without the header of zlib may begin as a text does: what little of it has come does not tell.
func TestJudgedBodiesThatBeginAsAText(t *testing.T) {
	items := ""
	for n := range 60 {
		items += fmt.Sprintf(`{"id":%d},`, n*n)
	}
	body := deflated(`{"items":[` + items + "null]," + spent[1:])
	require.Less(t, body[0], byte(utf8.RuneSelf), "it does")
	for name, in := range map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "by halves": iotest.HalfReader,
	} {
		r := judging(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "deflate")
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
		resp := r.get(t, "Accept-Encoding", "deflate")
		_, err := io.ReadAll(in(resp.Body))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.EqualValues(t, map[string]int64{"quota_exhausted": 1}, nonzero(r.guard.Stats().Calls.Outcomes), name)
	}
}

func nonzero(m map[string]int64) map[string]int64 {
	some := map[string]int64{}
	for k, v := range m {
		if v != 0 {
			some[k] = v
		}
	}
	return some
}

// Each event reaches the caller while the next one is not yet sent, in gzip too, and the verdict comes with the last.
func TestJudgedStreamsAreNotDelayed(t *testing.T) {
	proceed := make(chan struct{})
	r := judging(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-proceed:
		case <-r.Context().Done():
			return
		}
		fmt.Fprintf(w, "event: error\ndata: %s\n\n", spent)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // the stream stays open
	})
	resp := r.get(t)
	lines := bufio.NewScanner(resp.Body)
	require.True(t, lines.Scan())
	require.Equal(t, "data: 1", lines.Text())
	require.Zero(t, total(r.guard.Stats().Calls.Outcomes))
	close(proceed)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "data:") {
	}
	require.True(t, lines.Scan())
	require.EqualValues(t, map[string]int64{"quota_exhausted": 1}, nonzero(r.guard.Stats().Calls.Outcomes), "said at the event, not at an end that may never come")
}

func TestJudgedBodyClosedEarly(t *testing.T) {
	for name, tt := range map[string]struct {
		read int
		want map[string]int64
	}{
		"before anything":     {0, map[string]int64{}},
		"in the middle":       {20, map[string]int64{}},
		"after the last byte": {len(`{"result":"` + "0123456789" + `"}`), map[string]int64{"success": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := judging(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"result":"0123456789"}`)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			resp := r.get(t)
			_, err := io.ReadFull(resp.Body, make([]byte, tt.read))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.EqualValues(t, tt.want, nonzero(r.guard.Stats().Calls.Outcomes))
		})
	}
}

// A body that breaks off is a call that failed on its way; one whose error was seen before has failed for that.
func TestJudgedBodyThatBreaksOff(t *testing.T) {
	for body, class := range map[string]string{`{"result":`: "transient", `{"error":"No remaining quota","x":`: "quota_exhausted"} {
		base := &replies{next: []func() *http.Response{func() *http.Response {
			resp := typed("application/json")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), iotest.ErrReader(errors.New("connection reset by peer"))))
			return resp
		}}}
		r := newRig(t, only(""))
		r.transport.Base, r.transport.Judge, r.transport.AllowedHosts = base, guardhttp.JudgeErrors, []string{"api.example.com"}
		resp, err := r.transport.RoundTrip(get(t.Context()))
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorContains(t, err, "connection reset")
		require.EqualValues(t, map[string]int64{class: 1}, nonzero(r.guard.Stats().Calls.Outcomes), body)
	}
}

// What a judge leaves out of a failure comes from the response; and it is reported also where the caller's context has
// ended with the body.
func TestJudgedFailureIsCompleted(t *testing.T) {
	var seen []tokenguard.Failure
	r := newRig(t, only(""))
	guard, err := tokenguard.New(r.script.Request, tokenguard.WithClock(r.clock), tokenguard.WithName("strict"),
		tokenguard.WithStore(strict{tokenguard.NewMemoryStore()}), tokenguard.WithClassifier(func(f tokenguard.Failure) tokenguard.Class {
			seen = append(seen, f)
			return tokenguard.Classify(f)
		}))
	require.NoError(t, err)
	defer guard.Close()
	resp := typed("application/json")
	resp.Header.Set("Retry-After", "77")
	resp.Body = io.NopCloser(strings.NewReader(spent))
	transport := &guardhttp.Transport{Guard: guard, Judge: guardhttp.JudgeErrors, AllowedHosts: []string{"api.example.com"}, Clock: r.clock,
		Base: &replies{next: []func() *http.Response{func() *http.Response { return resp }}}}
	ctx, cancel := context.WithCancel(t.Context())
	got, err := transport.RoundTrip(get(ctx))
	require.NoError(t, err)
	got.Header.Set("Retry-After", "changed by the caller")
	cancel()
	r.clock.Advance(time.Hour) // the guard looks at its store again
	_, err = io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NotEmpty(t, seen)
	f := seen[len(seen)-1]
	require.Equal(t, 200, f.StatusCode)
	require.Equal(t, []string{"77"}, f.Header["Retry-After"])
	require.Equal(t, r.clock.Now(), f.At)
	require.Equal(t, spent, f.Message)
	require.EqualValues(t, 1, total(guard.Stats().Calls.Outcomes), "reported, although the caller has left")
}

func TestJudgeIsAskedOnlyForWhatHasABody(t *testing.T) {
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified, http.StatusUnauthorized, http.StatusFound} {
		r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		r.transport.Judge = func(*http.Response) guardhttp.Judge {
			t.Errorf("asked for %d", status)
			return nil
		}
		resp, err := r.client.Get(r.server.URL)
		if err == nil {
			resp.Body.Close()
		}
		require.EqualValues(t, 1, total(r.guard.Stats().Calls.Outcomes))
	}
}

// The next call after a judged failure gets what the guard made of it.
func TestAJudgedFailureReachesTheNextCall(t *testing.T) {
	r := judging(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if bearer(r) == "t1" {
			fmt.Fprint(w, `{"error":{"code":401,"message":"the access token is invalid"}}`)
			return
		}
		fmt.Fprint(w, `{"result":"ok"}`)
	})
	r.warm(t)
	_, body := r.do(t, http.MethodGet, nil)
	require.Contains(t, body, "invalid")
	_, body = r.do(t, http.MethodGet, nil)
	require.JSONEq(t, `{"result":"ok"}`, body)
}

func FuzzJudges(f *testing.F) {
	f.Add(`{"error":"x"}`, 3)
	f.Add("event: error\ndata: {\"error\":1}\n\n", 1)
	f.Fuzz(func(t *testing.T, body string, n int) {
		n = 1 + max(n, -n, 0)%64
		for _, kind := range []string{"application/json", "text/event-stream"} {
			whole, ok := verdict(guardhttp.JudgeErrors(typed(kind)), body, 1<<20, true)
			require.True(t, ok)
			pieces, ok := verdict(guardhttp.JudgeErrors(typed(kind)), body, n, true)
			require.True(t, ok)
			require.Equal(t, whole, pieces)
			require.LessOrEqual(t, len(whole.Message), 4200)
		}
	})
}
