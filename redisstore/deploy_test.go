package redisstore

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
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

// The compose file is what Compose takes, as far as a parser can tell, and its parts fit together.
func TestComposeFile(t *testing.T) {
	text, err := os.ReadFile("../deploy/redis/docker-compose.yml")
	require.NoError(t, err)
	type service struct {
		Image, Restart string
		Command        []string
		ReadOnly       bool     `yaml:"read_only"`
		CapDrop        []string `yaml:"cap_drop"`
		CapAdd         []string `yaml:"cap_add"`
		Ports, Volumes []string
		Healthcheck    struct {
			Test              []string
			Interval, Timeout time.Duration
			Retries           int
		}
	}
	var file struct {
		Services map[string]service
		Volumes  map[string]any
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&file))
	s := file.Services["redis"]
	require.Equal(t, "redis-server", s.Command[0])
	mounted := map[string]string{}
	for _, volume := range s.Volumes {
		part := strings.Split(volume, ":")
		mounted[part[1]] = part[0]
		if local, ok := strings.CutPrefix(part[0], "./"); ok {
			require.FileExists(t, filepath.Join("../deploy/redis", local))
			require.Equal(t, "ro", part[2])
		} else {
			require.Contains(t, file.Volumes, part[0])
		}
	}
	conf, err := os.ReadFile("../deploy/redis/redis.conf")
	require.NoError(t, err)
	require.Equal(t, "./redis.conf", mounted[s.Command[1]])
	_, acl, _ := strings.Cut(string(conf), "\naclfile ")
	acl, _, _ = strings.Cut(acl, "\n")
	require.Equal(t, "./users.acl", mounted[acl])
	require.Contains(t, mounted, s.Command[len(s.Command)-1], "the folder of the data outlives the container")
	for _, port := range s.Ports {
		require.True(t, strings.HasPrefix(port, "127.0.0.1:"), "%s", port)
	}
	users, err := os.ReadFile("../deploy/redis/users.acl")
	require.NoError(t, err)
	name := s.Healthcheck.Test[slices.Index(s.Healthcheck.Test, "--user")+1]
	require.Contains(t, string(users), "\nuser "+name+" on ")
	require.Less(t, s.Healthcheck.Timeout, s.Healthcheck.Interval)
}

// The units are what systemd takes.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("NOT TESTED: systemd-analyze is not installed")
	}
	units, err := filepath.Glob("../deploy/systemd/*.service")
	require.NoError(t, err)
	require.Len(t, units, 2)
	args := []string{"verify", "--man=no"}
	dir := t.TempDir()
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		require.NoError(t, err)
		command := regexp.MustCompile(`ExecStart=/usr\S*`)
		require.Regexp(t, command, string(text))
		copied := filepath.Join(dir, filepath.Base(unit))
		text = command.ReplaceAll(text, []byte("ExecStart=/bin/true")) // the programs need not be here
		require.NoError(t, os.WriteFile(copied, text, 0o600))
		args = append(args, copied)
	}
	out, err := exec.Command(analyze, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}
