package classify

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestRetryAfterHeader(t *testing.T) {
	for _, c := range []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"120", 120 * time.Second, true},
		{" 1.5 ", 1500 * time.Millisecond, true},
		{"0", 0, true},
		{"Thu, 01 Jan 2026 00:01:00 GMT", time.Minute, true},
		{"Thursday, 01-Jan-26 00:01:00 GMT", time.Minute, true},
		{"Thu Jan  1 00:01:00 2026", time.Minute, true},
		{"2026-01-01T00:01:00Z", time.Minute, true},
		{"Wed, 31 Dec 2025 00:00:00 GMT", 0, true},
		{"1767225630", 30 * time.Second, true},
		{"1767225630000", 30 * time.Second, true},
		{"1000000000", 0, false}, // the year 2001: whatever that is, it is not now
		{"999999999", maxWait, true},
		{"6m0s", 6 * time.Minute, true},
		{"-5", 0, false},
		{"", 0, false},
		{"soon", 0, false},
		{"1e9", 0, false},
		{"NaN", 0, false},
		{"Inf", 0, false},
		{"0x10", 0, false},
		{"9999999999999999999999999999", 0, false}, // an instant beyond every calendar
	} {
		h := ReadHints(Input{Header: http.Header{"Retry-After": {c.value}}}, now)
		require.Equal(t, c.ok, h.HasRetryAfter, c.value)
		require.Equal(t, c.want, h.RetryAfter, c.value)
	}
}

func TestWaitInText(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"try again in 6m12s":                                     6*time.Minute + 12*time.Second,
		"Please try again in 20 seconds.":                        20 * time.Second,
		"Please try again in 9.816s. Visit":                      9816 * time.Millisecond,
		"try again in 174ms.":                                    174 * time.Millisecond,
		"wait 1 hour 5 minutes":                                  65 * time.Minute,
		"wait 1 hour, 5 minutes and 3 seconds":                   65*time.Minute + 3*time.Second,
		"or try again in 5 days 22 hours 11 minutes":             511860 * time.Second,
		"Please retry after 86400 seconds":                       24 * time.Hour,
		"Too Many Requests: retry after 134":                     134 * time.Second,
		"Retry after: 21 seconds.":                               21 * time.Second,
		"Your rate limit resets in ~3s.":                         3 * time.Second,
		"This ban will last for 8 more seconds":                  8 * time.Second,
		"请在 30 秒后重试":                                             30 * time.Second,
		"请在３０秒后重试":                                               30 * time.Second,
		"3分钟后再试":                                                 3 * time.Minute,
		"2 小时后":                                                  2 * time.Hour,
		"1分30秒后再试":                                               90 * time.Second,
		"请一分钟后再试":                                                time.Minute,
		"请等待 10 秒":                                               10 * time.Second,
		"try again at 11:52":                                     -1,
		"timed out after 30001 milliseconds":                     -1,
		"retry after 3 attempts":                                 -1,
		"try again in a moment":                                  -1,
		"wait 5 minimum":                                         -1,
		"已达到 5 小时的使用上限":                                          -1,
		"limited to 40 calls / minute":                           -1,
		"try again in 99999999999999999999 weeks":                maxWait,
		`{"retry_after": 2282}`:                                  2282 * time.Second,
		`{"retryAfter":"15"}`:                                    15 * time.Second,
		`{"retry_after_ms": 250}`:                                250 * time.Millisecond,
		`{"retryDelay": "21s"}`:                                  21 * time.Second,
		`{\"retryDelay\": \"21s\"}`:                              21 * time.Second,
		`{'resets_in_seconds': 13872}`:                           13872 * time.Second,
		`{"retry_after": -5}`:                                    -1,
		`{"retry_after": null}`:                                  -1,
		`{"retry_after": "Thu, 01 Jan 2026 00:01:00 GMT"}`:       time.Minute,
		`{"retry_after": 9, "message":"try again in 3 minutes"}`: 9 * time.Second,
	} {
		h := ReadHints(Input{Text: text}, now)
		require.Equal(t, want >= 0, h.HasRetryAfter, text)
		require.Equal(t, max(want, 0), h.RetryAfter, text)
	}
}

