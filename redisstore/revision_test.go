package redisstore

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// A revision that no commit leads to: every method says so at once and none of them writes, in a Store that knows the
// document and in a new one. The key goes on once it is removed.
func TestImpossibleRevision(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		for _, rev := range []string{
			"18446744073709551615", "18446744073709551614", "18446744073709551616", "9223372036854775808", "9223372036854775807",
			"9007199254740992", "9007199254740993", "007", "+7", "1e15", "-1", " 7", "",
		} {
			t.Run(strconv.Quote(rev), func(t *testing.T) {
				ctx, client := t.Context(), newClient(t, addr)
				require.NoError(t, client.FlushAll(ctx).Err())
				veteran := newStore(t, client)
				before := update(t, veteran, increment)
				require.NoError(t, client.HSet(ctx, veteran.key("n"), "rev", rev).Err())
				for _, s := range []*Store{veteran, newStore(t, client)} {
					calls := 0
					_, err := s.Update(ctx, "n", func(snap tokenguard.Snapshot) ([]byte, error) {
						calls++
						return increment(snap)
					})
					require.ErrorContains(t, err, "the key holds something else")
					require.LessOrEqual(t, calls, 1)
					_, err = s.View(ctx, "n")
					require.ErrorContains(t, err, "the key holds something else")
					_, err = s.Revision(ctx, "n")
					require.ErrorContains(t, err, "the key holds something else")
				}
				require.Equal(t, rev, client.HGet(ctx, veteran.key("n"), "rev").Val(), "nothing was written")

				require.NoError(t, client.Del(ctx, veteran.key("n")).Err())
				after := update(t, veteran, increment)
				require.Greater(t, after.Rev, before.Rev)
				require.NotEqual(t, before.Epoch, after.Epoch, "a loss")
			})
		}
	})
}

// The highest revision there is can be read. No commit can follow it, and none is sent.
func TestHighestRevision(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx, client := t.Context(), newClient(t, addr)
		s := newStore(t, client)
		require.NoError(t, client.HSet(ctx, s.key("n"), "rev", maxRev-1, "epoch", "e", "data", "1").Err())
		require.Equal(t, uint64(maxRev-1), view(t, s).Rev)
		require.Equal(t, uint64(maxRev), update(t, s, increment).Rev)
		for range 3 {
			_, err := s.Update(ctx, "n", increment)
			require.ErrorIs(t, err, errExhausted)
			require.ErrorContains(t, err, s.key("n"), "the words name the key to remove")
		}
		got := view(t, newStore(t, client))
		require.Equal(t, uint64(maxRev), got.Rev)
		require.Equal(t, "2", string(got.Data))

		// What a Store makes of a loss beyond it does not overflow either.
		require.NoError(t, client.HSet(ctx, s.key("n"), "rev", 5, "data", "1").Err())
		lost := view(t, s)
		require.Greater(t, lost.Rev, uint64(maxRev))
		_, err := s.Update(ctx, "n", increment)
		require.ErrorIs(t, err, errExhausted)
	})
}

// A guard whose call has no deadline gets an error, where it once asked again and again.
func TestGuardOnAnImpossibleRevision(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		ctx, client := t.Context(), newClient(t, addr)
		s := newStore(t, client)
		asked := 0
		guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			asked++
			return tokenguard.Token{}, errors.New("503 service unavailable")
		}, tokenguard.WithStore(s), tokenguard.WithName("n"), tokenguard.WithFreshness(time.Nanosecond))
		require.NoError(t, err)
		t.Cleanup(func() { guard.Close() })
		_, err = guard.Acquire(ctx, tokenguard.Request{})
		require.Error(t, err)
		require.Equal(t, 1, asked)
		require.NoError(t, client.HSet(ctx, s.key("n"), "rev", "18446744073709551615").Err())
		for range 3 {
			_, err = guard.Acquire(ctx, tokenguard.Request{})
			require.ErrorIs(t, err, tokenguard.ErrStore)
			require.ErrorContains(t, err, "the key holds something else")
		}
		require.Equal(t, 1, asked)
	})
}

// An engine that refuses each commit as one that lost a race is asked a bounded number of times, however long the
// caller would wait.
func TestUpdateIsBounded(t *testing.T) {
	engines(t, func(t *testing.T, addr string) {
		client := newClient(t, addr)
		s := newStore(t, client, WithTimeout(time.Minute))
		update(t, s, increment)
		rival := newStore(t, newClient(t, addr), WithTimeout(time.Minute))
		calls := 0
		s.pause = func(context.Context, time.Duration) error { return nil }
		_, err := s.Update(t.Context(), "n", func(snap tokenguard.Snapshot) ([]byte, error) {
			calls++
			update(t, rival, increment) // somebody else is always first
			return increment(snap)
		})
		require.ErrorIs(t, err, errContended)
		require.Equal(t, maxTries, calls)
		require.Equal(t, strconv.Itoa(maxTries+1), string(view(t, s).Data))
		s.pause = pause
		require.Equal(t, strconv.Itoa(maxTries+2), string(update(t, s, increment).Data))
	})
}

// A cluster whose nodes point at each other is asked a bounded number of times.
func TestChaseIsBounded(t *testing.T) {
	for _, err := range []string{"MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "TRYAGAIN multiple keys"} {
		s, asked := &Store{pause: func(context.Context, time.Duration) error { return nil }}, 0
		_, got := s.chase(t.Context(), func() (reply, error) {
			asked++
			return reply{}, redisError(err)
		})
		require.ErrorContains(t, got, err)
		require.Equal(t, maxChase, asked)
	}
}

// redisError is an answer of the engine.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

var _ redis.Error = redisError("")
