package browsertest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// browser returns a tab of a new browser, and what the console says. More listeners hear all of the tab's events.
func browser(t *testing.T, listeners ...func(any)) (context.Context, *console) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		if os.Getenv("TOKENGUARD_LONG") != "" {
			t.Fatal("no chromium, and TOKENGUARD_LONG is set")
		}
		fmt.Println("SKIP: no chromium on this machine")
		t.Skip("no chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	c := &console{}
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(func(event any) {
		for _, hear := range append(listeners, c.hear) {
			hear(event)
		}
	}))
	t.Cleanup(cancel)
	do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, log.Enable, cdp.Empty{})
		return err
	}))
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx, c
}

func do(ctx context.Context, t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(ctx, steps...))
}

func get[T any](ctx context.Context, t *testing.T, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	require.NoError(t, err)
	return v
}

var connected = chromedp.WaitVisible(chromedp.CSS("#live[data-state=on]"))

// console keeps every complaint: errors, exceptions, violations of the policy, dialogs.
type console struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (c *console) hear(event any) {
	line := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		line = e.Entry.Text
	case *runtime.EventExceptionThrown:
		line = e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		line = string(e.Type)
	case *page.EventJavascriptDialogOpening:
		line = "dialog: " + e.Message
	default:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
}

func (c *console) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.lines...)
}

// hostile are texts that run, where they are not escaped.
var hostile = []string{
	"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "' onfocus='alert(1)' autofocus='", "</template><svg onload=alert(1)>",
	"\u202egnp.exe", strings.Repeat("x", 10<<10), strings.Repeat("word ", 2<<10),
}

// busy serves the page of a guard that hostile callers used.
func busy(t *testing.T) (*tokenguard.Guard, string) {
	t.Helper()
	clock := tokenguardtest.NewClock(time.Time{})
	script := tokenguardtest.NewScript(clock, tokenguardtest.Reply{Lifetime: 10 * time.Minute}, tokenguardtest.Reply{Err: tokenguardtest.ErrScripted})
	guard, err := tokenguard.New(script.Request, tokenguard.WithClock(clock))
	require.NoError(t, err)
	for _, text := range hostile {
		req := tokenguard.Request{Caller: text, Failure: tokenguard.Failure{StatusCode: 500, Message: text}}
		_, _ = guard.Acquire(t.Context(), req)
		req.Scope = text
		_, _ = guard.Acquire(t.Context(), req)
	}
	clock.Advance(30 * time.Minute)
	_, err = guard.Acquire(t.Context(), tokenguard.Request{Caller: "billing"})
	require.Error(t, err)
	server := httptest.NewServer(guardui.New(guard))
	t.Cleanup(server.Close)
	t.Cleanup(func() { _ = guard.Close() }) // ends the live connections first
	return guard, server.URL + "/"
}

func TestHostileTextsDoNotRun(t *testing.T) {
	ctx, console := browser(t)
	_, url := busy(t)
	for _, query := range []string{"", "?explain=1&scope=%22%3E%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&caller=%3Cscript%3Ealert(1)%3C/script%3E"} {
		do(ctx, t, chromedp.Navigate(url+query), connected)
		assert.Zero(t, get(ctx, t, chromedp.Evaluate[int](`document.querySelectorAll("main script, main img, [onerror], [onload], [onfocus]").length`)))
	}
	assert.Empty(t, console.all(), "no error, no violation of the policy, no dialog")
}

func TestConsoleHearsViolations(t *testing.T) {
	ctx, console := browser(t)
	_, url := busy(t)
	do(ctx, t, chromedp.Navigate(url), connected,
		chromedp.Evaluate[chromedp.Void](`document.body.insertAdjacentHTML("beforeend", "<p onclick=alert(1)>")`),
		chromedp.Evaluate[chromedp.Void](`document.body.lastElementChild.click()`))
	assert.Contains(t, strings.Join(console.all(), "\n"), "Content Security Policy")
}

