package guardhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func refusal(step tokenguard.Step, reason tokenguard.Reason, retryAt time.Time) error {
	return &tokenguard.RefusedError{Verdict: tokenguard.Verdict{Step: step, Reason: reason, Detail: "secret host", RetryAt: retryAt,
		Evidence: tokenguard.Evidence{Count: 3, Limit: 3}}}
}

func TestWriteError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later := time.Now().Add(89*time.Second + time.Millisecond)
		for _, tt := range []struct {
			err    error
			status int
			retry  string
		}{
			{refusal("limiter", tokenguard.ReasonHourLimit, later), 429, "90"},
			{refusal("limiter", tokenguard.ReasonMinInterval, time.Now().Add(time.Second)), 429, "1"},
			{refusal("dedup", tokenguard.ReasonDuplicate, time.Now().Add(-time.Hour)), 429, "0"},
			{refusal("manager", tokenguard.ReasonUpstreamRateLimited, later), 429, "90"},
			{refusal("manager", tokenguard.ReasonTokenTooNew, later), 429, "90"},
			{refusal("predictor", tokenguard.ReasonQuotaSufficient, time.Time{}), 429, ""},
			{refusal("limiter", tokenguard.ReasonBackoff, later), 503, "90"},
			{refusal("limiter", tokenguard.ReasonRetryAfter, later), 503, "90"},
			{refusal("manager", tokenguard.ReasonForbidden, time.Time{}), 503, ""},
			{refusal("gate", tokenguard.ReasonTooManyWaiters, time.Time{}), 503, ""},
			{refusal("store", tokenguard.ReasonStoreUnavailable, time.Time{}), 503, ""},
			{refusal("store", tokenguard.ReasonClosed, time.Time{}), 503, ""},
			{&url.Error{Op: "Get", URL: "/", Err: refusal("limiter", tokenguard.ReasonDayLimit, later)}, 429, "90"},
			{&tokenguard.RequestError{Err: errors.New("upstream says: t1"), Class: "transient", RetryAt: later}, 502, "90"},
			{&tokenguard.RequestError{Err: fmt.Errorf("of another guard: %w", refusal("limiter", tokenguard.ReasonHourLimit, time.Now())), Class: "unknown", RetryAt: later}, 502, "90"},
			{&tokenguard.RefusedError{Verdict: tokenguard.Verdict{Step: "limiter", Reason: tokenguard.ReasonBackoff, RetryAt: later}, Cause: &tokenguard.RequestError{
				Err: refusal("limiter", tokenguard.ReasonHourLimit, time.Now())}}, 503, "90"},
			{context.DeadlineExceeded, 504, ""},
			{fmt.Errorf("call: %w", context.Canceled), 499, ""},
			{errors.New("secret thing"), 500, ""},
			{nil, 500, ""},
		} {
			w := httptest.NewRecorder()
			guardhttp.WriteError(w, tt.err)
			require.Equal(t, tt.status, w.Code, "%v", tt.err)
			require.Equal(t, tt.retry, w.Header().Get("Retry-After"), "%v", tt.err)
			require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			var body map[string]any
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
			require.EqualValues(t, tt.status, body["status"])
			require.NotEmpty(t, body["title"])
			require.NotContains(t, w.Body.String(), "t1")
			require.NotContains(t, w.Body.String(), "secret")
		}
	})
}

func TestWriteErrorSaysWhy(t *testing.T) {
	w := httptest.NewRecorder()
	at := time.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC)
	guardhttp.WriteError(w, refusal("limiter", tokenguard.ReasonHourLimit, at))
	require.JSONEq(t, `{"title":"No token is available","status":429,"detail":"the hourly limit on acquisitions is reached: 3 of 3","step":"limiter","reason":"hour_limit","retry_at":"2026-01-01T00:05:00Z"}`, w.Body.String())
	w = httptest.NewRecorder()
	guardhttp.WriteError(w, refusal("store", tokenguard.ReasonStoreUnavailable, time.Time{}))
	require.JSONEq(t, `{"title":"No token is available","status":503,"detail":"the state of the guard cannot be reached","step":"store","reason":"store_unavailable"}`, w.Body.String())
}

// Every reason for a refusal that the guard knows has a sentence of its own, and none passes on what others said.
func TestProblemHasItsOwnWords(t *testing.T) {
	sorts := []error{tokenguard.ErrDuplicate, tokenguard.ErrNotNeeded, tokenguard.ErrInProgress, tokenguard.ErrUpstreamLimited, tokenguard.ErrForbidden,
		tokenguard.ErrRateLimited, tokenguard.ErrBackoff, tokenguard.ErrStore, tokenguard.ErrClosed}
	file, err := parser.ParseFile(token.NewFileSet(), "../verdict.go", nil, 0)
	require.NoError(t, err)
	refusals := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		refused := refusal("any", tokenguard.Reason(reason), time.Time{})
		w := httptest.NewRecorder()
		guardhttp.WriteError(w, refused)
		require.NotContains(t, w.Body.String(), "secret host", reason)
		for _, sort := range sorts {
			if errors.Is(refused, sort) {
				refusals++
				require.Contains(t, w.Body.String(), `"detail":`, reason)
			}
		}
		return true
	})
	require.Greater(t, refusals, 15)
}

// The source of the personal token fails with a text that names where it lives.
func TestProblemKeepsThePersonalSourceToItself(t *testing.T) {
	guard, err := tokenguard.New(tokenguardtest.NewScript(nil).Request,
		tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
			return tokenguard.Token{}, errors.New("open /home/alice/.config/vault at vault.internal: permission denied")
		}))
	require.NoError(t, err)
	defer guard.Close()
	for _, req := range []tokenguard.Request{{Kind: tokenguard.Personal}, {}, {Scope: "another"}} {
		_, err = guard.Acquire(t.Context(), req)
		if err == nil {
			continue
		}
		w := httptest.NewRecorder()
		guardhttp.WriteError(w, err)
		require.NotContains(t, w.Body.String(), "alice")
		require.NotContains(t, w.Body.String(), "vault")
	}
	require.ErrorContains(t, err, "alice", "the refusal itself does say it")
}

func FuzzRetryAfterIsNeverEarly(f *testing.F) {
	f.Add(int64(1))
	f.Add(int64(time.Second))
	f.Add(int64(time.Hour + 1))
	f.Fuzz(func(t *testing.T, ns int64) {
		wait := time.Duration(ns) % (1000 * time.Hour)
		at := time.Now().Add(wait)
		w := httptest.NewRecorder()
		guardhttp.WriteError(w, refusal("limiter", tokenguard.ReasonHourLimit, at))
		s, err := strconv.ParseInt(w.Header().Get("Retry-After"), 10, 64)
		if err != nil || s < 0 || time.Now().Add(time.Duration(s)*time.Second).Before(at) {
			t.Fatalf("Retry-After %q for %v", w.Header().Get("Retry-After"), wait)
		}
	})
}
