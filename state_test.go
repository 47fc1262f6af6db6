package tokenguard

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
)

// What a guard makes of its store's faults, of secrets at rest, and of the machine's clocks.

// counted wraps a store and counts what is written; broken makes it fail.
type counted struct {
	Store
	mu     sync.Mutex
	writes int
	broken error
	after  bool // the commit stands, the answer is lost
}

func (s *counted) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	s.mu.Lock()
	broken, after := s.broken, s.after
	s.mu.Unlock()
	if broken != nil && !after {
		return Snapshot{}, broken
	}
	snap, err := s.Store.Update(ctx, name, func(snap Snapshot) ([]byte, error) {
		data, err := fn(snap)
		if data != nil {
			s.mu.Lock()
			s.writes++
			s.mu.Unlock()
		}
		return data, err
	})
	if broken != nil && err == nil {
		return Snapshot{}, broken
	}
	return snap, err
}

func (s *counted) fault(err error, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.after = err, after
}

func newTestGuard(t *testing.T, request RequestFunc, opts ...Option) *Guard {
	g, err := New(request, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func giveToken(secret string) RequestFunc {
	return func(context.Context, Request) (Token, error) { return NewTokenIn(secret, time.Hour), nil }
}

func TestAdoptionWritesNothing(t *testing.T) {
	store := &counted{Store: NewMemoryStore()}
	a := newTestGuard(t, giveToken("a secret"), WithStore(store), WithName("n"))
	_, err := a.Acquire(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, 2, store.writes, "the charge and the end")
	b := newTestGuard(t, nil2, WithStore(store), WithName("n"))
	grant, err := b.Acquire(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, SourceShared, grant.Source)
	require.Equal(t, 2, store.writes)
}

func nil2(context.Context, Request) (Token, error) { return Token{}, errors.New("not to be asked") }

// The end of an acquisition finds a full disk, or its answer is lost: the token is served and stored later, once.
func TestTokenIsStoredLater(t *testing.T) {
	for _, after := range []bool{false, true} {
		store := &counted{Store: NewMemoryStore()}
		asked := 0
		g := newTestGuard(t, func(context.Context, Request) (Token, error) {
			asked++
			store.fault(syscall.ENOSPC, after)
			return NewTokenIn("a secret", time.Hour), nil
		}, WithStore(store), WithName("n"), WithFreshness(0))
		for range 3 {
			token, err := g.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, "a secret", token.Value())
		}
		store.fault(nil, false)
		require.NoError(t, g.replica.Flush(t.Context()))
		snap, err := store.View(t.Context(), "n")
		require.NoError(t, err)
		d, err := ledger.Decode(snap.Data)
		require.NoError(t, err)
		require.Len(t, d.Attempts, 1)
		require.True(t, d.Attempts[0].Landed)
		require.EqualValues(t, 1, d.Counts.Successes)
		require.Contains(t, d.Tokens, TokenID("a secret"))
		require.Equal(t, 1, asked)
	}
}

// The file goes away while the upstream is asked, and again later: what this process knows is carried over.
func TestLostFileIsCarriedOver(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	var said []string
	g := newTestGuard(t, func(context.Context, Request) (Token, error) {
		require.NoError(t, os.Remove(path))
		return NewTokenIn("a secret", time.Hour), nil
	}, WithStateFile(path), WithFreshness(0), WithObserver(func(e Event) {
		if e.Kind == EventState {
			said = append(said, e.Text)
		}
	}))
	_, err := g.Token(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, said)
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	_, err = g.Acquire(t.Context(), Request{Scope: "other"})
	require.ErrorIs(t, err, ErrRateLimited, "the limits are treated as used up")
	require.NoError(t, g.Report(t.Context(), Outcome{TokenID: TokenID("a secret")}), "the next commit notices the damage")

	other := newTestGuard(t, nil2, WithStateFile(path))
	grant, err := other.Acquire(t.Context(), Request{})
	require.NoError(t, err)
	require.Equal(t, "a secret", grant.Token.Value())
	_, err = other.Acquire(t.Context(), Request{Scope: "other"})
	require.ErrorIs(t, err, ErrRateLimited)
}

// A backup of the file, put back, counts as a loss for a new process, too.
func TestRestoredBackupIsALoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	asked := 0
	request := func(context.Context, Request) (Token, error) { asked++; return Token{}, errors.New("503") }
	limits := WithRateLimits(RateLimits{MinInterval: time.Nanosecond, FailureBackoffBase: time.Nanosecond, MaxBackoff: time.Nanosecond})
	run := func() {
		g, err := New(request, WithStateFile(path), limits)
		require.NoError(t, err)
		_, _ = g.Acquire(t.Context(), Request{})
		require.NoError(t, g.Close())
	}
	run()
	backup, err := os.ReadFile(path)
	require.NoError(t, err)
	run()
	run()
	require.Equal(t, 3, asked)
	require.NoError(t, os.WriteFile(path, backup, 0o600))
	run()
	require.Equal(t, 3, asked, "the hourly limit is treated as used up")
}

func TestReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	g := newTestGuard(t, giveToken("x"), WithStateFile(filepath.Join(dir, "state")))
	_, err := g.Token(t.Context())
	require.ErrorIs(t, err, ErrStore)
	require.ErrorContains(t, err, "permission")
	require.NoError(t, os.Chmod(dir, 0o700))
	_, err = g.Token(t.Context())
	require.NoError(t, err, "it recovers by itself")
}

func TestSecretsAtRest(t *testing.T) {
	const secret = "eyJ-a-very-secret-value"
	old, rotated := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	path := filepath.Join(t.TempDir(), "folder", "state")
	g := newTestGuard(t, giveToken(secret), WithStateFile(path), WithEncryption(old))
	_, err := g.Token(t.Context())
	require.NoError(t, err)
	requireNowhere(t, filepath.Dir(path), secret)

	var said []string
	hear := WithObserver(func(e Event) {
		if e.Kind == EventState {
			said = append(said, e.Text)
		}
	})
	for name, opts := range map[string][]Option{"a wrong key": {WithEncryption(rotated)}, "no key": nil} {
		said = nil
		wrong := newTestGuard(t, nil2, append(opts, WithStateFile(path), hear)...)
		for range 3 {
			_, err = wrong.Token(t.Context())
			require.ErrorIs(t, err, ErrRateLimited, name)
		}
		require.Len(t, said, 1, name)
		require.Contains(t, said[0], "WithEncryption")
	}
	both := newTestGuard(t, nil2, WithStateFile(path), WithEncryption(rotated, old))
	token, err := both.Token(t.Context())
	require.NoError(t, err, "nothing was lost")
	require.Equal(t, secret, token.Value())

	// A sealed value opens nowhere but in its place.
	st := g.replica.Newest()
	moved := *st.Doc.Tokens[TokenID(secret)]
	elsewhere, err := secrets.NewKeeper("another name", [][]byte{rotated, old}, 0, func(string) {})
	require.NoError(t, err)
	_, ok := elsewhere.Open(&moved)
	require.False(t, ok)
	moved.ID = TokenID("another")
	_, ok = g.flights.keeper.Open(&moved)
	require.False(t, ok)
}

func TestTokensNeverOnDisk(t *testing.T) {
	const secret = "eyJ-a-very-secret-value"
	path := filepath.Join(t.TempDir(), "folder", "state")
	g := newTestGuard(t, giveToken(secret), WithStateFile(path), WithoutTokenPersistence())
	_, err := g.Token(t.Context())
	require.NoError(t, err)
	requireNowhere(t, filepath.Dir(path), secret)
	_, err = newTestGuard(t, nil2, WithStateFile(path), WithoutTokenPersistence()).Token(t.Context())
	require.ErrorIs(t, err, ErrRateLimited, "the limits are shared")
}

// requireNowhere looks at every byte, and at the modes.
func requireNowhere(t *testing.T, dir, secret string) {
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		require.NotContains(t, string(b), secret)
	}
}

// A user's clock that was wrong blocks for at most 25 h more, and that is said once.
func TestStepBackIsBounded(t *testing.T) {
	clock := &modelClock{now: time.Unix(1.8e9, 0)}
	said := 0
	g := newTestGuard(t, func(context.Context, Request) (Token, error) { return Token{}, errors.New("503") },
		WithClock(clock), WithObserver(func(e Event) {
			if e.Kind == EventState {
				said++
			}
		}))
	_, err := g.Acquire(t.Context(), Request{})
	require.Error(t, err)
	for _, back := range []time.Duration{time.Second, 20 * time.Hour, 400 * 24 * time.Hour} {
		clock.add(-back)
		for range 5 {
			var refused *RefusedError
			_, err = g.Acquire(t.Context(), Request{})
			require.ErrorAs(t, err, &refused, "back %v", back)
			wait, ok := refused.RetryAfter(clock.Now())
			require.True(t, ok)
			require.LessOrEqual(t, wait, 25*time.Hour+10*time.Minute)
		}
	}
	require.Equal(t, 1, said)
}
