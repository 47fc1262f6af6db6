package redisstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// long are the tests that take more than a few seconds; TOKENGUARD_LONG=1 runs them.
func long(t testing.TB) {
	t.Helper()
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("long: set TOKENGUARD_LONG=1 to run it")
	}
}

// server is a redis-server process of the test's own.
type server struct {
	t    testing.TB
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// serverVariable names another server than the redis-server on the path: another version, or Valkey.
const serverVariable = "TOKENGUARD_REDIS_SERVER"

// serverPath is the server that the tests run.
func serverPath(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(os.Getenv(serverVariable), "redis-server"))
	if err != nil {
		if os.Getenv("TOKENGUARD_LONG") != "" || os.Getenv(serverVariable) != "" {
			t.Fatalf("%v: apt-get install -y redis-server", err)
		}
		t.Skip("NOT TESTED: redis-server is not installed: apt-get install -y redis-server")
	}
	return path
}

// since reports whether the server is of this version or a later one. Valkey's first was 7.2.
func since(t testing.TB, major, minor int) bool {
	t.Helper()
	out, err := exec.Command(serverPath(t), "--version").Output()
	require.NoError(t, err)
	_, version, _ := strings.Cut(string(out), " v=")
	var own [2]int
	_, err = fmt.Sscanf(version, "%d.%d", &own[0], &own[1])
	require.NoError(t, err, "%s", out)
	return slices.Compare(own[:], []int{major, minor}) >= 0
}

// needsACL skips a test where the server knows no users.
func needsACL(t testing.TB) {
	t.Helper()
	if !since(t, 6, 0) {
		t.Skip("NOT TESTED: users came with Redis 6.0")
	}
}

// clusterNode starts a node of a cluster.
func clusterNode(t testing.TB, args ...string) *server {
	t.Helper()
	args = append(args, "--cluster-enabled", "yes")
	if since(t, 7, 0) { // before, the bus is 10,000 above the port
		args = append(args, "--cluster-port", strconv.Itoa(freePort(t)))
	}
	return startServer(t, args...)
}

// startServer runs a server on a free loopback port, in memory only unless args say otherwise.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), port: freePort(t)}
	s.args = []string{serverPath(t)}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		s.args, args = append(s.args, args[0]), args[1:] // a configuration file comes first
	}
	s.args = append(append(s.args,
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir, "--save", "", "--daemonize", "no",
		"--repl-diskless-sync-delay", "0",
	), args...)
	t.Cleanup(s.kill)
	s.start()
	return s
}

var ports atomic.Int64

// freePort is one of a hundred of this process' own, below those that systems hand out for port 0 and for connections:
// between this look and the server's own, another process of a busy machine might take it.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + os.Getpid()%200*100 + int(ports.Add(1)%100)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	dieWithTest(s.cmd)
	require.NoError(s.t, s.cmd.Start())
	eventually(s.t, "redis-server answers", func() bool {
		c, err := net.DialTimeout("tcp", s.addr(), time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte("PING\r\n"))
		answer := make([]byte, 5)
		_, err = c.Read(answer)
		return err == nil && (string(answer) == "+PONG" || string(answer) == "-NOAU")
	})
}

// kill ends the process as a crash does.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) signal(sig os.Signal) { require.NoError(s.t, s.cmd.Process.Signal(sig)) }

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *server) client() *redis.Client { return newClient(s.t, s.addr()) }

// do runs one command as an operator would.
func (s *server) do(args ...any) any {
	s.t.Helper()
	v, err := s.client().Do(s.t.Context(), args...).Result()
	require.NoError(s.t, err, "%v", args)
	return v
}

func newClient(t testing.TB, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newStore(t testing.TB, client redis.UniversalClient, opts ...Option) *Store {
	t.Helper()
	s, err := New(client, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// engines runs test over an engine in the process and over a real server.
func engines(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("miniredis", func(t *testing.T) { test(t, miniredis.RunT(t).Addr()) })
	t.Run("redis-server", func(t *testing.T) { test(t, startServer(t).addr()) })
}

// eventually looks until the condition holds, and fails after 30 s. Other processes give no better sign.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for !holds() {
		if pause(ctx, 10*time.Millisecond) != nil {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
