//go:build unix

package tokenguard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
)

// Real processes on one state file, killed and stopped at random instants. Each writes a line to a log before it asks
// the upstream, so the log is what the upstream sees.

const killEnv = "TOKENGUARD_KILL_DIR"

// The limits, scaled down so that a test meets them.
var killLimits = tokenguard.RateLimits{MaxRequestsPerHour: 12, MaxRequestsPerDay: 20, MinInterval: time.Second, FailureBackoffBase: time.Second, MaxBackoff: time.Second}

// TestKillHelper is the process that gets killed; alone it does nothing.
func TestKillHelper(t *testing.T) {
	dir := os.Getenv(killEnv)
	if dir == "" {
		t.Skip("run by the tests below")
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	life := time.Hour
	if os.Getenv("TOKENGUARD_KILL_ONCE") == "" {
		life = 11 * time.Millisecond
	}
	n := 0
	guard, err := tokenguard.New(func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		if err := ctx.Err(); err != nil {
			return tokenguard.Token{}, err
		}
		_, err := fmt.Fprintf(log, "%d %d\n", bootNanos(), os.Getpid())
		if n++; err != nil || n%5 == 4 {
			return tokenguard.Token{}, errors.Join(errors.New("503 service unavailable"), err)
		}
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		return tokenguard.NewTokenIn(fmt.Sprint("secret ", rand.Uint64()), life), nil
	}, tokenguard.WithStateFile(filepath.Join(dir, "state")), tokenguard.WithRateLimits(killLimits),
		tokenguard.WithRequestTimeout(time.Second), tokenguard.WithFreshness(0))
	require.NoError(t, err)
	if os.Getenv("TOKENGUARD_KILL_ONCE") != "" {
		grant, err := guard.Acquire(context.Background(), tokenguard.Request{})
		require.NoError(t, err)
		fmt.Printf("got %s %s\n", grant.Source, grant.Token.ID())
		require.NoError(t, guard.Close())
		return
	}
	for {
		_, _ = guard.Acquire(context.Background(), tokenguard.Request{})
		time.Sleep(time.Millisecond)
	}
}

// bootNanos is a clock that all processes share and that no step moves.
func bootNanos() int64 {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Now().UnixNano()
	}
	seconds, _ := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	return int64(seconds * 1e9)
}

func startHelper(t *testing.T, dir string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillHelper$")
	cmd.Env = append(append(os.Environ(), killEnv+"="+dir), env...)
	require.NoError(t, cmd.Start())
	return cmd
}

// checkLog is I1 over the log: the distances, and the number in an hour. /proc/uptime counts in hundredths of a second.
func checkLog(t *testing.T, dir string) (asked int) {
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	var at []time.Duration
	for line := range strings.Lines(string(b)) {
		n, err := strconv.ParseInt(strings.Fields(line)[0], 10, 64)
		require.NoError(t, err)
		at = append(at, time.Duration(n))
	}
	for i := 1; i < len(at); i++ {
		require.GreaterOrEqual(t, at[i]-at[i-1], killLimits.MinInterval-10*time.Millisecond, "entry %d", i)
	}
	require.LessOrEqual(t, len(at), killLimits.MaxRequestsPerHour, "starts in an hour")
	return len(at)
}

func TestKilledProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	kills := int(amount(6, 340))
	dir := t.TempDir()
	procs := make([]*exec.Cmd, 4)
	for i := range procs {
		procs[i] = startHelper(t, dir)
	}
	for n := range kills {
		i := rand.IntN(len(procs))
		pause(t, time.Duration(rand.IntN(150))*time.Millisecond)
		if n%10 == 4 { // stopped for longer than its lease might be, or while it holds the lock
			require.NoError(t, procs[i].Process.Signal(syscall.SIGSTOP))
			pause(t, 300*time.Millisecond)
			require.NoError(t, procs[i].Process.Signal(syscall.SIGCONT))
			continue
		}
		require.NoError(t, procs[i].Process.Kill())
		_ = procs[i].Wait()
		procs[i] = startHelper(t, dir)
	}
	for _, p := range procs {
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
	}
	t.Logf("%d kills, %d acquisitions", kills-(kills+5)/10, checkLog(t, dir))

	report, err := inspect.File(t.Context(), filepath.Join(dir, "state"))
	require.NoError(t, err)
	require.Empty(t, report.Problem)
	require.Empty(t, report.SetAside, "a kill never damages the file")
}

// pause waits on the processes, not on a result.
func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// A process that is stopped in its acquisition for longer than the lease is superseded, and comes back to no harm.
func TestStoppedProcess(t *testing.T) {
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("waits for a lease: set TOKENGUARD_LONG")
	}
	dir := t.TempDir()
	stopped := startHelper(t, dir)
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "log")); return err == nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, stopped.Process.Signal(syscall.SIGSTOP))
	other := startHelper(t, dir)
	pause(t, 7*time.Second) // its lease is 6 s
	require.NoError(t, stopped.Process.Signal(syscall.SIGCONT))
	pause(t, 500*time.Millisecond)
	for _, p := range []*exec.Cmd{stopped, other} {
		require.NoError(t, p.Process.Kill())
		_ = p.Wait()
	}
	require.Positive(t, checkLog(t, dir))
}

func TestManyProcessesAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	count := 10
	if os.Getenv("TOKENGUARD_LONG") != "" {
		count = 50
	}
	var procs []*exec.Cmd
	var outs []*bufio.Scanner
	for range count {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillHelper$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir, "TOKENGUARD_KILL_ONCE=1")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		procs, outs = append(procs, cmd), append(outs, bufio.NewScanner(out))
	}
	ids := map[string]int{}
	for i, out := range outs {
		for out.Scan() {
			if f := strings.Fields(out.Text()); len(f) == 3 && f[0] == "got" {
				ids[f[2]]++
			}
		}
		require.NoError(t, procs[i].Wait())
	}
	require.Len(t, ids, 1, "one token for all")
	for _, n := range ids {
		require.Equal(t, count, n)
	}
	require.Equal(t, 1, checkLog(t, dir))
}
