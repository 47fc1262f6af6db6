package browsertest

import (
	"context"
	"flag"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "take the pictures of docs anew")

// requests keeps every address that a tab asks for.
type requests struct {
	mu   sync.Mutex
	urls []string // guarded by mu
}

func (r *requests) hear(event any) {
	if e, ok := event.(*network.EventRequestWillBeSent); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.urls = append(r.urls, e.Request.URL)
	}
}

func (r *requests) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.urls...)
}

// The report of the incident, as the command writes it, opens from the disk and shows what happened.
func TestReplayReport(t *testing.T) {
	asked := &requests{}
	ctx, console := browser(t, asked.hear)
	do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, network.Enable, network.EnableParams{})
		return err
	}))
	program := filepath.Join(t.TempDir(), "tokenguard")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../../cmd/tokenguard"
	said, err := build.CombinedOutput()
	require.NoError(t, err, string(said))
	for _, report := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"replay", nil, []string{"100.0 % of 97 calls served with 1 acquisition", "would have been 97 acquisitions", "started 1, and 97 of 97 got a working token",
			"manual (59)", "retry (30)", "restart (8)", "without a token (0)", "acquisitions (1)", "limit 3"}},
		{"replay-scarce", []string{"--uses", "40", "--what-if", "replace_spent_early=true", "--what-if", "min_token_age=10m,20m"},
			[]string{"57.7 % of 97 calls served with 2 acquisitions", "without a token (41)", "token_too_new", "replace_spent_early=true", "97.9 %", "good for 40 calls"}},
	} {
		t.Run(report.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "report.html")
			command := exec.Command(program, append([]string{"replay", "incident-97.jsonl", "--format", "html", "-o", file}, report.flags...)...)
			command.Dir = "../../testdata" // the report names the log as it was given: no folder of this machine
			out, err := command.CombinedOutput()
			require.NoError(t, err, string(out))
			address := (&url.URL{Scheme: "file", Path: file}).String()
			look(ctx, t, "light", 1000, 900)
			do(ctx, t, chromedp.Navigate(address), chromedp.WaitVisible(chromedp.CSS("svg")))
			text := strings.Join(strings.Fields(get(ctx, t, chromedp.Evaluate[string](`document.body.textContent`))), " ")
			for _, want := range report.want {
				assert.Contains(t, text, want)
			}
			accessible(ctx, t)
			assert.NotZero(t, get(ctx, t, chromedp.Evaluate[int](`document.querySelectorAll("svg line").length`)))
			assert.Zero(t, get(ctx, t, chromedp.Evaluate[int](`[...document.querySelectorAll("svg text")].filter((e) => {
				const box = e.getBBox(); return box.x < 0 || box.x + box.width > e.ownerSVGElement.viewBox.baseVal.width }).length`)), "texts outside of the picture")
			if *update {
				height := get(ctx, t, chromedp.Evaluate[int64](`Math.ceil(document.documentElement.getBoundingClientRect().bottom)`))
				look(ctx, t, "light", 1000, height)
				save(t, report.name, get(ctx, t, chromedp.CaptureScreenshot()))
			}
			for _, scheme := range []string{"light", "dark"} { // and on a telephone
				look(ctx, t, scheme, 360, 800)
				assert.LessOrEqual(t, get(ctx, t, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)), int64(360), "nothing scrolls sideways")
			}
			for _, url := range asked.all() {
				assert.True(t, url == address || strings.HasPrefix(url, "file:///") && strings.HasSuffix(url, "/report.html"), "it asks for %s", url)
			}
			assert.Contains(t, asked.all(), address, "requests are heard")
		})
	}
	assert.Empty(t, console.all())
}

// save writes a picture of the docs. It lies here, in a module that nobody downloads, since the docs are part of the core.
func save(t *testing.T, name string, picture []byte) {
	require.NoError(t, os.WriteFile(filepath.Join("pictures", name+".png"), picture, 0o644))
}
