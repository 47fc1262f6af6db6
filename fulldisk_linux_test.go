package tokenguard

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A disk that is really full, when the acquisition ends and when the next would start.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		f, err := os.Create(ballast)
		require.NoError(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, f.Close())
	}
	path := filepath.Join(dir, "state")
	asked := 0
	g := newTestGuard(t, func(context.Context, Request) (Token, error) {
		asked++
		fill()
		return NewTokenIn("a secret", time.Hour), nil
	}, WithStateFile(path), WithFreshness(0), WithRateLimits(RateLimits{MinInterval: time.Nanosecond}))
	for range 3 {
		token, err := g.Token(t.Context())
		require.NoError(t, err, "the token is served from memory")
		require.Equal(t, "a secret", token.Value())
	}
	_, err := g.Acquire(t.Context(), Request{Scope: "other"})
	require.ErrorIs(t, err, ErrStore)
	require.ErrorContains(t, err, "free some space")
	require.Equal(t, 1, asked)

	require.NoError(t, os.Remove(ballast))
	require.NoError(t, g.Close(), "Close stores what waits")
	other := newTestGuard(t, nil2, WithStateFile(path))
	token, err := other.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a secret", token.Value())
	attempts, err := other.Attempts(t.Context())
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	require.Equal(t, AttemptSucceeded, attempts[0].State)
}