func TestHeaderBeatsBody(t *testing.T) {
	in := Input{Header: http.Header{"retry-after": {"7"}, "Retry-After-Ms": {"6900"}}, Text: `{"retry_after":9}`}
	require.Equal(t, 7*time.Second, ReadHints(in, now).RetryAfter)
	in.Header["retry-after"] = []string{"soon"}
	require.Equal(t, 6900*time.Millisecond, ReadHints(in, now).RetryAfter)
	delete(in.Header, "Retry-After-Ms")
	require.Equal(t, 9*time.Second, ReadHints(in, now).RetryAfter)
}

func TestResetInBody(t *testing.T) {
	want := time.Unix(1777936568, 0)
	for _, text := range []string{`{"resets_at":1777936568}`, `{"resetAt": "1777936568000"}`, `{"reset_time":"` + want.UTC().Format(time.RFC3339) + `"}`} {
		h := ReadHints(Input{Text: text}, now)
		require.True(t, want.Equal(h.ResetAt), text)
		require.False(t, h.HasRetryAfter, "a clock time only: %s", text)
	}
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		name             string
		header           http.Header
		remaining, limit int64
		reset            time.Duration // from now; -1: none
		wait             time.Duration // -1: none
	}{
		{"structured", http.Header{"Ratelimit": {`"default";r=0;t=30`}, "Ratelimit-Policy": {`"default";q=100;w=60`}}, 0, 100, 30 * time.Second, 30 * time.Second},
		{"structured, a list", http.Header{"Ratelimit": {`"a";r=5;t=10, "b";r=0;t=20`}, "Ratelimit-Policy": {`"a";q=10;w=60,"b";q=7;w=90`}}, 0, 7, 20 * time.Second, 20 * time.Second},
		{"structured, older", http.Header{"Ratelimit": {"limit=100, remaining=0, reset=30"}}, 0, 100, 30 * time.Second, 30 * time.Second},
		{"three fields", http.Header{"Ratelimit-Limit": {"100"}, "Ratelimit-Remaining": {"7"}, "Ratelimit-Reset": {"30"}}, 7, 100, 30 * time.Second, -1},
		{"with a window", http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"0;w=21600"}}, 0, 100, -1, -1},
		{"Unix instant", http.Header{"X-RateLimit-Limit": {"60"}, "x-ratelimit-remaining": {"0"}, "X-Ratelimit-Reset": {"1767225660"}}, 0, 60, time.Minute, time.Minute},
		{"milliseconds", http.Header{"X-Rate-Limit-Limit": {"60"}, "X-Rate-Limit-Remaining": {"0"}, "X-Rate-Limit-Reset": {"1767225660000"}}, 0, 60, time.Minute, time.Minute},
		{"RFC 3339", http.Header{"A-Ratelimit-Requests-Limit": {"9"}, "A-Ratelimit-Requests-Remaining": {"1"}, "A-Ratelimit-Requests-Reset": {"2026-01-01T00:01:00Z"}}, 1, 9, time.Minute, -1},
		{"the closed one of two", http.Header{
			"X-Ratelimit-Limit-Requests": {"100"}, "X-Ratelimit-Remaining-Requests": {"99"}, "X-Ratelimit-Reset-Requests": {"6m0s"},
			"X-Ratelimit-Limit-Tokens": {"5000"}, "X-Ratelimit-Remaining-Tokens": {"0"}, "X-Ratelimit-Reset-Tokens": {"120ms"}}, 0, 5000, 120 * time.Millisecond, 120 * time.Millisecond},
		{"the tighter of two open ones", http.Header{
			"X-Ratelimit-Limit-Requests": {"100"}, "X-Ratelimit-Remaining-Requests": {"99"},
			"X-Ratelimit-Limit-Tokens": {"5000"}, "X-Ratelimit-Remaining-Tokens": {"50"}}, 50, 5000, -1, -1},
		{"per cent", http.Header{"X-Plan-Primary-Used-Percent": {"100"}, "X-Plan-Primary-Reset-After-Seconds": {"13873"}}, 0, 100, 13873 * time.Second, 13873 * time.Second},
		{"lists of limit and usage", http.Header{"X-Ratelimit-Limit": {"600,30000"}, "X-Ratelimit-Usage": {"10,30001"}}, 0, 30000, -1, -1},
		{"malformed", http.Header{"X-Ratelimit-Limit": {"many"}, "X-Ratelimit-Remaining": {"-3"}, "X-Ratelimit-Reset": {"soon"}}, 0, 0, -1, -1},
		{"remaining without a limit", http.Header{"X-Ratelimit-Remaining": {"3"}}, 0, 0, -1, -1},
	} {
		h := ReadHints(Input{StatusCode: 429, Header: c.header}, now)
		require.Equal(t, c.remaining, h.Remaining, c.name)
		require.Equal(t, c.limit, h.Limit, c.name)
		require.Equal(t, c.wait >= 0, h.HasRetryAfter, c.name)
		require.Equal(t, max(c.wait, 0), h.RetryAfter, c.name)
		if c.reset < 0 {
			require.True(t, h.ResetAt.IsZero(), c.name)
		} else {
			require.True(t, now.Add(c.reset).Equal(h.ResetAt), "%s: %v", c.name, h.ResetAt)
		}
	}
}