func TestLiveUpdate(t *testing.T) {
	ctx, console := browser(t)
	guard, url := busy(t)
	verdict := chromedp.Text(chromedp.CSS("#verdict"))
	do(ctx, t, chromedp.Navigate(url), connected, chromedp.Focus(chromedp.CSS("#log [role=region]")))
	before := get(ctx, t, verdict)
	assert.Contains(t, before, "No, not before")
	require.NoError(t, guard.Clear(t.Context(), tokenguard.Clear{Backoff: true}))
	assert.True(t, get(ctx, t, chromedp.Poll[bool](`document.querySelector("#log").textContent.includes("cleared")`)))
	assert.NotEqual(t, before, get(ctx, t, verdict))
	assert.Equal(t, "Table of events", get(ctx, t, chromedp.Evaluate[string](`document.activeElement.getAttribute("aria-label")`)), "the keyboard stays where it was")
	assert.Empty(t, console.all())
	require.NoError(t, guard.Close())
	do(ctx, t, chromedp.WaitVisible(chromedp.CSS("#live[data-state=off]")))
}

func TestWithoutJavaScript(t *testing.T) {
	ctx, _ := browser(t)
	_, url := busy(t)
	do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}), chromedp.Navigate(url+"?explain=1&caller=billing"), chromedp.WaitReady(chromedp.CSS(".decides")))
	text := get(ctx, t, chromedp.OuterHTML(chromedp.CSS("body")))
	for _, want := range []string{"No, not before", "backoff", "decides", "max_requests_per_hour", "Load again", "<rect"} {
		assert.Contains(t, text, want)
	}
}

// look sets the tab's colours and size.
func look(ctx context.Context, t *testing.T, scheme string, width, height int64) {
	t.Helper()
	do(ctx, t, chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

func TestLooks(t *testing.T) {
	ctx, console := browser(t)
	_, url := busy(t)
	if *update {
		url = dashboard(t)
	}
	for _, l := range []struct {
		name, scheme, ground string
		width                int64
	}{
		{"light", "light", "rgb(246, 247, 249)", 1280}, {"dark", "dark", "rgb(17, 22, 28)", 1280}, {"narrow", "light", "rgb(246, 247, 249)", 360},
	} {
		t.Run(l.name, func(t *testing.T) {
			look(ctx, t, l.scheme, l.width, 1400)
			do(ctx, t, chromedp.Navigate(url), connected)
			assert.Equal(t, l.ground, get(ctx, t, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`)))
			assert.LessOrEqual(t, get(ctx, t, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)), l.width, "nothing scrolls sideways")
			if *update {
				save(t, "page-"+l.name, get(ctx, t, chromedp.CaptureScreenshot()))
			}
		})
	}
	assert.Empty(t, console.all())
}

// dashboard serves the page of the example of that name, which simulated callers keep busy.
func dashboard(t *testing.T) (url string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "dashboard")
	build := exec.Command("go", "build", "-o", program, "./examples/dashboard")
	build.Dir = "../.."
	said, err := build.CombinedOutput()
	require.NoError(t, err, string(said))
	ctx, cancel := context.WithCancel(t.Context())
	command := exec.CommandContext(ctx, program, "-addr", "127.0.0.1:0", "-for", "1m")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { cancel(); _ = command.Wait() })
	_, err = fmt.Fscanf(out, "the page is at %s\n", &url)
	require.NoError(t, err)
	return url
}

// When the server is gone, the verdict says so, with the time of its last word, and no countdown goes on.
func TestServerGone(t *testing.T) {
	ctx, _ := browser(t)
	clock := tokenguardtest.NewClock(time.Time{})
	guard, err := tokenguard.New(tokenguardtest.NewScript(clock, tokenguardtest.Reply{Lifetime: time.Hour}).Request, tokenguard.WithClock(clock))
	require.NoError(t, err)
	defer guard.Close()
	_, err = guard.Token(t.Context())
	require.NoError(t, err)
	server := httptest.NewServer(guardui.New(guard))
	do(ctx, t, chromedp.Navigate(server.URL), connected)
	require.Equal(t, "none", get(ctx, t, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("#gone")).display`)))
	require.Contains(t, get(ctx, t, chromedp.Text(chromedp.CSS("#countdown"))), "An acquisition could start in")
	server.CloseClientConnections()
	server.Close()
	do(ctx, t, chromedp.WaitVisible(chromedp.CSS("#gone")))
	assert.Equal(t, "Unknown: the server does not answer. Its last word was at 1 Jan 00:00:00 UTC; everything below is as of then.",
		get(ctx, t, chromedp.Text(chromedp.CSS("#gone"))))
	assert.Equal(t, "none", get(ctx, t, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("#countdown")).display`)))
}
