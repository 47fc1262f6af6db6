package redisstore

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

func TestKeyLayout(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		client := newClient(t, addr)
		s := newStore(t, client, WithPrefix("app:"), WithTTL(33*24*time.Hour))
		data := string([]byte{0, 255, '\r', '\n'}) + "}{"
		snap, err := s.Update(ctx, "up/account", write(data))
		require.NoError(t, err)
		keys, err := client.Keys(ctx, "*").Result()
		require.NoError(t, err)
		require.Equal(t, []string{"app:{up/account}"}, keys)
		fields, err := client.HGetAll(ctx, keys[0]).Result()
		require.NoError(t, err)
		require.Equal(t, data, fields["data"])
		require.Equal(t, fmt.Sprint(snap.Rev), fields["rev"], "all 16 digits")
		require.Equal(t, snap.Epoch, fields["epoch"])
		left, err := client.PTTL(ctx, keys[0]).Result()
		require.NoError(t, err)
		require.InDelta(t, float64(33*24*time.Hour), float64(left), float64(time.Minute))
	})
}

// The log of commits is as long as somebody may send one again, within bounds.
func TestLogIsBounded(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		client := newClient(t, addr)
		length := func(timeout time.Duration, commits int) int {
			s := newStore(t, client, WithTimeout(timeout))
			for range commits {
				update(t, s, increment)
			}
			log, err := client.HGet(t.Context(), s.key("n"), "log").Result()
			require.NoError(t, err)
			return strings.Count(log, ";")
		}
		require.Equal(t, 500, length(time.Minute, 510))
		require.NoError(t, pause(t.Context(), 300*time.Millisecond))
		require.Equal(t, 32, length(300*time.Millisecond, 1))
	})
}

func TestKeyOfSomebodyElse(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		client := newClient(t, addr)
		s := newStore(t, client)
		require.NoError(t, client.Set(ctx, s.key("text"), "x", 0).Err())
		_, err := s.View(ctx, "text")
		require.ErrorContains(t, err, "WRONGTYPE")
		require.NoError(t, client.HSet(ctx, s.key("hash"), "rev", "first").Err())
		_, err = s.Update(ctx, "hash", increment)
		require.ErrorContains(t, err, "the key holds something else")
	})
}

// A document whose life is over is forgotten by Redis; a process that still knows it goes on from there, and takes it
// for no loss.
func TestEndOfLife(t *testing.T) {
	server := miniredis.RunT(t)
	now := time.Now()
	server.SetTime(now)
	old := newStore(t, newClient(t, server.Addr()))
	before := update(t, old, increment)
	server.SetTime(now.Add(41 * 24 * time.Hour))
	server.FastForward(41 * 24 * time.Hour)
	require.Zero(t, view(t, newStore(t, newClient(t, server.Addr()))).Rev)
	after := view(t, old)
	require.Equal(t, before.Rev, after.Rev)
	require.Equal(t, before.Epoch, after.Epoch)
	next := update(t, old, increment)
	require.Equal(t, "2", string(next.Data))
	require.Equal(t, before.Epoch, next.Epoch)
}

// Nothing is committed while a Retry-After closes the guard: the longest outlives a fleet that stands still, and is there
// for a process that comes last.
func TestLongestRetryAfterOutlivesTheFleet(t *testing.T) {
	const day = 24 * time.Hour
	server := miniredis.RunT(t)
	now := time.Now()
	server.SetTime(now)
	starts := 0
	opened := func() *tokenguard.Guard {
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			starts++
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 429, Header: http.Header{"Retry-After": {strconv.Itoa(31 * 86400)}}})
		}, tokenguard.WithStore(newStore(t, newClient(t, server.Addr()))), tokenguard.WithName("n"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = g.Close() })
		return g
	}
	_, err := opened().Token(t.Context())
	require.Error(t, err)
	server.SetTime(now.Add(31*day - time.Hour))
	server.FastForward(31*day - time.Hour)
	_, err = opened().Token(t.Context())
	require.ErrorIs(t, err, tokenguard.ErrBackoff)
	require.Equal(t, 1, starts)
}

// Revisions grow also where the server's clock steps back.
func TestServerClockStepsBack(t *testing.T) {
	server := miniredis.RunT(t)
	now := time.Now()
	a, b := newStore(t, newClient(t, server.Addr())), newStore(t, newClient(t, server.Addr()))
	server.SetTime(now)
	first := update(t, a, increment)
	server.SetTime(now.Add(-24 * time.Hour))
	for _, s := range []*Store{b, a, b} {
		next := update(t, s, increment)
		require.Greater(t, next.Rev, first.Rev)
		require.Equal(t, first.Epoch, next.Epoch)
		require.WithinDuration(t, now.Add(-24*time.Hour), next.Now, time.Minute)
		first = next
	}
}
