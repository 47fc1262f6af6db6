package template

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var seeds = []string{
	"", "#", "api_client_attempt_1\nNo remaining quota (request d30d2370)", "配额已用尽 (request 6d0dc41b)",
	`{"error":{"code":"1308","message":"已达到 5 小时的使用上限。您的限额将在 2026-08-25 07:41:44 重置。"}}`,
	"HTTP/1.1 429 Too Many Requests", "http http 429 code code 1302 code429", "June June 5 may 5 per 5 minutes 每5个小时 小 时 5 小 时",
	"model gpt-4o-mini model foo-4.ai 模型 glm-4", "https://u:p@host.example:80/v1/a?x=1#frag", "fe80::1 de:ad:be:ef",
	"can't don’t 'a'b' Ａ１２ Kelvin K ſ İ ǅ ① Ⅳ ٣ 〇", "\xff\xfe \xe4\xb8", "deadbeef worker12 S3 AKIAABCDEFGHIJKLMNOP",
	"ａｃｃｅｓｓ denied\u0301 \u200b 한국어 오류 5초 カタカナ ｶﾀｶﾅ",
}

func FuzzOf(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tpl := Of(s)
		text := tpl.String()
		if Parse(text) != tpl {
			t.Fatalf("Parse(%q) = %q", text, Parse(text))
		}
		if len(text) > maxOutput || !utf8.ValidString(text) {
			t.Fatalf("%q: %d bytes, valid %v", text, len(text), utf8.ValidString(text))
		}
		model := false
		for word := range strings.FieldsSeq(text) {
			if strings.ContainsFunc(word, unicode.IsNumber) && !keeps(word) && !model {
				t.Fatalf("%q shows the number %q of %q", text, word, s)
			}
			model = word == "model" || strings.HasSuffix(word, "型")
		}
	})
}

// keeps reports whether a word of a template may hold digits.
func keeps(word string) bool {
	for _, prefix := range []string{"http", "code"} {
		if digits, ok := strings.CutPrefix(word, prefix); ok && len(digits) <= 6 && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	for _, family := range []string{"gpt", "chatgpt", "claude", "gemini", "gemma", "llama", "qwen", "glm", "deepseek", "grok", "mistral", "mixtral", "phi", "ernie", "doubao", "kimi", "o"} {
		if strings.HasPrefix(word, family) {
			return true
		}
	}
	return false
}

func FuzzSame(f *testing.F) {
	for i, s := range seeds {
		f.Add(s, seeds[len(seeds)-1-i], 0.8)
		f.Add(s, s+" and more", 0.5)
	}
	f.Fuzz(func(t *testing.T, x, y string, threshold float64) {
		for _, pair := range [][2]Template{{Of(x), Of(y)}, {Parse(x), Parse(y)}} {
			a, b := pair[0], pair[1]
			if !Same(a, a, threshold) || Similarity(a, a) != 1 {
				t.Fatalf("%q is not the same as itself", a)
			}
			s := Similarity(a, b)
			if s != Similarity(b, a) || s < 0 || s > 1 {
				t.Fatalf("similarity of %q and %q: %v, and %v in turn", a, b, s, Similarity(b, a))
			}
			if Same(a, b, threshold) != Same(b, a, threshold) {
				t.Fatalf("Same is not symmetric for %q and %q at %v", a, b, threshold)
			}
			if Same(a, b, threshold) && a != b && s < threshold {
				t.Fatalf("%q and %q are %v similar and the same at %v", a, b, s, threshold)
			}
		}
	})
}
