//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// alive returns the reading end of a pipe that a command's children keep open for as long as they live, and the pipe's
// path in the variable ALIVE.
func alive(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "alive")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	t.Setenv("ALIVE", path)
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// started waits for the one byte that the child writes.
func started(t *testing.T, r *os.File) {
	t.Helper()
	require.NoError(t, r.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 2)
	for {
		n, err := r.Read(b)
		if n == 0 && errors.Is(err, io.EOF) { // nobody has opened it yet
			runtime.Gosched()
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 1, n)
		return
	}
}

const child = `sh -c 'exec 3>"$ALIVE"; printf . >&3; echo >"$ALIVE.began"; exec sleep 60' `

// What a command has started ends with its time, also where the command itself is gone already or is deaf to polite
// signals, and where it fails.
func TestAllOfTheCommandEnds(t *testing.T) {
	for name, script := range map[string]string{
		"in front":               child,
		"behind":                 child + `& wait`,
		"behind a pipe":          child + `| cat`,
		"deaf":                   `trap "" INT TERM HUP; ` + child,
		"the command has left":   child + `& exit 0`,
		"the command has failed": child + `>/dev/null 2>&1 & until [ -e "$ALIVE.began" ]; do sleep 0.01; done; exit 3`,
	} {
		t.Run(name, func(t *testing.T) {
			r := alive(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f, done := &fetch{command: []string{"sh", "-c", script}}, make(chan error, 1)
			go func() {
				_, err := f.request(ctx, tokenguard.Request{})
				done <- err
			}()
			started(t, r)
			if name != "the command has failed" {
				cancel()
			}
			require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Second)))
			_, err := r.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF, "the child outlives the command's time")
			require.Error(t, <-done)
		})
	}
}

// The first signal ends the wait, and leaves the command its time: its cost is spent. The second one ends the program, and
// all that the command has started with it.
func TestTheSecondSignalEndsTheCommand(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		for name, script := range map[string]string{"in front": child, "behind": child + `& wait`, "deaf": `trap "" INT TERM HUP; ` + child} {
			t.Run(s.String()+"/"+name, func(t *testing.T) {
				if signal.Ignored(s) {
					t.Skip("this run ignores it, as under nohup, and so does what it starts")
				}
				r := alive(t)
				cmd := exec.Command("tokenguard", "get", "--state", filepath.Join(t.TempDir(), "state"), "--", "sh", "-c", script)
				var said strings.Builder
				cmd.Stderr = &said
				require.NoError(t, cmd.Start())
				defer cmd.Process.Kill()
				started(t, r)
				require.NoError(t, cmd.Process.Signal(s))
				require.NoError(t, r.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
				_, err := r.Read(make([]byte, 1))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the command has its time: %s", &said)
				require.NoError(t, cmd.Process.Signal(s))
				require.NoError(t, r.SetReadDeadline(time.Now().Add(5*time.Second)))
				_, err = r.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF, "the child outlives the program")
				var exit *exec.ExitError
				require.ErrorAs(t, cmd.Wait(), &exit)
				require.Equal(t, s, exit.Sys().(syscall.WaitStatus).Signal())
			})
		}
	}
}

// A second signal that comes while a command is being started ends that, too.
func TestTheSecondSignalEndsACommandThatIsBeingStarted(t *testing.T) {
	r := alive(t)
	var g processGroups
	ended := make(chan struct{})
	cmd := exec.Command("sh", "-c", child)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, err := g.start(func() (int, error) {
		require.NoError(t, cmd.Start())
		started(t, r)
		go func() { g.end(); close(ended) }()
		select {
		case <-ended: // it does not wait for the group
		case <-time.After(50 * time.Millisecond):
		}
		return cmd.Process.Pid, nil
	})
	require.NoError(t, err)
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	require.NoError(t, r.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the command outlives the program")
	require.Error(t, cmd.Wait())
	_, err = g.start(func() (int, error) { return 0, errors.New("started") })
	require.EqualError(t, err, "tokenguard: interrupted")
}

// What a command that succeeds leaves behind on purpose lives on: an agent with its output closed.
func TestAgentOfTheCommandLives(t *testing.T) {
	r := alive(t)
	pid := filepath.Join(t.TempDir(), "pid")
	t.Setenv("PIDFILE", pid)
	f := &fetch{command: []string{"sh", "-c", child + `>/dev/null 2>&1 & echo $! >"$PIDFILE"; echo made-up`}}
	token, err := f.request(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	require.Equal(t, "made-up", token.Value())
	started(t, r)
	require.NoError(t, r.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	text, err := os.ReadFile(pid)
	require.NoError(t, err)
	number, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
}
