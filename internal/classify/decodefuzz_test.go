package classify

import (
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// plain reports a text that holds nothing which an encoding could mistake for
// its own: then every layer must come off again.
func plain(text string) bool {
	for _, r := range text {
		if r < ' ' || r >= 0x7F && r < 0xA0 || r == utf8.RuneError || strings.ContainsRune(`\%&+"'<>`, r) {
			return false
		}
	}
	return text != "" && utf8.ValidString(text)
}

// escapeJSON writes what is beyond ASCII as JSON does, and a backslash twice.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// escapeEntities writes what is beyond ASCII as HTML does.
func escapeEntities(text string) string {
	var b strings.Builder
	for _, r := range html.EscapeString(text) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#x%x;", r)
		}
	}
	return b.String()
}

var layers = []func(string) string{escapeJSON, url.PathEscape, escapeEntities}

// Whatever wraps a text, in whatever order, comes off again, and reading the
// text is the same with and without it.
func FuzzDecodeLayers(f *testing.F) {
	for _, s := range []string{"您的账号已被封禁", "quota exceeded", "Сервис недоступен", "😀 too many requests 使用量已用完", "l’accès"} {
		for order := range byte(3) {
			f.Add(s, order, order+1, byte(4))
		}
	}
	f.Fuzz(func(t *testing.T, text string, first, second, count byte) {
		if !plain(text) {
			return
		}
		wrapped := text
		for i := range int(count) % 5 { // four may wrap one another
			layer := first
			if i%2 == 1 {
				layer = second
			}
			wrapped = layers[int(layer)%len(layers)](wrapped)
		}
		if len(wrapped) > MaxText {
			return
		}
		require.Equal(t, text, Decode(wrapped, nil), "%q", wrapped)
		require.Equal(t, Classify(Input{StatusCode: 403, Text: text}), Classify(Input{StatusCode: 403, Text: wrapped}))
	})
}

// A body that is cut anywhere loses what was cut, and nothing before it.
func FuzzDecodeCut(f *testing.F) {
	for _, s := range []string{"您的账号已被封禁", "é😀é", "Сервис недоступен", "a点"} {
		for cut := range uint16(20) {
			f.Add(s, byte(cut), cut)
		}
	}
	f.Fuzz(func(t *testing.T, text string, layer byte, cut uint16) {
		if !plain(text) || len(text) > MaxText/8 {
			return
		}
		encode := layers[int(layer)%len(layers)]
		var whole strings.Builder
		kept := 0 // bytes of text whose encoding is not cut
		for i, r := range text {
			next := encode(string(r))
			if whole.Len()+len(next) > int(cut) {
				whole.WriteString(next[:int(cut)-whole.Len()])
				break
			}
			whole.WriteString(next)
			kept = i + utf8.RuneLen(r)
		}
		got := Decode(whole.String(), nil)
		require.True(t, strings.HasPrefix(got, text[:kept]), "%q decoded as %q", whole.String(), got)
		require.True(t, utf8.ValidString(got))
	})
}

// A text in a charset that its header names is read as what it says, also where
// it is cut, unless its bytes are as good as UTF-8.
func FuzzDecodeCharsets(f *testing.F) {
	for _, s := range []string{"您的账号已被封禁，请联系客服", "配额已用完", "帳號已被停用", "a登录b"} {
		f.Add(s, false, uint16(1000))
		f.Add(s, true, uint16(7))
	}
	f.Fuzz(func(t *testing.T, text string, big5 bool, cut uint16) {
		name, charset := "gbk", encoding.Encoding(simplifiedchinese.GBK)
		if big5 {
			name, charset = "big5", traditionalchinese.Big5
		}
		raw, err := charset.NewEncoder().String(text)
		if err != nil || !plain(text) || len(raw) > MaxText {
			return
		}
		raw = raw[:min(len(raw), int(cut))]
		if utf8.ValidString(raw) || mostlyUTF8(raw) {
			return
		}
		want, err := charset.NewDecoder().String(raw)
		require.NoError(t, err)
		want = html.UnescapeString(want)
		got := Decode(raw, map[string][]string{"Content-Type": {"application/json; charset=" + name}})
		if plain(strings.TrimSuffix(want, string(utf8.RuneError))) {
			require.Equal(t, want, got)
		}
		require.True(t, utf8.ValidString(got))
	})
}

// What is normalised stays as it is: the lexicons are normalised once, and a
// phrase must stand in a text as it stands there.
func FuzzNormalise(f *testing.F) {
	for _, r := range append(load(f, apiErrors), load(f, extra)...) {
		f.Add(r.Body)
	}
	f.Add("InsufficientQuota l'accès 5/min https://example.com/rate-limits a@b.example <b title=\"x\">ＡＢＣ</b> \\u5c01 ÀÉßĲ ١٢٣ ครั้ง")
	f.Fuzz(func(t *testing.T, text string) {
		got := string(normalise(nil, text))
		require.Equal(t, byte(clauseEnd), got[0])
		require.Equal(t, byte(clauseEnd), got[len(got)-1])
		for _, twice := range []string{"  ", " \n", "\n ", "\n\n"} {
			require.NotContains(t, got, twice, "one separator between two words")
		}
		for i := range len(got) {
			require.False(t, isUpper(got[i]) || got[i] < ' ' && got[i] != clauseEnd, "%q", got)
		}
		require.LessOrEqual(t, len(got), 3*len(text)+2)
		require.Equal(t, got, string(normalise(nil, got)), "%q", text)
	})
}

// Of a body of any size, whatever fills it, no more is read than MaxText.
func FuzzAnySize(f *testing.F) {
	for _, piece := range []string{"1s ", "again in ", "或", "Mar 1 ", `"reset":1,{`, `\u005c`, "%25", "&amp;", "<a ", "or key quota ", `"invalid_grant`, "（", "\xb7\xe2", "https://", "a@"} {
		f.Add(piece, "Retry-After")
	}
	f.Fuzz(func(t *testing.T, piece, name string) {
		if piece == "" {
			return
		}
		whole := strings.Repeat(piece, 16<<20/len(piece)+1)
		in := Input{StatusCode: 429, Header: map[string][]string{name: {whole}}, Text: whole}
		part := in
		part.Text = whole[:MaxText+utf8.UTFMax]
		got := Judge(in)
		require.Equal(t, Judge(part), got)
		require.Equal(t, Decode(part.Text, nil), Decode(whole, nil))
		require.Equal(t, ReadHints(part, formsAt), ReadHints(in, formsAt))
		require.LessOrEqual(t, len(got.Evidence), 2*maxEvidence+2)
	})
}