func FuzzReadHints(f *testing.F) {
	for _, r := range append(load(f, apiErrors), load(f, extra)...) {
		f.Add(r.Body, "Retry-After", r.Headers["retry-after"], "Ratelimit", r.Headers["ratelimit"])
	}
	f.Add("try again in 99999999999999999999999 weeks", "X-Ratelimit-Reset", "1e308", "X-Ratelimit-Limit", "1,2;w=3")
	f.Fuzz(func(t *testing.T, text, name1, value1, name2, value2 string) {
		in := Input{StatusCode: 429, Header: map[string][]string{name1: {value1}, name2: {value2}}, Text: text}
		h := ReadHints(in, now)
		require.GreaterOrEqual(t, h.RetryAfter, time.Duration(0))
		require.LessOrEqual(t, h.RetryAfter, maxWait)
		require.True(t, h.HasRetryAfter || h.RetryAfter == 0)
		require.GreaterOrEqual(t, h.Remaining, int64(0))
		require.GreaterOrEqual(t, h.Limit, int64(0))
		require.LessOrEqual(t, math.Abs(h.ResetAt.Sub(now).Hours()), float64(math.MaxInt64)/float64(time.Hour))
	})
}

func BenchmarkReadHints(b *testing.B) {
	header := http.Header{"Retry-After": {"30"}, "X-Ratelimit-Remaining": {"0"}}
	body := `{"error":{"message":"Rate limit reached for requests. Please try again in 6m12s.","code":"rate_limit_exceeded"}}`
	plain := "The request could not be completed because the account has made too many calls to this endpoint in a short time, which its plan does not include; see the page on limits for what to do. "
	for _, c := range []struct {
		name string
		in   Input
	}{
		{"header", Input{StatusCode: 429, Header: header, Text: body}},
		{"body", Input{StatusCode: 429, Text: body}},
		{"1KB", Input{StatusCode: 429, Header: http.Header{"X-Ratelimit-Remaining": {"0"}},
			Text: `{"error":{"type":"requests","param":null,"code":"rate_limit_exceeded","message":"` + strings.Repeat(plain, 4) + `Please try again in 6m12s."},"request_id":"req_0123456789abcdef","status":429,"documentation_url":"https://example.com/docs/rate-limits"}`}},
		{"1KB, Chinese", Input{StatusCode: 429, Text: `{"code":1302,"msg":"` + strings.Repeat("您的账户调用该接口的频率过高，超出当前套餐的限制，详情见文档。", 10) + `请在 30 秒后重试"}`}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ReadHints(c.in, now)
			}
		})
	}
}
