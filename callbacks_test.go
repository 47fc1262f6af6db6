package tokenguard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// "A failure is remembered, also the first one", also where the user's classifier cannot read it; and it blocks nobody.
func TestClassifierThatPanics(t *testing.T) {
	var told []tokenguard.Event
	u := newUser(t, tokenguard.WithClassifier(func(tokenguard.Failure) tokenguard.Class { panic("cannot read it") }),
		tokenguard.WithObserver(func(e tokenguard.Event) {
			if e.Kind == tokenguard.EventState {
				told = append(told, e)
			}
		}))
	u.up.next = []tokenguard.RequestFunc{failing(serverDown), nil}
	failed := u.fails(plain)
	assert.Equal(t, tokenguard.ClassUnknown, failed.Class)
	u.refusedUntil(oddStart.Add(600*time.Second), tokenguard.ReasonBackoff, plain)
	token := u.served(acquired, plain).Token
	u.clock.move(time.Minute)
	u.served(cached, with(unauthorized, token)) // unknown says nothing about the token
	require.Len(t, told, 1, "and is not silent")
	assert.Contains(t, told[0].Text, "cannot read it")
}

// I5, I6: an observer may call the guard, also in the middle of an acquisition. What it asks for there cannot come before
// it returns, which ends as a RequestFunc that hangs would.
func TestObserverCallsTheGuard(t *testing.T) {
	for _, kind := range []tokenguard.EventKind{tokenguard.EventStarted, tokenguard.EventAcquired, tokenguard.EventFailed} {
		for name, call := range map[string]func(*tokenguard.Guard){
			"token": func(g *tokenguard.Guard) { _, _ = g.Token(context.Background()) },
			"close": func(g *tokenguard.Guard) { _ = g.Close() },
			"hang":  func(*tokenguard.Guard) { time.Sleep(time.Hour) },
			"look": func(g *tokenguard.Guard) {
				_, _ = g.Explain(context.Background(), plain)
				g.Stats()
			},
		} {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					up := &origin{lifetime: 10 * time.Minute}
					if kind == tokenguard.EventFailed {
						up.next = []tokenguard.RequestFunc{failing(serverDown)}
					}
					var g *tokenguard.Guard
					var once atomic.Bool
					g, err := tokenguard.New(up.request, tokenguard.WithObserver(func(e tokenguard.Event) {
						if e.Kind == kind && once.CompareAndSwap(false, true) {
							call(g)
						}
					}))
					require.NoError(t, err)
					began := time.Now()
					var calls sync.WaitGroup
					for range 3 {
						calls.Go(func() { _, _ = g.Token(t.Context()) })
					}
					calls.Wait()
					assert.LessOrEqual(t, time.Since(began), time.Minute)
					if name == "look" || name == "token" && kind != tokenguard.EventStarted {
						assert.Zero(t, time.Since(began))
					}
					time.Sleep(20 * time.Minute)
					_, _ = g.Token(t.Context()) // meets no flight that never ends
					assert.LessOrEqual(t, time.Since(began), 22*time.Minute)
					began = time.Now()
					require.NoError(t, g.Close())
					assert.LessOrEqual(t, time.Since(began), time.Minute)
					assert.LessOrEqual(t, up.count(), 2)
					time.Sleep(time.Hour)
				})
			})
		}
	}
}

// "The same value is in the grant, the error, the log record, the event": for a grant, a refusal and a failure.
func TestOneVerdictEverywhere(t *testing.T) {
	var last tokenguard.Event
	var log bytes.Buffer
	u := newUser(t, tokenguard.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))),
		tokenguard.WithObserver(func(e tokenguard.Event) {
			if e.Kind != tokenguard.EventWarning {
				last = e
			}
		}))
	u.up.next = []tokenguard.RequestFunc{nil, failing(serverDown)}
	same := func(v tokenguard.Verdict) {
		t.Helper()
		assert.Equal(t, v, last.Verdict)
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		var record map[string]any
		for _, line := range lines {
			if !strings.Contains(line, `"token warning"`) {
				record = map[string]any{}
				require.NoError(t, json.Unmarshal([]byte(line), &record))
			}
		}
		assert.Equal(t, string(v.Step), record["step"])
		assert.Equal(t, string(v.Reason), record["reason"])
		assert.Equal(t, v.Detail, record["detail"])
		if v.RetryAt.IsZero() {
			assert.NotContains(t, record, "retry_at")
		} else {
			assert.Equal(t, v.RetryAt.Format(time.RFC3339Nano), record["retry_at"])
		}
	}
	same(u.served(acquired, plain).Verdict())
	same(u.refused(tokenguard.ReasonMinInterval, scoped("other")).Verdict)
	u.clock.move(300 * time.Second)
	failed := u.fails(scoped("other"))
	assert.Equal(t, failed.RetryAt, failed.Verdict.RetryAt)
	same(failed.Verdict)
	same(u.refused(tokenguard.ReasonBackoff, scoped("other")).Verdict)
}

