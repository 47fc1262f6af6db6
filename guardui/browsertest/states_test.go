package browsertest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

var shots = flag.String("shots", "", "a folder for pictures of every state: light, dark, narrow, printed and without JavaScript")

// stage is a guard that can be put into any state.
type stage struct {
	*tokenguard.Guard
	t      *testing.T
	clock  *tokenguardtest.Clock
	away   atomic.Bool                        // the store
	says   atomic.Pointer[tokenguard.Failure] // the upstream, to an acquisition or a renewal; nil: a token
	life   time.Duration
	server *httptest.Server
}

// flaky is a store that can be away.
type flaky struct {
	tokenguard.Store
	away *atomic.Bool
}

func (f flaky) View(ctx context.Context, name string) (tokenguard.Snapshot, error) {
	if f.away.Load() {
		return tokenguard.Snapshot{}, errors.New("connection refused")
	}
	return f.Store.View(ctx, name)
}

func (f flaky) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if f.away.Load() {
		return tokenguard.Snapshot{}, errors.New("connection refused")
	}
	return f.Store.Update(ctx, name, fn)
}

func newStage(t *testing.T, renews bool) *stage {
	t.Helper()
	s := &stage{t: t, clock: tokenguardtest.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), life: 3 * time.Hour}
	serial := 0
	issue := func() (tokenguard.Token, error) {
		if f := s.says.Load(); f != nil {
			return tokenguard.Token{}, tokenguard.Failed(*f)
		}
		serial++
		token := tokenguard.NewToken(fmt.Sprint("stage value ", serial), s.clock.Now().Add(s.life))
		if renews {
			token = token.WithRefreshToken(fmt.Sprint("stage refresh ", serial), time.Time{})
		}
		return token, nil
	}
	opts := []tokenguard.Option{tokenguard.WithClock(s.clock), tokenguard.WithName("stage"), tokenguard.WithStore(flaky{tokenguard.NewMemoryStore(), &s.away})}
	if renews {
		opts = append(opts, tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) { return issue() }))
	}
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return issue() }, opts...)
	require.NoError(t, err)
	s.Guard, s.server = g, httptest.NewServer(guardui.New(g))
	t.Cleanup(s.server.Close)
	t.Cleanup(func() { _ = g.Close() }) // ends the live connections first
	return s
}

// calls has named callers ask and report for so long, a call of each every 2 minutes.
func (s *stage) calls(length time.Duration) {
	for end := s.clock.Now().Add(length); s.clock.Now().Before(end); s.clock.Advance(2 * time.Minute) {
		for _, caller := range []string{"get feed", "post chat"} {
			grant, err := s.Acquire(s.t.Context(), tokenguard.Request{Caller: caller})
			if err == nil {
				_ = s.Report(s.t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Caller: caller, Latency: 80 * time.Millisecond})
			}
		}
	}
}

// spend has everybody report that the newest token's quota is used up, twice.
func (s *stage) spend() {
	id := s.Stats().Cache.Tokens[0].ID
	for range 2 {
		for _, caller := range []string{"", "get feed", "post chat"} {
			_ = s.Report(s.t.Context(), tokenguard.Outcome{TokenID: id, Caller: caller, Failure: tokenguard.Failure{StatusCode: 402, Message: "quota exhausted"}})
		}
		s.clock.Advance(2 * time.Minute)
	}
}

func (s *stage) fails(status int, message string, header http.Header) {
	s.says.Store(&tokenguard.Failure{StatusCode: status, Message: message, Header: header})
}

