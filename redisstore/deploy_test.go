package redisstore

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// The configuration in deploy/redis is one that a server takes and a Store can use, and that fails while it holds a
// placeholder for the password.
func TestDeployedConfiguration(t *testing.T) {
	needsACL(t)
	conf, err := os.ReadFile("../deploy/redis/redis.conf")
	require.NoError(t, err)
	users, err := os.ReadFile("../deploy/redis/users.acl")
	require.NoError(t, err)
	require.Contains(t, string(users), "#PASSWORD_SHA256")
	acl := filepath.Join(t.TempDir(), "users.acl")
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte("secret")))
	known := strings.ReplaceAll(string(users), "PASSWORD_SHA256", hash)
	if !since(t, 6, 2) {
		known = strings.ReplaceAll(known, " &tokenguard:*", "") // as docs/redis.md says
	}
	require.NoError(t, os.WriteFile(acl, []byte(known), 0o600))

	var args []string
	for line := range strings.Lines(string(conf)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if words[0] == "aclfile" {
			words[1] = acl
		}
		args = append(args, "--"+words[0])
		args = append(args, words[1:]...)
	}
	server := startServer(t, args...)
	client := redis.NewClient(&redis.Options{
		Addr: server.addr(), Username: "tokenguard", Password: "secret", ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	s := newStore(t, client)
	<-s.Watch(t.Context(), "n")
	update(t, s, increment)
	server.kill()
	server.start()
	recovered(t, s)
	require.Equal(t, "1", string(view(t, s).Data), "each commit is on disk")

	require.True(t, redis.IsPermissionError(client.FlushAll(t.Context()).Err()))
	require.True(t, redis.IsPermissionError(client.Get(t.Context(), "elsewhere").Err()))
	health := redis.NewClient(&redis.Options{Addr: server.addr(), Username: "health", Password: "any"})
	t.Cleanup(func() { _ = health.Close() })
	require.NoError(t, health.Ping(t.Context()).Err())
	require.Error(t, newClient(t, server.addr()).Ping(t.Context()).Err(), "nobody without a name")
}