// I10: an error holds what RequestFunc returned or panicked with, untouched. It leaves through Unwrap alone.
func TestErrorsPrintNoSecret(t *testing.T) {
	type refusal struct{ Body string }
	for name, next := range map[string]tokenguard.RequestFunc{
		"panic": func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			panic(refusal{"Bearer abcdef0123456789abcdef"})
		},
		"error": func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.Token{}, &url.Error{Op: "Get", URL: "https://example.com/?access_token=abcdef0123456789abcdef", Err: io.EOF}
		},
		"failure": failing(tokenguard.Failure{StatusCode: 500, Message: "no: Bearer abcdef0123456789abcdef",
			Header: map[string][]string{"X-Token": {"abcdef0123456789abcdef"}}}),
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.up.next = []tokenguard.RequestFunc{next}
			var out bytes.Buffer
			for _, err := range []error{u.fails(plain), u.refused(tokenguard.ReasonBackoff, plain)} {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
					fmt.Fprintf(&out, verb, err)
				}
				encoded, jerr := json.Marshal(err)
				require.NoError(t, jerr)
				out.Write(encoded)
				slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "err", err)
				slog.New(slog.NewTextHandler(&out, nil)).Info("m", "err", err)
			}
			assert.NotContains(t, out.String(), "abcdef0123456789abcdef")
		})
	}
}

// "Stats, the early warning event and the docs say so with numbers and the setting to choose."
func TestBudgetWarningNamesTheSetting(t *testing.T) {
	var warnings []string
	u := newUser(t, tokenguard.WithObserver(func(e tokenguard.Event) {
		if e.Kind == tokenguard.EventWarning {
			warnings = append(warnings, e.Text)
		}
	}))
	for _, scope := range []string{"1", "2", "3"} {
		u.served(acquired, scoped(scope))
		u.clock.move(300 * time.Second)
	}
	all := strings.Join(warnings, "\n")
	assert.Contains(t, all, "2 of 3 used")
	assert.Contains(t, all, "rate_limit.max_requests_per_hour")
	u.refused(tokenguard.ReasonHourLimit, scoped("4"))
	stats, err := json.Marshal(u.Stats())
	require.NoError(t, err)
	assert.Contains(t, string(stats), "3 of 3")
	assert.Contains(t, string(stats), "rate_limit.max_requests_per_hour")
}

// A value is hidden wherever it stands, but a short one must not eat the words that hold its letters, and what a caller
// names as failing must not change what its failure means.
func TestHidingLeavesWordsAlone(t *testing.T) {
	for _, value := range []string{"a", "quota", "in", "a-long-secret-value"} {
		t.Run(value, func(t *testing.T) {
			u := newUser(t)
			u.up.next = []tokenguard.RequestFunc{issuing(value, 24*time.Hour),
				failing(tokenguard.Failure{StatusCode: 503, Message: "service unavailable: " + value})}
			u.served(acquired, plain)
			u.clock.move(30 * time.Minute)
			f := tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}
			e, err := u.Explain(t.Context(), tokenguard.Request{Failure: f, Failing: value})
			require.NoError(t, err)
			assert.Equal(t, tokenguard.ClassQuotaExhausted, e.Verdict.Class)
			failed := u.fails(scoped("other"))
			assert.Contains(t, failed.Error(), "service unavailable: tk_")
			assert.NotContains(t, failed.Error(), ": "+value)
		})
	}
}
