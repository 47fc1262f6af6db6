package tokenguard_test

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// The sentences that the page on evidence shows are those that Explain gives.
func TestEvidencePageShowsWhatExplainSays(t *testing.T) {
	page, err := os.ReadFile("docs/evidence.md")
	require.NoError(t, err)
	varying := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)|tk_[0-9a-f]{16}`)
	same := func(s string) string { return varying.ReplaceAllString(s, "~") }
	shown := func(w *tokenWorld, want tokenguard.Reason, req tokenguard.Request) {
		t.Helper()
		e, err := w.Explain(w.t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, want, e.Verdict.Reason, e.Verdict.Detail)
		assert.Contains(t, same(string(page)), same(e.Verdict.Detail))
	}
	report := func(w *tokenWorld, operation string, token tokenguard.Token, f tokenguard.Failure) {
		require.NoError(t, w.Report(w.t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: operation, Failure: f}))
	}

	// One operation is always refused, beside one that works: it has the start of the day that is contested, then none.
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		w.refuses = func(operation string, _ tokenguard.Token) tokenguard.Failure {
			if operation == "GET /profile" {
				return tokenDead
			}
			return tokenguard.Failure{}
		}
		for range 120 {
			w.call("GET /me")
			w.call("GET /profile")
			time.Sleep(time.Minute)
		}
		shown(w, tokenguard.ReasonCached, tokenguard.Request{Caller: "GET /me"})
		shown(w, tokenguard.ReasonForbidden, tokenguard.Request{Caller: "GET /profile"})
	})

	// A quota that is in doubt, and a caller with a name.
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: "POST /chat"})
		require.NoError(t, err)
		time.Sleep(40 * time.Minute)
		report(w, "POST /chat", grant.Token, usedUp)
		shown(w, tokenguard.ReasonUnconfirmed, tokenguard.Request{Caller: "POST /chat", Failing: grant.Token.ID(), Failure: usedUp})
	})

	// A scope of which no token has worked, beside one that is in use, in the last of the hour's budget.
	inWorld(t, time.Hour, func(w *tokenWorld) {
		for range 5 {
			w.call("GET /me")
			time.Sleep(time.Minute)
		}
		_, err := w.Acquire(w.t.Context(), tokenguard.Request{Scope: "new1"})
		require.NoError(t, err)
		time.Sleep(6 * time.Minute)
		w.call("GET /me")
		shown(w, tokenguard.ReasonKeptBack, tokenguard.Request{Scope: "new2"})
	})

	// Each token works for an operation for its first 10 min, and for the others until it ends.
	inWorld(t, time.Hour, func(w *tokenWorld) {
		w.refuses = func(operation string, token tokenguard.Token) tokenguard.Failure {
			if operation == "GET /profile" && time.Since(token.AcquiredAt()) > 10*time.Minute {
				return tokenDead
			}
			return tokenguard.Failure{}
		}
		for range 90 {
			w.call("GET /me")
			w.call("GET /profile")
			time.Sleep(time.Minute)
		}
		shown(w, tokenguard.ReasonNotShared, tokenguard.Request{Caller: "GET /profile"})
		time.Sleep(9 * time.Minute)
		shown(w, tokenguard.ReasonCached, tokenguard.Request{Caller: "GET /profile"})
	})
}
