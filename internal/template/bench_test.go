package template

import (
	"strings"
	"testing"
)

var short = `{"error":"No remaining quota: No AI requests remaining","request_id":"d4404a93"} (request 6d0dc41b)`

// long is 1 KiB of the shape of a real answer.
var long = strings.Repeat(`HTTP 429: {"error":{"message":"Rate limit reached for gpt-4o in organization org-a1B2c3D4 on tokens per min (TPM): Limit 30000, Used 29876, Requested 512. Please try again in 776ms.","type":"tokens"}} `, 6)[:1024]

var longChinese = cut(strings.Repeat("已达到 5 小时的使用上限，您的限额将在 2026-08-25 07:41:44 重置，请求频率已受到限制，请稍后再试。", 12), 1024)

var sink Template
var sinkBool bool

func BenchmarkOf(b *testing.B) {
	for name, text := range map[string]string{"100B": short, "1KB": long, "1KBHan": longChinese} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink = Of(text)
			}
		})
	}
}

// BenchmarkOfSame masks a text and compares it with one that is alike but not
// equal, so that the whole comparison runs.
func BenchmarkOfSame(b *testing.B) {
	for name, text := range map[string]string{"100B": short, "1KB": long, "1KBHan": longChinese} {
		b.Run(name, func(b *testing.B) {
			known := Of(text + " again")
			b.ReportAllocs()
			for b.Loop() {
				sinkBool = Same(Of(text), known, 0.5)
			}
		})
	}
}
