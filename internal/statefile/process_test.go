//go:build unix

package statefile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const childEnv = "STATEFILE_TEST_CHILD"

var atExit []func()

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		if err := child(role, os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	for _, fn := range atExit {
		fn()
	}
	os.Exit(code)
}

// child is what the test binary does when a test starts it again.
func child(role string, args []string) error {
	f, err := Open(args[0], Options{LockTimeout: time.Minute, Shared: role == "user" && args[2] == "true"})
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch role {
	case "hold": // the lock, until stdin ends
		_, err = f.Update(ctx, func(Snapshot) ([]byte, error) {
			fmt.Println("held")
			io.Copy(io.Discard, os.Stdin)
			return nil, nil
		})
	case "count": // times: increment
		times, _ := strconv.Atoi(args[1])
		for range times {
			if _, err := f.Update(ctx, increment); err != nil {
				return err
			}
		}
	case "user": // call, shared: one call; prints the revision
		syscall.Umask(0o077)
		var s Snapshot
		if args[1] == "put" {
			s, err = f.Update(ctx, func(Snapshot) ([]byte, error) { return []byte("put"), nil })
		} else {
			s, err = f.View(ctx)
		}
		if err == nil {
			fmt.Println("rev", s.Rev)
		}
	case "time": // times: update; prints how long each took
		times, _ := strconv.Atoi(args[1])
		return timeUpdates(f, times)
	case "log": // forever: increment, then log the revision; a byte on stdout at each step
		log, err := os.OpenFile(args[1], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		f.opts.hook = func(step) error {
			os.Stdout.Write([]byte{'.'})
			return nil
		}
		for {
			s, err := f.Update(ctx, increment)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(log, "%d\n", s.Rev); err != nil {
				return err
			}
		}
	case "churn": // forever: a commit to the shared file and a few to a new one; a line for each
		opts := Options{LockTimeout: time.Minute, noFileSync: strings.Contains(args[2], "nofile"), noFolderSync: strings.Contains(args[2], "nofolder")}
		for n := 0; ; n++ {
			for _, name := range []string{"shared/doc.json", fmt.Sprintf("%s/%d/doc.json", args[1], n/4)} {
				f, err := Open(filepath.Join(args[0], name), opts)
				if err != nil {
					return err
				}
				s, err := f.Update(ctx, func(Snapshot) ([]byte, error) { return make([]byte, 3000), nil })
				if err != nil {
					return err
				}
				fmt.Printf("%s %d\n", name, s.Rev)
			}
		}
	}
	return err
}

// command prepares the test binary as a child.
func command(t testing.TB, role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd
}

func TestStoppedHolder(t *testing.T) {
	path := temp(t)
	f := open(t, path, Options{LockTimeout: 50 * time.Millisecond})
	want := put(t, f, "x")
	cmd := command(t, "hold", path)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))

	_, err = f.Update(t.Context(), increment)
	var busy *BusyError
	require.ErrorAs(t, err, &busy)
	assert.Equal(t, cmd.Process.Pid, busy.PID)
	assert.ErrorContains(t, err, fmt.Sprintf("process %d", cmd.Process.Pid))
	assert.Equal(t, want, view(t, f), "reading needs no lock")
	// Removing the lock file does not let anyone past the holder.
	require.NoError(t, os.Remove(f.lockPath))
	_, err = f.Update(t.Context(), increment)
	require.ErrorAs(t, err, &busy)
	ctx, cancel := context.WithCancel(t.Context())
	patient := open(t, path, Options{LockTimeout: time.Minute})
	result := make(chan error)
	go func() {
		_, err := patient.Update(ctx, increment)
		result <- err
	}()
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)

	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
	assert.Equal(t, want.Rev+1, put(t, f, "y").Rev)
}

func TestKilledHolderIsGone(t *testing.T) {
	path := temp(t)
	cmd := command(t, "hold", path)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	put(t, open(t, path, Options{}), "x")
}

