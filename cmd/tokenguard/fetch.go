package main

import (
	"bytes"
	"context"
	"encoding/json"
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
}

const (
	keptStderr = 4 << 10         // bytes of the command's complaint that decide its class
	afterwards = 2 * time.Second // for children that hold the command's output after it was killed
)

// request is the RequestFunc. The command's standard error goes to the user's and, if the command fails, to the guard,
// which reads a 429 or a Retry-After from it. When its time is over, or it fails, all that it started ends with it:
// nothing asks the upstream after the attempt's recorded end.
func (f *fetch) request(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
	cmd := exec.CommandContext(ctx, f.command[0], f.command[1:]...)
	var out bytes.Buffer
	said := &tail{most: keptStderr}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, &out, io.MultiWriter(os.Stderr, said)
	cmd.WaitDelay = afterwards
	if err := runGroup(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return tokenguard.Token{}, ctx.Err()
		}
		message := strings.TrimSpace(string(said.last))
		if message == "" {
			message = err.Error()
		}
		return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{Message: message, Err: &commandError{f.command[0], err}})
	}
	return f.token(out.Bytes())
}

// commandError says how the command ended, and nothing of what it wrote.
type commandError struct {
	name string
	err  error
}

func (e *commandError) Error() string { return fmt.Sprintf("%s: %v", e.name, e.err) }
func (e *commandError) Unwrap() error { return e.err }

// token reads the command's output. Its errors never show it.
func (f *fetch) token(out []byte) (tokenguard.Token, error) {
	fail := func(text string) (tokenguard.Token, error) {
		return tokenguard.Token{}, &commandError{f.command[0], errors.New(text)}
	}
	value, lifetime := strings.TrimSpace(string(out)), f.lifetime
	if f.json {
		var answer struct {
			AccessToken string   `json:"access_token"`
			ExpiresIn   *float64 `json:"expires_in"`
			Error       string   `json:"error"`
		}
		if json.Unmarshal(out, &answer) != nil {
			return fail("its output is no JSON object with access_token and expires_in")
		}
		if answer.AccessToken == "" {
			return fail("its output has no access_token; error: " + answer.Error)
		}
		value = answer.AccessToken
		if answer.ExpiresIn != nil {
			lifetime = time.Duration(*answer.ExpiresIn * float64(time.Second))
			return tokenguard.NewTokenIn(value, lifetime), nil
		}
	}
	switch {
	case value == "":
		return fail("it printed nothing: want the token on standard output")
	case strings.ContainsAny(value, "\r\n"):
		return fail("it printed more than one line: want the token alone, or --json")
	case lifetime > 0:
		return tokenguard.NewTokenIn(value, lifetime), nil
	}
	return tokenguard.NewToken(value, time.Time{}), nil
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
