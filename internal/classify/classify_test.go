package classify

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Input
		want string
	}{
		{"nothing failed", Input{}, ""},
		{"the text beats the status", Input{StatusCode: 429, Text: "No remaining quota"}, QuotaExhausted},
		{"Chinese", Input{StatusCode: 429, Text: "配额已用尽"}, QuotaExhausted},
		{"escaped Chinese", Input{StatusCode: 429, Text: `{"msg":"\u914d\u989d\u5df2\u7528\u5c3d"}`}, QuotaExhausted},
		{"full-width letters", Input{StatusCode: 400, Text: "ＲＡＴＥ ＬＩＭＩＴ"}, RateLimited},
		{"a machine code in camel case", Input{StatusCode: 403, Text: `{"code":"DailyLimitExceeded"}`}, QuotaExhausted},
		{"the same with underscores", Input{StatusCode: 403, Text: `{"code":"DAILY_LIMIT_EXCEEDED"}`}, QuotaExhausted},
		{"an error in a success", Input{StatusCode: 200, Text: `{"code":"401","msg":"oops"}`}, AuthInvalid},
		{"a nested error", Input{StatusCode: 400, Text: `{"a":{"b":[{"error":{"reason":"tokenRevoked"}}]}}`}, AuthInvalid},
		{"broken JSON", Input{StatusCode: 429, Text: `{"error":{"code":"insufficient_quota`}, QuotaExhausted},
		{"words of a link", Input{StatusCode: 403, Text: "see https://example.com/docs/rate-limits/quota-exceeded"}, Forbidden},
		{"words of a mail address", Input{StatusCode: 403, Text: "write to token.expired@example.com"}, Forbidden},
		{"words of a script", Input{StatusCode: 502, Text: "<script>var quota='exceeded'</script><h1>Bad Gateway</h1>"}, Transient},
		{"advice is no cause", Input{StatusCode: 404, Text: "Not found. If your token has expired, sign in."}, ClientError},
		{"a sign-in that is down", Input{StatusCode: 500, Text: "internal error: authentication failed"}, Transient},
		{"two causes", Input{StatusCode: 403, Text: "Invalid API key or quota exceeded"}, Unknown},
		{"tokens of a model", Input{StatusCode: 400, Text: "max_tokens is invalid"}, ClientError},
		{"a page token", Input{StatusCode: 400, Text: "page token expired"}, ClientError},
		{"a card's funds", Input{StatusCode: 402, Text: "card_declined: insufficient_funds"}, ClientError},
		{"the caller gave up", Input{Text: "context canceled"}, ClientError},
		{"a timeout", Input{Text: "context deadline exceeded"}, Transient},
		{"a header's error", Input{StatusCode: 403, Header: http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}}, AuthInvalid},
		{"a challenge", Input{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}}, Forbidden},
		{"a window of a day", Input{StatusCode: 429, Header: http.Header{"Ratelimit-Policy": {`"d";q=9;w=86400`}, "Ratelimit": {`"d";r=0;t=9`}}}, QuotaExhausted},
		{"a window of a minute", Input{StatusCode: 429, Header: http.Header{"Ratelimit-Policy": {`"d";q=9;w=60`}, "Ratelimit": {`"d";r=0;t=9`}}}, RateLimited},
		{"a closed window explains a 403", Input{StatusCode: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}}}, RateLimited},
		{"a reset by the answer's own date", Input{StatusCode: 429, Header: http.Header{
			"Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1767250000"}}}, QuotaExhausted},
		{"a window of hours beats words and model", Input{StatusCode: 429, Text: "too many requests, slow down", Header: http.Header{
			"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"7200"}}}, QuotaExhausted},
		{"401", Input{StatusCode: 401}, AuthInvalid},
		{"402", Input{StatusCode: 402}, Forbidden},
		{"404", Input{StatusCode: 404}, ClientError},
		{"408", Input{StatusCode: 408}, Transient},
		{"204", Input{StatusCode: 204}, Unknown},
		{"503", Input{StatusCode: 503}, Transient},
	} {
		require.Equal(t, c.want, Classify(c.in), c.name)
	}
}

func TestClassifyReadsTheStartOnly(t *testing.T) {
	far := strings.Repeat("。", MaxText/3) + " quota exceeded"
	require.Equal(t, Transient, Classify(Input{StatusCode: 500, Text: far}))
	near := strings.Repeat("。", MaxText/3-100) + " quota exceeded"
	require.Equal(t, QuotaExhausted, Classify(Input{StatusCode: 500, Text: near}))
}

func TestTruncateKeepsRunesWhole(t *testing.T) {
	for n := range 8 {
		cut := truncate("配额x", n)
		require.True(t, utf8.ValidString(cut))
		require.LessOrEqual(t, len(cut), n)
	}
	require.Equal(t, "", truncate("\x80\x80\x80", 2), "no rune starts here")
}

// An open tag, quote or brace that never ends must not make the work grow with
// the square of the text.
func TestClassifyIsBounded(t *testing.T) {
	for _, s := range []string{"<a", "\\u", "{\"", "retry after ", "1", "半", "token invalid ", "@", "://", "<script>"} {
		text := strings.Repeat(s, MaxText)
		require.NotEmpty(t, Classify(Input{StatusCode: 400, Text: text}))
		ReadHints(Input{StatusCode: 400, Text: text}, time.Time{})
	}
}

// A pattern that normalisation drops, parts into clauses, or ends inside
// another escape, can never be found.
func TestPatternsCanBeFound(t *testing.T) {
	for _, lexicon := range lexicons {
		for _, e := range lexicon {
			for pattern := range strings.SplitSeq(e.patterns, "|") {
				text := normalPattern(strings.TrimSuffix(pattern, "*"))
				require.NotEmpty(t, text, pattern)
				require.NotContains(t, text, "\n", pattern)
				require.NotContains(t, text, "*", pattern)
				p := phrases().longest([]byte(text))
				require.NotNil(t, p, pattern)
				require.Equal(t, text, p.text)
			}
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, r := range append(load(f, apiErrors), load(f, extra)...) {
		f.Add(r.Status, r.Body, "Www-Authenticate", r.Headers["x-error-message"])
	}
	known := map[string]bool{"": true}
	for _, c := range classes {
		known[c] = true
	}
	f.Fuzz(func(t *testing.T, status int, text, name, value string) {
		in := Input{StatusCode: status, Header: http.Header{name: {value}}, Text: text}
		class := Classify(in)
		require.True(t, known[class], class)
		require.Equal(t, class, Classify(in), "the same answer has one class")
		require.LessOrEqual(t, len(normalise(nil, text)), 3*len(text)+2)
	})
}

var oneKilobyte = strings.Repeat("Request req_0a1b failed: the upstream said that your API key is fine but the limit of 20 requests was reached; ", 9)

func BenchmarkClassify(b *testing.B) {
	short := `{"error":{"message":"You exceeded your current quota, please check your plan.","code":"insufficient_quota"}}`
	long := oneKilobyte
	for _, c := range []struct {
		name string
		in   Input
	}{
		{"short", Input{StatusCode: 429, Text: short}},
		{"1KB", Input{StatusCode: 429, Text: long}},
		{"1KB, Chinese", Input{StatusCode: 429, Text: `{"code":"1308","msg":"` + strings.Repeat("您的账户调用该接口的频率过高，已达到当前套餐的使用上限，详情见文档。", 10) + `请在 30 秒后重试"}`}},
		{"1KB, JSON in JSON", Input{StatusCode: 500, Text: `{"detail":"{\"error\":{\"message\":\"` + strings.Repeat(`\u60a8\u7684\u8d26\u6237\u5df2\u8fbe\u5230\u4e0a\u9650\uff0c`, 10) + `\"}}"}`}},
		{"8KB", Input{StatusCode: 429, Text: strings.Repeat(long, 9)}},
		{"Chinese", Input{StatusCode: 429, Text: `{"error":{"code":"1113","message":"余额不足或无可用资源包,请充值。"}}`}},
		{"headers", Input{StatusCode: 429, Text: short, Header: http.Header{
			"Content-Type": {"application/json"}, "Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}, "X-Ratelimit-Limit": {"10"},
			"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"30"}}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(min(len(c.in.Text), MaxText)))
			for b.Loop() {
				Classify(c.in)
			}
		})
	}
}
