package tokenguard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errRow = errors.New("failing row contains " + secret)

// echoingStore repeats in its errors what it was given, as databases do.
type echoingStore struct {
	Store
	fails *atomic.Bool
}

func (s echoingStore) View(ctx context.Context, name string) (Snapshot, error) {
	if s.fails.Load() {
		return Snapshot{}, errRow
	}
	return s.Store.View(ctx, name)
}

func (s echoingStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	if s.fails.Load() {
		return Snapshot{}, errRow
	}
	return s.Store.Update(ctx, name, fn)
}

// The error of a store is the store's, and its text nobody's who prints it.
func TestAStoresErrorsKeepTheSecret(t *testing.T) {
	for name, opts := range map[string][]Option{"alone": nil, "its share": {WithFailOpenToLocalShare(2)}} {
		t.Run(name, func(t *testing.T) {
			var logs bytes.Buffer
			away := &atomic.Bool{}
			opts = append(opts, WithStore(echoingStore{NewMemoryStore(), away}), WithName("n"), WithLogger(slog.New(slog.NewJSONHandler(&logs, nil))),
				WithRequestTimeout(time.Second))
			bubble(t, func(t *testing.T, r *rig) {
				clean := func(what string, err error) {
					t.Helper()
					assert.NotContains(t, fmt.Sprintf("%v %+v %q", err, err, err), secret, what)
					if err != nil {
						assert.ErrorIs(t, err, errRow, what)
						assert.Contains(t, err.Error(), TokenID(secret), what)
					}
				}
				r.up.replies = append(r.up.replies, gives(secret, time.Hour), func(context.Context, Request) (Token, error) {
					away.Store(true) // the end of this acquisition finds no store
					return Token{}, Failed(broken)
				})
				token := r.must(Request{}).Token
				require.NoError(t, r.Adopt(t.Context(), NewTokenIn("an account", time.Hour).WithScope("d").WithRefreshToken("its refresh token", time.Time{})))
				time.Sleep(10 * time.Minute)
				_, err := r.Acquire(t.Context(), Request{Scope: "b"})
				var failed *RequestError
				require.ErrorAs(t, err, &failed)
				time.Sleep(2 * time.Second)
				if !r.opt.sharing {
					refused := r.no(ReasonStoreUnavailable, Request{Scope: "c"})
					clean("Acquire", refused)
					assert.NotContains(t, fmt.Sprintf("%+v", refused.Verdict), secret)
					e, err := r.Explain(t.Context(), Request{Scope: "c"})
					clean("Explain", err)
					assert.NotContains(t, fmt.Sprintf("%+v", e), secret)
				}
				clean("Report", r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: unauth}))
				clean("Adopt", r.Adopt(t.Context(), NewTokenIn("adopted", time.Hour)))
				clean("Adopt a successor", r.Adopt(t.Context(), NewTokenIn("next", time.Hour).WithPredecessor(TokenID("an account"))))
				clean("Clear", r.Clear(t.Context(), Clear{Backoff: true}))
				time.Sleep(2 * time.Second)
				_, err = r.Attempts(t.Context())
				clean("Attempts", err)
				assert.NotContains(t, fmt.Sprintf("%+v", r.Stats()), secret)
				assert.NotEmpty(t, r.Stats().Store.Error)
				for e := range r.History() {
					assert.NotContains(t, fmt.Sprintf("%+v", e), secret, e.Kind)
				}
				clean("Close", r.Close())
			}, opts...)
			assert.NotContains(t, logs.String(), secret)
			assert.Contains(t, logs.String(), TokenID(secret))
		})
	}
}

// What another process has stored, and this one has never read, is masked by its looks, as in any foreign text.
func TestAStoresErrorsKeepWhatOthersStored(t *testing.T) {
	for name, tt := range map[string]struct{ says, want string }{
		"a secret":    {"failing row contains Bearer " + strings.Repeat("Ab1x", 10), "failing row contains Bearer [secret]"},
		"a file":      {"open /var/lib/app/tokenguard/my-api: no space left on device", "open /var/lib/app/tokenguard/my-api: no space left on device"},
		"long enough": {strings.Repeat("no room for it ", 100), strings.Repeat("no room for it ", 100)},
	} {
		failing := errors.New(tt.says)
		g, err := New(func(context.Context, Request) (Token, error) { return Token{}, nil }, WithStore(failingStore{failing}), WithName("n"))
		require.NoError(t, err)
		_, attempts := g.Attempts(t.Context())
		for what, err := range map[string]error{
			"Report": g.Report(t.Context(), Outcome{TokenID: "made up", Failure: unauth}), "Adopt": g.Adopt(t.Context(), NewTokenIn("made up", time.Hour)),
			"Clear": g.Clear(t.Context(), Clear{Backoff: true}), "Attempts": attempts,
		} {
			assert.EqualError(t, err, ErrStore.Error()+": "+tt.want, "%s: %s", name, what)
			assert.ErrorIs(t, err, failing)
			assert.ErrorIs(t, err, ErrStore)
		}
		require.NoError(t, g.Close())
	}
}

// failingStore fails with its error.
type failingStore struct{ err error }

func (failingStore) Close() error { return nil }

func (s failingStore) View(context.Context, string) (Snapshot, error) { return Snapshot{}, s.err }

func (s failingStore) Update(context.Context, string, func(Snapshot) ([]byte, error)) (Snapshot, error) {
	return Snapshot{}, s.err
}
