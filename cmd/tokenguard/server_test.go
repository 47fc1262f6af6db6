package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/redisstore"
)

// onRedis is a guard of a service that keeps its state on a server, with limits of its own.
func onRedis(t *testing.T, server *miniredis.Miniredis, name string, fetch tokenguard.RequestFunc) *tokenguard.Guard {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(client)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	g, err := tokenguard.New(fetch, tokenguard.WithName(name), tokenguard.WithStore(store), tokenguard.WithFreshness(0),
		tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 7}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func works(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.NewTokenIn("made-up-token", time.Hour), nil
}

func fails(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	return tokenguard.Token{}, errors.New("503 unavailable")
}

func code(t *testing.T, err error) int {
	t.Helper()
	var exit *exitError
	require.True(t, errors.As(err, &exit), "%v", err)
	return exit.code
}

func TestListOnServer(t *testing.T) {
	server := miniredis.RunT(t)
	address := "redis://" + server.Addr() + "/0"
	said, err := command(t, "list", "--redis", address)
	require.NoError(t, err)
	assert.Equal(t, "there is no state\n", said)

	_, err = onRedis(t, server, "good", works).Token(t.Context())
	require.NoError(t, err)
	_, err = onRedis(t, server, "down", fails).Token(t.Context())
	require.Error(t, err)
	require.NoError(t, server.Set("another:key", "value"))
	before := server.Dump()
	said, err = command(t, "list", "--redis", address)
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^down +1 +0 +closed until 20.* by backoff$`, said)
	assert.Regexp(t, `(?m)^good +1 +1 +closed until 20.* by min_interval$`, said)
	assert.NotContains(t, said, "another")
	assert.Equal(t, before, server.Dump(), "looking changes nothing")
	said, err = command(t, "list", "--redis", address, "--prefix", "theirs[*]:")
	require.NoError(t, err)
	assert.Equal(t, "there is no state\n", said)
}

func TestClearAndReportOnServer(t *testing.T) {
	server := miniredis.RunT(t)
	address := "redis://" + server.Addr() + "/0"
	_, err := onRedis(t, server, "down", fails).Token(t.Context())
	require.Error(t, err)
	said, err := command(t, "clear", "--name", "down", "--redis", address, "--backoff")
	require.NoError(t, err)
	assert.Contains(t, said, "lifted: backoff")
	assert.Contains(t, said, "remains: min_interval")
	said, err = command(t, "inspect", "--name", "down", "--redis", address)
	require.NoError(t, err)
	assert.Contains(t, said, "limits 7/h", "the services' limits stay theirs")
	assert.NotContains(t, said, "closed until.*backoff")

	good := onRedis(t, server, "good", works)
	token, err := good.Token(t.Context())
	require.NoError(t, err)
	said, err = command(t, "report", "quota", "--name", "good", "--redis", address, "--token", token.ID())
	require.NoError(t, err)
	assert.Equal(t, "recorded: quota_exhausted; token "+token.ID()+" is suspect\n", said)
	_, err = command(t, "report", "quota", "--name", "good", "--redis", address, "--token", "tk_0000000000000000")
	assert.Equal(t, exitFault, code(t, err))
	for _, args := range [][]string{{"clear", "--all"}, {"report", "ok", "--token", token.ID()}, {"inspect"}} {
		_, err = command(t, append(args, "--name", "nobody", "--redis", address)...)
		assert.Equal(t, exitFault, code(t, err), args)
	}
	assert.False(t, server.Exists("tokenguard:{nobody}"))
}

// The server tells of a change: the watch does not wait for its next look, which is an hour away.
func TestWatchOnServer(t *testing.T) {
	server := miniredis.RunT(t)
	p := place{name: "good", server: "redis://" + server.Addr() + "/0"}
	require.NoError(t, p.open())
	defer p.close()
	good := onRedis(t, server, "good", works)
	var events []string
	err := watch(t.Context(), &p, time.Hour, func(c change) (bool, error) {
		events = append(events, c.Event)
		if c.Event == "watching" {
			go func() { _, _ = good.Token(t.Context()) }()
		}
		return c.Event != "closed", nil
	})
	require.NoError(t, err)
	assert.Contains(t, events, "started")
	assert.Contains(t, events, "usable")
}
