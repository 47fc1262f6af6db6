package browsertest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/ledongthuc/pdf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shown are the words that the screen shows: not those for screen readers alone, the titles of pictures, which need a
// pointer, the form, which paper has no use for, and countdowns, which run on.
const shown = `(() => {
	const words = [];
	const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
	for (let node; (node = walk.nextNode()); ) {
		if (node.parentElement.closest(".hidden, title, form, template, [data-until]")) continue;
		const range = document.createRange();
		range.selectNodeContents(node);
		if (range.getClientRects().length) words.push(...node.textContent.split(/\s+/).filter(Boolean));
	}
	return words;
})()`

// On paper everything that the screen shows is there, as often as on the screen, and within the sheet.
func TestPaper(t *testing.T) {
	for name, at := range map[string]func(*testing.T) string{
		"account": func(t *testing.T) string {
			s := newStage(t, true)
			s.calls(time.Hour)
			s.fails(400, `{"error":"invalid_grant"}`, nil)
			s.calls(118 * time.Minute)
			return s.server.URL
		},
		"spent": func(t *testing.T) string {
			s := newStage(t, false)
			s.calls(10 * time.Minute)
			s.spend()
			s.calls(2 * time.Minute)
			return s.server.URL
		},
		"long texts": func(t *testing.T) string {
			_, url := busy(t)
			return url
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, _ := browser(t)
			look(ctx, t, "dark", 1280, 900)
			do(ctx, t, chromedp.Navigate(at(t)), chromedp.WaitVisible(chromedp.CSS("#live[data-state]")))
			get(ctx, t, chromedp.Evaluate[bool](`(document.body.style.fontVariantLigatures = "none", true)`)) // which a PDF keeps as one sign
			words := get(ctx, t, chromedp.Evaluate[[]string](shown))
			require.Greater(t, len(words), 300)
			file := get(ctx, t, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4)))
			if *shots != "" {
				require.NoError(t, os.WriteFile(filepath.Join(*shots, "paper-"+strings.ReplaceAll(name, " ", "-")+".pdf"), file, 0o644))
			}

			document, err := pdf.NewReader(bytes.NewReader(file), int64(len(file)))
			require.NoError(t, err)
			var all strings.Builder
			for n := range document.NumPage() {
				sheet := document.Page(n + 1)
				box := sheet.V.Key("MediaBox")
				wide, high := box.Index(2).Float64(), box.Index(3).Float64()
				require.Greater(t, high, wide)
				for _, glyph := range sheet.Content().Text {
					all.WriteString(glyph.S)
					if strings.TrimSpace(glyph.S) != "" && !assert.True(t, glyph.X >= 0 && glyph.X+glyph.W <= wide+1 && glyph.Y >= 0 && glyph.Y <= high, "sheet %d: %q is cut: %v %v of %v", n+1, glyph.S, glyph.X, glyph.Y, box) {
						return
					}
				}
			}
			on := strings.Join(strings.Fields(all.String()), "")
			want := map[string]int{}
			for _, word := range words {
				want[word]++
			}
			for word, n := range want {
				assert.GreaterOrEqual(t, strings.Count(on, word), n, "%q is missing on paper", word)
			}
			t.Logf("%d sheets, %d words", document.NumPage(), len(words))
		})
	}
}
