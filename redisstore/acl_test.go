package redisstore

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// The commands that docs/redis.md lists are enough, and none of them can be spared.
func TestLeastCommands(t *testing.T) {
	needsACL(t)
	least := []string{
		"+eval", "+evalsha", "+time", "+hmget", "+hget", "+hset", "+pexpire", "+publish", "+subscribe",
		// Sent when a subscription ends or is idle. Without them it is cut instead, and made anew.
		"+unsubscribe", "+ping",
	}
	spare := []string{"+unsubscribe", "+ping"}
	t.Run("single", func(t *testing.T) {
		server := startServer(t)
		leastCommands(t, server, least, spare, func() redis.UniversalClient {
			return redis.NewClient(&redis.Options{
				Addr: server.addr(), Username: "guard", Password: "secret", ContextTimeoutEnabled: true,
			})
		})
	})
	t.Run("cluster", func(t *testing.T) {
		long(t)
		server := clusterNode(t)
		slots := []any{"CLUSTER", "ADDSLOTS"}
		for slot := range 16384 {
			slots = append(slots, slot)
		}
		server.do(slots...)
		eventually(t, "the cluster is up", func() bool {
			return server.client().HGet(t.Context(), "any", "field").Err() == redis.Nil
		})
		leastCommands(t, server, append(least, "+cluster|slots"), spare, func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: []string{server.addr()}, Username: "guard", Password: "secret", ContextTimeoutEnabled: true,
			})
		})
	})
}

func leastCommands(t *testing.T, server *server, least, spare []string, newClient func() redis.UniversalClient) {
	t.Helper()
	channels := "&tokenguard:*"
	if !since(t, 6, 2) {
		channels = "~tokenguard:*" // channels had no rules yet
	}
	try := func(rules []string) error {
		args := []any{"ACL", "SETUSER", "guard", "reset", "on", ">secret", "~tokenguard:*", channels}
		for _, rule := range rules {
			args = append(args, rule)
		}
		server.do(args...)
		server.do("FLUSHALL")
		server.do("SCRIPT", "FLUSH")
		client := newClient()
		defer client.Close()
		s, other := newStore(t, client), newStore(t, client)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hints := s.Watch(ctx, "n")
		if _, ok := <-hints; !ok {
			return errors.New("not subscribed")
		}
		for _, s := range []*Store{s, other, s} {
			if _, err := s.Update(ctx, "n", increment); err != nil {
				return err
			}
		}
		if _, err := s.View(ctx, "n"); err != nil {
			return err
		}
		if _, ok := <-hints; !ok {
			return errors.New("nothing published")
		}
		return nil
	}
	require.NoError(t, try(least))
	for _, rule := range least {
		if !slices.Contains(spare, rule) {
			require.Error(t, try(slices.DeleteFunc(slices.Clone(least), func(r string) bool { return r == rule })), "without %s", rule)
		}
	}

	// WithWaitReplicas takes one more.
	client := newClient()
	defer client.Close()
	wait := func(rules ...any) error {
		server.do(append([]any{"ACL", "SETUSER", "guard"}, rules...)...)
		s := newStore(t, client, WithWaitReplicas(1, time.Millisecond))
		_, err := s.Update(t.Context(), "n", increment)
		require.ErrorIs(t, err, ErrNotReplicated, "there is no replica")
		return err
	}
	require.True(t, redis.IsPermissionError(wait("reset", "on", ">secret", "+@all", "-wait", "~tokenguard:*", channels)))
	require.False(t, redis.IsPermissionError(wait("+wait")))
}
