package tokenguard

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/redact"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// firstSights are failure texts of about 1 KB, more of each than the reader remembers: each of them is new to it.
func firstSights() map[string]func() []string {
	english := func(i int) string {
		return fmt.Sprintf(`{"error":{"message":"Rate limit reached for model gpt-4o in organization example-%d on tokens per minute (TPM): Limit 30000, Used 29876, Requested %d. Please try again in %dms. `,
			i%7, i, 700+i) + `Visit https://platform.example.com/account/rate-limits to learn more. If your application needs a higher limit, ask the owner of the organization to raise it, ` +
			`or spread the requests over more time. Requests that were refused do not count against the limit, but those that were sent at the same time and were accepted do, ` +
			`and so does the part of an answer that was sent before the connection was closed. The limit of requests is counted apart from that of tokens; whichever of the two is reached first ` +
			`ends the window. What was consumed within the last minute is told in the headers of each answer, together with what remains and with the time until the window is full again. ` +
			`A batch that waits does not hold a place in the window until it starts.","type":"tokens","param":null,"code":"rate_limit_exceeded"},` +
			fmt.Sprintf(`"request_id":"req_%08x","region":"eu-west","documentation":"see the guide to limits of the platform"}`, uint32(i)*2654435761)
	}
	chinese := func(i int) string {
		return fmt.Sprintf(`{"error":{"code":"1308","message":"已达到 5 小时的使用上限，您的限额将在 2026-08-25 07:%02d:44 重置。请求频率已受到限制，请在 %d 秒后重试。`, i%60, 30+i%500) +
			strings.Repeat("如需更高的配额，请联系管理员或升级套餐；被拒绝的请求不计入用量，但已经接受的请求会计入当前窗口。", 6) +
			fmt.Sprintf(`"},"request_id":"%08x","message":"当前账户的请求过多，请稍后再试"}`, uint32(i)*2654435761)
	}
	many := func(text func(int) string) func() []string {
		return sync.OnceValue(func() (texts []string) {
			for i := range 2 * memoSize {
				texts = append(texts, text(i))
			}
			return texts
		})
	}
	return map[string]func() []string{"English": many(english), "Chinese": many(chinese), "64 KB": many(func(i int) string {
		return strings.Replace(english(i), "Please", strings.Repeat("And so on, at length. ", 2930)+"Please", 1)
	})}
}

// BenchmarkFirstSight reads a failure that was never seen before, and compares it with another. Its yardstick is
// json.Valid of the same texts.
func BenchmarkFirstSight(b *testing.B) {
	keeper, err := secrets.NewKeeper("x", nil, 0, func(string) {})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 64 {
		keeper.Register(secrets.New(fmt.Sprintf("%c%d of the values of a token", 'a'+i%26, i)))
	}
	rd := newReader(nil, keeper, func(string) {})
	at := timeline.Reading{Now: 1, Wall: time.Date(2026, 8, 25, 7, 0, 0, 0, time.UTC)}
	sunk, next := 0, 0 // next goes on from stage to stage: no text comes again before it is forgotten
	sights := firstSights()
	for _, name := range slices.Sorted(maps.Keys(sights)) {
		run := func(stage string, f func(text string) int) {
			b.Run(name+"/"+stage, func(b *testing.B) {
				texts := sights[name]()
				b.SetBytes(int64(len(texts[0])))
				b.ReportAllocs()
				for b.Loop() {
					next++
					sunk += f(texts[next%len(texts)])
				}
			})
		}
		run("json.Valid", func(text string) int {
			if !json.Valid([]byte(text)) {
				return 0
			}
			return 1
		})
		forms := sync.OnceValue(func() [2]template.Template {
			texts := sights[name]()
			return [2]template.Template{template.Of(keeper.Hide("caller\n" + texts[0])), template.Of(texts[1])}
		})
		run("whole", func(text string) int {
			q, err := rd.request(&Request{Caller: "caller", Failure: Failure{StatusCode: 429, Message: text}}, at)
			if err != nil || q.Class == "" || q.Text == "" {
				b.Fatal(q, err)
			}
			n := len(q.Text) + int(q.Until)
			if template.Same(q.Template, forms()[0], 0.8) {
				n++
			}
			return n
		})
		run("hide", func(text string) int { return len(keeper.Hide(text)) })
		run("mask", func(text string) int { return len(redact.Secrets(text, maxShown)) })
		run("classify", func(text string) int { return len(classify.Classify(classify.Input{StatusCode: 429, Text: text})) })
		run("hints", func(text string) int {
			return int(classify.ReadHints(classify.Input{StatusCode: 429, Text: text}, at.Wall).RetryAfter)
		})
		run("template", func(text string) int { return len(template.Of(text).String()) })
		run("compare", func(string) int {
			if template.Same(forms()[1], forms()[0], 0.8) {
				return 1
			}
			return 0
		})
	}
	if sunk == 0 {
		b.Fatal("nothing was read")
	}
}
