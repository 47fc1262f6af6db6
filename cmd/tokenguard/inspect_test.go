package main

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/redisstore"
)

// command runs the program with arguments and returns what it prints.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := root()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestInspectRedis(t *testing.T) {
	server := miniredis.RunT(t)
	address := "redis://" + server.Addr() + "/0"
	said, err := command(t, "inspect", "--name", "my-api", "--redis", address)
	assert.Equal(t, exitFault, code(t, err))
	assert.Contains(t, said, "there is no state yet")

	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	store, err := redisstore.New(client)
	require.NoError(t, err)
	defer store.Close()
	guard, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("made-up-token", time.Hour), nil
	}, tokenguard.WithName("my-api"), tokenguard.WithStore(store))
	require.NoError(t, err)
	defer guard.Close()
	token, err := guard.Token(t.Context())
	require.NoError(t, err)

	before := server.Dump()
	said, err = command(t, "inspect", "--name", "my-api", "--redis", address)
	require.NoError(t, err)
	for _, want := range []string{"my-api\n", "1 started, 1 succeeded; limits 3/h, 20/day", "min_interval", token.ID(), "usable, stored: plain"} {
		assert.Contains(t, said, want)
	}
	assert.NotContains(t, said, "made-up")
	assert.Equal(t, before, server.Dump(), "looking changes nothing")

	server.Close()
	_, err = command(t, "inspect", "--name", "my-api", "--redis", address)
	assert.Equal(t, exitStore, code(t, err))
	_, err = command(t, "inspect", "--name", "my-api", "--redis", "redis://:made-up-password@[")
	assert.Equal(t, exitUsage, code(t, err))
	assert.NotContains(t, err.Error(), "made-up")
}
