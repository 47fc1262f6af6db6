package redisstore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeyLayout(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		client := newClient(t, addr)
		s := newStore(t, client, WithPrefix("app:"), WithTTL(72*time.Hour))
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
		require.InDelta(t, float64(72*time.Hour), float64(left), float64(time.Minute))
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