// TestLockFileDeletedUnderLoad: 60 writers in this process and two others, and
// somebody who keeps removing the lock file. No increment may be lost.
func TestLockFileDeletedUnderLoad(t *testing.T) {
	path := temp(t)
	writers, each, processes, by := 8, 4, 2, 10
	if long {
		writers, each, by = 60, 5, 50
	}
	var wg sync.WaitGroup
	errs := make(chan error, writers+processes)
	for range writers {
		f := open(t, path, Options{LockTimeout: time.Minute})
		wg.Go(func() {
			for range each {
				if _, err := f.Update(t.Context(), increment); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for range processes {
		cmd := command(t, "count", path, strconv.Itoa(by))
		wg.Go(func() {
			if out, err := cmd.Output(); err != nil {
				errs <- fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		removed := 0
		for {
			select {
			case <-stop:
				stopped <- removed
				return
			default:
				if os.Remove(path+lockSuffix) == nil {
					removed++
				}
			}
		}
	}()
	wg.Wait()
	close(stop)
	assert.Greater(t, <-stopped, by, "lock files removed")
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	got := view(t, open(t, path, Options{}))
	assert.Equal(t, strconv.Itoa(writers*each+processes*by), string(got.Data))
	assert.Empty(t, got.Epoch)
}

// TestKill kills one of four processes at a random step, again and again. Each
// logs the revision of every commit that was acknowledged to it.
func TestKill(t *testing.T) {
	kills := 30
	if long {
		kills = 400
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "state", "doc.json")
	const processes = 4
	type worker struct {
		cmd    *exec.Cmd
		stdout io.Reader
	}
	start := func(i int) worker {
		cmd := command(t, "log", path, filepath.Join(folder, fmt.Sprint("log", i)))
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		return worker{cmd, stdout}
	}
	var workers [processes]worker
	for i := range workers {
		workers[i] = start(i)
	}
	for k := range kills {
		i := k % processes
		// Let it take some steps; a writer whose pipe fills up just waits.
		_, err := io.CopyN(io.Discard, workers[i].stdout, 1+rand.Int64N(60))
		require.NoError(t, err)
		require.NoError(t, workers[i].cmd.Process.Kill())
		workers[i].cmd.Wait()
		workers[i] = start(i)
	}
	for _, w := range workers {
		w.cmd.Process.Kill()
		w.cmd.Wait()
	}

	var acknowledged []int
	for i := range processes {
		b, err := os.ReadFile(filepath.Join(folder, fmt.Sprint("log", i)))
		require.NoError(t, err)
		var own []int
		for line := range strings.Lines(string(b)) {
			rev, err := strconv.Atoi(strings.TrimSpace(line))
			require.NoError(t, err)
			own = append(own, rev)
		}
		assert.True(t, slices.IsSorted(own), "process %d", i)
		acknowledged = append(acknowledged, own...)
	}
	slices.Sort(acknowledged)
	require.NotEmpty(t, acknowledged)
	assert.Len(t, slices.Compact(slices.Clone(acknowledged)), len(acknowledged), "a revision was acknowledged twice")

	var events []Event
	f := open(t, path, Options{OnEvent: func(e Event) { events = append(events, e) }})
	got := view(t, f)
	assert.Empty(t, events)
	assert.Empty(t, got.Epoch)
	assert.Equal(t, strconv.FormatUint(got.Rev, 10), string(got.Data), "each commit counted one")
	assert.GreaterOrEqual(t, got.Rev, uint64(acknowledged[len(acknowledged)-1]))
	assert.LessOrEqual(t, int(got.Rev)-len(acknowledged), kills+processes, "commits that were not acknowledged")
	put(t, f, "0")
	assert.Empty(t, f.siblings(isTemp))
	t.Logf("%d kills, %d commits, %d acknowledged", kills, got.Rev, len(acknowledged))
}