// Every state that a guard can be put into: the page says what is expected in the words of the verdict, contradicts it
// nowhere, is as wide as the screen, and axe-core finds nothing.
func TestStates(t *testing.T) {
	hour, minute := time.Hour, time.Minute
	for _, c := range []struct {
		name    string
		renews  bool
		happens func(s *stage)
		want    []string // in the verdict
		never   []string // anywhere
	}{
		{"fresh", false, func(*stage) {}, []string{"Yes: the next call acquires one", "Yes, now", "There is no state yet"}, []string{"used up at about"}},
		{"healthy", false, func(s *stage) { s.calls(2 * hour) }, []string{"Yes, at once", "Yes, but none is needed"}, []string{"There is no state yet"}},
		{"spent", false, func(s *stage) { s.calls(10 * minute); s.spend(); s.calls(2 * minute) },
			[]string{"No, not before 1 Mar 12:30:00 UTC", "token_too_new", "A token can be had in"}, []string{"Yes,", "used up at about"}},
		{"backing-off", false, func(s *stage) {
			s.life = 30 * minute
			s.calls(29 * minute)
			s.fails(503, "down", nil)
			s.calls(6 * minute)
		},
			[]string{"No, not before", "limiter: backoff", "A token can be had in"}, []string{"Yes,"}},
		{"paused", false, func(s *stage) {
			s.life = 30 * minute
			s.calls(29 * minute)
			s.fails(429, "slow down", http.Header{"Retry-After": {"7200"}})
			s.calls(10 * minute)
		}, []string{"No, not before 1 Mar 14:30:00 UTC", "retry_after"}, []string{"Yes,"}},
		{"hour-used-up", false, func(s *stage) { s.life = 12 * minute; s.calls(55 * minute) }, []string{"No, not before 1 Mar 13:00:00 UTC", "hour_limit"}, []string{"Yes,", "not used up soon forecast"}},
		{"store-away", false, func(s *stage) { s.calls(hour); s.away.Store(true) }, []string{"Yes, from the cache", "No: the state cannot be read"}, []string{"There is no state yet"}},
		{"store-away-no-token", false, func(s *stage) { s.life = 20 * minute; s.calls(10 * minute); s.away.Store(true); s.clock.Advance(hour) },
			[]string{"No: the state cannot be read"}, []string{"Yes,", "There is no state yet"}},
		{"account-lives", true, func(s *stage) { s.calls(7 * hour) }, []string{"Yes, at once", "Yes; its next renewal is due"}, nil},
		{"account-backing-off", true, func(s *stage) {
			s.calls(hour)
			s.fails(503, "down", nil)
			s.calls(128 * minute)
			_, _ = s.Token(t.Context()) // fails at this instant
		}, []string{"No, not before", "it cannot be renewed before"}, []string{"dead"}},
		{"account-dead", true, func(s *stage) { s.calls(hour); s.fails(400, `{"error":"invalid_grant"}`, nil); s.calls(118 * minute) },
			[]string{"Yes, at once", "No: dead since 1 Mar 14:56:00 UTC", "its token serves until 1 Mar 15:00:00 UTC"}, nil},
		{"account-and-token-dead", true, func(s *stage) { s.calls(hour); s.fails(400, `{"error":"invalid_grant"}`, nil); s.calls(125 * minute) },
			[]string{"No, not before", "No: dead since 1 Mar 14:56:00 UTC"}, []string{"Yes,"}},
		{"closed", false, func(s *stage) { s.calls(hour); require.NoError(t, s.Close()) }, []string{"No: this guard is closed"}, []string{"Yes,", "keep current"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, c.renews)
			c.happens(s)
			ctx, console := browser(t)
			look(ctx, t, "light", 1280, 900)
			do(ctx, t, chromedp.Navigate(s.server.URL), chromedp.WaitVisible(chromedp.CSS("#live[data-state]")))
			verdict := strings.Join(strings.Fields(get(ctx, t, chromedp.Text(chromedp.CSS(".now")))), " ")
			for _, want := range c.want {
				assert.Contains(t, verdict, want)
			}
			for _, never := range c.never {
				assert.NotContains(t, verdict, never)
			}
			assert.NotContains(t, get(ctx, t, chromedp.Text(chromedp.CSS("main"))), "since the state was lost", "it was not")
			accessible(ctx, t)
			shot(ctx, t, c.name+"-light")
			look(ctx, t, "dark", 1280, 900)
			accessible(ctx, t)
			shot(ctx, t, c.name+"-dark")
			look(ctx, t, "light", 390, 844)
			assert.LessOrEqual(t, get(ctx, t, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)), int64(390), "nothing scrolls sideways")
			assert.True(t, get(ctx, t, chromedp.Evaluate[bool](`((all) => all.length > 0 && all.every((e) => e.scrollWidth <= e.clientWidth))([...document.querySelectorAll("#usage .scroll")])`)), "who uses the budget is seen without scrolling")
			accessible(ctx, t)
			shot(ctx, t, c.name+"-390")
			for _, reached := range []string{"#log a", "#explain input[name=caller]", "#explain button"} {
				assert.True(t, get(ctx, t, chromedp.Evaluate[bool](`(() => { const e = document.querySelector("`+reached+`"); if (!e) return true; e.focus(); return document.activeElement === e && e.tabIndex === 0 })()`)), reached)
			}
			printed(ctx, t, true)
			look(ctx, t, "dark", 794, 1123) // A4
			printed(ctx, t, true)
			assert.Equal(t, "rgb(255, 255, 255)", get(ctx, t, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("section")).backgroundColor`)), "paper is white")
			assert.Equal(t, 0, get(ctx, t, chromedp.Evaluate[int](`[...document.querySelectorAll(".scroll")].filter((e) => e.scrollHeight > e.clientHeight + 1 && getComputedStyle(e).overflowY !== "visible").length`)), "nothing is cut off on paper")
			shot(ctx, t, c.name+"-print")
			printed(ctx, t, false)
			assert.Empty(t, console.all())
		})
	}
}

// printed has the tab look as on paper, or on the screen again.
func printed(ctx context.Context, t *testing.T, yes bool) {
	t.Helper()
	media := ""
	if yes {
		media = "print"
	}
	do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media,
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
		return err
	}))
}

// Without JavaScript the page says the same, and the pictures are there with their values.
func TestStatesWithoutJavaScript(t *testing.T) {
	s := newStage(t, true)
	s.calls(time.Hour)
	s.fails(400, `{"error":"invalid_grant"}`, nil)
	s.calls(118 * time.Minute)
	ctx, _ := browser(t)
	look(ctx, t, "light", 390, 844)
	do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}), chromedp.Navigate(s.server.URL), chromedp.WaitReady(chromedp.CSS("#windows svg")))
	body := get(ctx, t, chromedp.OuterHTML(chromedp.CSS("body")))
	for _, want := range []string{"No: dead since", "Load again", "<title>1 Mar 12:00:00 UTC to 1 Mar 13:00:00 UTC: 1 of 3 used</title>",
		"<title>1 Mar 13:00:00 UTC: 2 served, 0 refused, 0 failed</title>", "1 Mar UTC</text>"} {
		assert.True(t, strings.Contains(body, want), want)
	}
	assert.NotContains(t, body, "is old") // the script says so, and nobody else
	t.Logf("the page has %d bytes", len(body))
}

// shot saves a picture of the whole page, if pictures are wanted.
func shot(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	if *shots == "" {
		return
	}
	const tile = 1600 // pixels down, so that a picture can be looked at in full size
	size := get(ctx, t, chromedp.Evaluate[[]int64](`[innerWidth, Math.ceil(document.documentElement.getBoundingClientRect().height)]`))
	for n := int64(0); n*tile < size[1]; n++ {
		do(ctx, t, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			got, err := cdp.Call(ctx, tab, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: new(true),
				Clip: &page.Viewport{Y: float64(n * tile), Width: float64(size[0]), Height: float64(min(tile, size[1]-n*tile)), Scale: 1}})
			if err == nil {
				err = os.WriteFile(filepath.Join(*shots, fmt.Sprintf("%s-%d.png", name, n)), got.Data, 0o644)
			}
			return err
		}))
	}
}
