package inspect_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
)

func newGuard(t *testing.T, opts ...tokenguard.Option) *tokenguard.Guard {
	t.Helper()
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewToken("eyJ-secret", time.Time{}), nil
	}, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	report, err := inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.False(t, report.Exists)
	g := newGuard(t, tokenguard.WithStateFile(path))
	_, err = g.Token(t.Context())
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	report, err = inspect.File(t.Context(), path)
	require.NoError(t, err)
	text := report.String()
	require.NotContains(t, text, "eyJ-secret")
	require.Contains(t, text, "min_interval")
	require.Contains(t, text, "3/h, 20/day, 5m0s apart")
	require.Contains(t, text, "usable, stored: plain")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.NoError(t, os.WriteFile(path, before[:len(before)/2], 0o600))
	report, err = inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.Contains(t, report.String(), "PROBLEM: damaged")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(before), `"version":1`, `"version":9`, 1)), 0o600))
	report, err = inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.NotEmpty(t, report.Problem)
}

func TestStore(t *testing.T) {
	store := tokenguard.NewMemoryStore()
	report, err := inspect.Store(t.Context(), store, "shared")
	require.NoError(t, err)
	require.Contains(t, report.String(), "there is no state yet")
	g := newGuard(t, tokenguard.WithStore(store), tokenguard.WithName("shared"))
	_, err = g.Token(t.Context())
	require.NoError(t, err)
	report, err = inspect.Store(t.Context(), store, "shared")
	require.NoError(t, err)
	require.Contains(t, report.String(), "1 started, 1 succeeded; limits 3/h, 20/day")
	require.NotContains(t, report.String(), "eyJ-secret")
	require.NoError(t, store.Close())
	_, err = inspect.Store(t.Context(), store, "shared")
	require.ErrorIs(t, err, tokenguard.ErrStore)
}

// What is sealed is shown as such, without the key.
func TestSealed(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "state"), make([]byte, 32)
	_, _ = rand.Read(key)
	_, err := newGuard(t, tokenguard.WithStateFile(path), tokenguard.WithEncryption(key)).Token(t.Context())
	require.NoError(t, err)
	report, err := inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, "sealed", report.Tokens[0].Stored)
	require.Equal(t, "usable", report.Tokens[0].State)
}

// Each loss says what is wrong and what the next guard does about it.
func TestLosses(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(t *testing.T, path string, older []byte)
		want string
	}{
		"deleted": {func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Remove(path)) },
			"deleted; the next guard begins anew and treats the hourly limit as used up"},
		"damaged": {func(t *testing.T, path string, older []byte) {
			require.NoError(t, os.WriteFile(path, older[:9], 0o600))
		},
			"; the next guard sets the file aside, begins anew and treats the hourly limit as used up"},
		"an older one": {func(t *testing.T, path string, older []byte) { require.NoError(t, os.WriteFile(path, older, 0o600)) },
			"rolled back; the next guard goes on with this older state, keeps a copy of the file and treats the hourly limit as used up"},
		"another one": {func(t *testing.T, path string, _ []byte) {
			other := filepath.Join(t.TempDir(), "other")
			_, err := newGuard(t, tokenguard.WithStateFile(other)).Token(t.Context())
			require.NoError(t, err)
			data, err := os.ReadFile(other)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, data, 0o600))
		}, "replaced; the next guard goes on with this other state, keeps a copy of the file and treats the hourly limit as used up"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			g := newGuard(t, tokenguard.WithStateFile(path))
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			older, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
			require.NoError(t, g.Close())
			report, err := inspect.File(t.Context(), path)
			require.NoError(t, err)
			require.Empty(t, report.Problem)
			tc.harm(t, path, older)
			report, err = inspect.File(t.Context(), path)
			require.NoError(t, err)
			require.Contains(t, report.Problem, tc.want)
			require.Contains(t, report.String(), "  PROBLEM: "+report.Problem)
		})
	}
}

// A gate that a failed acquisition closed says because of what, masked.
func TestAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 403, Message: "no permission for this scope, token 00112233445566778899aabbccddeeff"})
	}, tokenguard.WithStateFile(path))
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	_, err = g.Token(t.Context())
	require.Error(t, err)
	report, err := inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.Contains(t, report.String(), "\n    because of: no permission for this scope")
	require.NotContains(t, report.String(), "8899aabb")
}

func TestOneLossIsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	g := newGuard(t, tokenguard.WithStateFile(path))
	_, err := g.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, g.Close())
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	g = newGuard(t, tokenguard.WithStateFile(path))
	_ = g.Clear(t.Context(), tokenguard.Clear{Backoff: true})
	_, _ = g.Token(t.Context())
	report, err := inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.EqualValues(t, 1, report.Losses)
	require.Contains(t, report.String(), " bytes, 1 loss\n")
}

// A wait that one operation reported is in the state of every process: it is said for which operation, and until when.
func TestPauses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	g := newGuard(t, tokenguard.WithStateFile(path))
	token, err := g.Token(t.Context())
	require.NoError(t, err)
	for caller, header := range map[string]map[string][]string{"GET /chat": {"Retry-After": {"7200"}}, "": nil} {
		require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: caller,
			Failure: tokenguard.Failure{StatusCode: 429, Message: "slow down", Header: header}}))
	}
	explained, err := g.Explain(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	report, err := inspect.File(t.Context(), path)
	require.NoError(t, err)
	require.Len(t, report.Pauses, 2)
	require.Equal(t, []string{"get chat", ""}, []string{report.Pauses[0].Operation, report.Pauses[1].Operation})
	require.Equal(t, []bool{true, false}, []bool{report.Pauses[0].Stated, report.Pauses[1].Stated})
	require.Equal(t, 2*time.Hour, report.Pauses[0].Until.Sub(report.Pauses[0].Since))
	require.Len(t, explained.Pauses, 2)
	for i, p := range explained.Pauses { // each process reads the state's time off its own clocks
		require.WithinDuration(t, p.Until, report.Pauses[i].Until, time.Second)
		require.Equal(t, []any{p.Operation, p.Stated}, []any{report.Pauses[i].Operation, report.Pauses[i].Stated})
	}
	require.Contains(t, report.String(), `operation "get chat" pauses from `)
	other, err := g.Explain(t.Context(), tokenguard.Request{Scope: "other"})
	require.NoError(t, err)
	require.Empty(t, other.Pauses)
}
