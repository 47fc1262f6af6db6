package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// fetch runs a command whose standard output is a token.
type fetch struct {
	command  []string
	lifetime time.Duration // of the token; 0: not stated
	json     bool          // the output is an OAuth 2 token response
	renews   bool          // a refresh token alone will do: what it renews comes next
	spare    reserve       // files for the start
}

const (
	keptStderr = 4 << 10         // bytes of the command's complaint that decide its class
	keptStdout = 1 << 20         // bytes of its output: a token has at most 64 KiB, the JSON around it may have more
	afterwards = 2 * time.Second // for children that hold the command's output after it was killed
)

// request is the RequestFunc. The command's standard error goes to the user's and, if the command fails, to the guard,
// which reads a 429 or a Retry-After from it. When its time is over, or it fails, all that it started ends with it:
// nothing asks the upstream after the attempt's recorded end.
func (f *fetch) request(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
	f.spare.free()
	return f.run(ctx, os.Stdin)
}

func (f *fetch) run(ctx context.Context, stdin io.Reader) (tokenguard.Token, error) {
	cmd := exec.CommandContext(ctx, f.command[0], f.command[1:]...)
	out := &capped{most: keptStdout}
	said := &tail{most: keptStderr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, io.MultiWriter(os.Stderr, said)
	cmd.WaitDelay = afterwards
	began := time.Now()
	err := runGroup(ctx, cmd)
	if out.over {
		return tokenguard.Token{}, f.unusable("it printed more than 1 MiB, not a token", "")
	}
	if err != nil {
		if ctx.Err() != nil {
			return tokenguard.Token{}, &commandError{name: f.command[0], class: tokenguard.ClassTransient, err: fmt.Errorf("it was still running at the end of --timeout: %w", ctx.Err())}
		}
		// A child that still holds the output keeps no token back: the command itself has ended well.
		if !errors.Is(err, exec.ErrWaitDelay) {
			return tokenguard.Token{}, f.failed(err, strings.TrimSpace(string(said.last)))
		}
	}
	return f.token(out.kept, began)
}

// capped keeps what is written to it up to a bound. Beyond it, the writer is told that nobody listens.
type capped struct {
	most int
	kept []byte
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if len(c.kept)+len(p) > c.most {
		c.over = true
		return 0, io.ErrShortWrite
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	most int
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.last = append(t.last, p...)
	if over := len(t.last) - t.most; over > 0 {
		t.last = t.last[over:]
	}
	return len(p), nil
}
