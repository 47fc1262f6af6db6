package browsertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// reachable names all that takes the focus by the keyboard, in the order of the document.
const reachable = `(() => {
	window.nameOf = (e) => [e.tagName.toLowerCase(), e.name || "", (e.getAttribute("aria-label") || e.textContent || "").trim().replace(/\s+/g, " ").slice(0, 60),
		[...document.querySelectorAll("*")].indexOf(e)].join("|");
	return [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
		.filter((e) => e.tabIndex >= 0 && e.type !== "hidden" && e.getClientRects().length).map(nameOf);
})()`

// focused is what has the focus, and whether a person sees that: within the window, above what lies there, and outlined.
const focused = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body) return { name: "" };
	const r = e.getBoundingClientRect(), s = getComputedStyle(e);
	const x = Math.min(Math.max(r.left + Math.min(r.width / 2, 20), 1), innerWidth - 2), y = Math.min(Math.max(r.top + Math.min(r.height / 2, 10), 1), innerHeight - 2);
	const top = document.elementFromPoint(x, y);
	return { name: nameOf(e), outlined: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2, seen: r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth,
		uncovered: !!top && (e === top || e.contains(top) || top.contains(e)) };
})()`

type focus struct {
	Name      string `json:"name"`
	Outlined  bool   `json:"outlined"`
	Seen      bool   `json:"seen"`
	Uncovered bool   `json:"uncovered"`
}

// The keyboard reaches everything in the order in which it stands, shows where it is, and is held nowhere, forwards and
// backwards, on a wide and on a narrow screen.
func TestKeyboard(t *testing.T) {
	s := newStage(t, true)
	s.calls(time.Hour)
	s.fails(400, `{"error":"invalid_grant"}`, nil)
	s.calls(118 * time.Minute)
	for _, width := range []int64{1280, 390} {
		ctx, console := browser(t)
		look(ctx, t, "light", width, 700)
		do(ctx, t, chromedp.Navigate(s.server.URL+"/?explain=1&caller=post+chat"), chromedp.WaitVisible(chromedp.CSS("#live[data-state]")))
		all := get(ctx, t, chromedp.Evaluate[[]string](reachable))
		require.Greater(t, len(all), 15, "%v", all)
		at := func(want string) {
			t.Helper()
			f := get(ctx, t, chromedp.Evaluate[focus](focused))
			assert.Equal(t, want, f.Name)
			assert.True(t, f.Outlined, "%s: nothing shows the focus", f.Name)
			assert.True(t, f.Seen, "%s is out of sight", f.Name)
			assert.True(t, f.Uncovered, "%s is covered", f.Name)
		}
		for _, want := range all {
			do(ctx, t, chromedp.KeyEvent(kb.Tab))
			at(want)
		}
		do(ctx, t, chromedp.KeyEvent(kb.Tab))
		assert.NotEqual(t, all[len(all)-1], get(ctx, t, chromedp.Evaluate[focus](focused)).Name, "the last one lets go")

		get(ctx, t, chromedp.Evaluate[bool](fmt.Sprintf(`(document.querySelectorAll("*")[%s].focus(), true)`, all[len(all)-1][strings.LastIndexByte(all[len(all)-1], '|')+1:])))
		for i := len(all) - 2; i >= 0; i-- {
			do(ctx, t, chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
			at(all[i])
		}

		// The link at the top leads past the header.
		do(ctx, t, chromedp.KeyEvent(kb.Enter))
		do(ctx, t, chromedp.KeyEvent(kb.Tab))
		inside := get(ctx, t, chromedp.Evaluate[bool](`document.querySelector("main").contains(document.activeElement)`))
		assert.True(t, inside, "after the skip link the next stop is in the main part")
		assert.Empty(t, console.all())
	}
}
