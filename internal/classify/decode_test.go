package classify

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

func quoted(t testing.TB, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

// ascii is s as a JSON writer prints it that escapes all but ASCII.
func ascii(t testing.TB, s string) string {
	t.Helper()
	var b strings.Builder
	for _, r := range quoted(t, s) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		const hex = "0123456789abcdef"
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hex[r>>shift&15])
		}
	}
	return b.String()
}

func TestDecode(t *testing.T) {
	const ban = "账号已被封禁"
	gbk, err := simplifiedchinese.GBK.NewEncoder().String(ban)
	require.NoError(t, err)
	big5, err := traditionalchinese.Big5.NewEncoder().String("帳號已被停用,請聯絡客服")
	require.NoError(t, err)
	twice := ascii(t, ascii(t, ban))
	for _, c := range []struct{ name, text, header, want string }{
		{"plain", `{"error":"no \"quota\""}`, "", `{"error":"no \"quota\""}`},
		{"JSON", ascii(t, ban), "", `"` + ban + `"`},
		{"JSON in JSON", twice, "", `""` + ban + `""`},
		{"JSON in JSON in JSON", ascii(t, twice), "", `"""` + ban + `"""`},
		{"a surrogate pair", `"\ud83d\ude00 banned"`, "", `"😀 banned"`},
		{"a surrogate pair, twice", `"\\ud83d\\ude00 banned"`, "", `"😀 banned"`},
		{"bytes in hexadecimal", `b'\xe5\xb0\x81\xe7\xa6\x81'`, "", "b'封禁'"},
		{"percent-encoding", "msg=" + url.QueryEscape(ban), "", "msg=" + ban},
		{"percent-encoded English", "quota%20is%20used+up", "", "quota is used up"},
		{"percent-encoded JSON", url.QueryEscape(ascii(t, ban)), "", `"` + ban + `"`},
		{"a share", "100%de sure, 5%used, 20% off", "", "100%de sure, 5%used, 20% off"},
		{"entities", "&#36134;&#x53F7; &quot;banned&quot; &eacute;", "", `账号 "banned" é`},
		{"entities, twice", "&amp;#36134;", "", "账"},
		{"a query", "a=1&b=2&quota=3", "", "a=1&b=2&quota=3"},
		{"GBK stated", gbk, "text/html; charset=GBK", ban},
		{"GBK guessed", gbk, "", ban},
		{"GBK cut", gbk[:len(gbk)-1], "", "账号已被封\uFFFD"},
		{"Big5 stated", big5, "text/html;charset=\"Big5\"", "帳號已被停用,請聯絡客服"},
		{"Big5 guessed", big5, "", "帳號已被停用,請聯絡客服"},
		{"Latin-1", "gesperrt f\xfcr", "", "gesperrt für"},
		{"UTF-8 cut", ban[:len(ban)-1], "", "账号已被封\uFFFD"},
		{"an escape cut", `"\u8d2`, "", `"\u8d2`},
		{"a percent sign cut", "%E8%B4%A6%E5%8", "", "账%E5%8"},
	} {
		h := http.Header{}
		if c.header != "" {
			h.Set("content-type", c.header)
		}
		require.Equal(t, c.want, Decode(c.text, h), c.name)
	}
}

func TestDecodeKeepsPlainTextWithoutACopy(t *testing.T) {
	for _, text := range []string{`{"error":"no \"quota\"\n"}`, "余额不足", "100 % used & gone; bye"} {
		require.Zero(t, testing.AllocsPerRun(10, func() { Decode(text, nil) }), text)
	}
}

// The same event has one class in whatever encoding it is told, and a cut
// anywhere behind the words that matter changes nothing.
func TestClassIsThatOfTheDecodedText(t *testing.T) {
	for _, c := range []struct{ body, class string }{
		{`{"code":403,"msg":"账号已被封禁,请联系客服"}`, Forbidden},
		{`{"error":{"message":"今日配额已用完"}}`, QuotaExhausted},
		{`{"error":{"message":"请求过于频繁"}}`, RateLimited},
		{`{"error":{"message":"令牌已失效"}}`, AuthInvalid},
	} {
		gbk, err := simplifiedchinese.GBK.NewEncoder().String(c.body)
		require.NoError(t, err)
		for name, text := range map[string]string{
			"plain": c.body, "JSON": ascii(t, c.body), "twice": ascii(t, ascii(t, c.body)), "GBK": gbk,
			"percent": url.QueryEscape(c.body), "wrapped": `{"detail":` + quoted(t, ascii(t, c.body)) + `}`,
		} {
			require.Equal(t, c.class, Classify(Input{StatusCode: 400, Text: text}), "%s %s", name, text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`\\\\u5c01\u7981\ud83d\ude00`, "%E5%B0%81%", "&#x5c01;&amp;#36134;&nGt;", "\xb7\xe2\xbd\xfb", `\xe5\xb0\x81`, "a+b%20c"} {
		f.Add(s, "text/plain; charset=gbk")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, text, contentType string) {
		got := Decode(text, map[string][]string{"Content-Type": {contentType}})
		require.LessOrEqual(t, len(got), MaxText)
		if utf8.ValidString(text) {
			require.True(t, utf8.ValidString(got), "%q", got)
		}
		if len(text) <= MaxText && !strings.ContainsAny(text, `\%&`) && utf8.ValidString(text) {
			require.Equal(t, text, got)
		}
	})
}
