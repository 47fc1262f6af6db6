package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/classify"
)

// commandError says how the command ended, and nothing of what it wrote.
type commandError struct {
	name  string
	err   error
	class tokenguard.Class // where its words would mislead; "": they decide
}

func (e *commandError) Error() string { return fmt.Sprintf("%s: %v", e.name, e.err) }
func (e *commandError) Unwrap() error { return e.err }

// classOf is the guard's classifier.
func classOf(f tokenguard.Failure) tokenguard.Class {
	if e, ok := errors.AsType[*commandError](f.Err); ok && e.class != "" {
		return e.class
	}
	return tokenguard.Classify(f)
}

// failed is a command that ended with an error; said is what it wrote to standard error. A mistake of its own, which the
// upstream never saw, is no answer of the upstream's: it must not close a key as a refusal would.
func (f *fetch) failed(err error, said string) error {
	e := &commandError{name: f.command[0], err: err}
	ended, ran := errors.AsType[*exec.ExitError](err)
	program := programOf(f.command[0])
	if said == "" {
		said = e.Error()
		if ran && program == "curl" {
			e.err = fmt.Errorf("%w (curl says why with --show-error)", err)
		}
	}
	if !ran || slices.Contains(networkCodes[program], ended.ExitCode()) {
		e.class = tokenguard.ClassTransient // it could not be started, or nothing answered
	} else if ownMistake(f.command[0], err, said) {
		e.class = tokenguard.ClassUnknown
	}
	return tokenguard.Failed(tokenguard.Failure{Message: said, Err: e})
}

var (
	statusInText = regexp.MustCompile(`\b[45]\d\d\b`)
	// localDenial is what the system says when a file may not be touched. With a parenthesis behind it, it is ssh's.
	localDenial = regexp.MustCompile(`(?i)(permission denied|operation not permitted)\s*($|[^\s(])`)
)

// networkCodes are exit codes that say the network failed, for commands that may say nothing else.
var networkCodes = map[string][]int{
	"curl": {5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92},
	"wget": {4},
}

// sure is the confidence from which words without a status are an answer of the upstream's. Below it the library reads
// them by a coin's throw.
const sure = 0.8

// curlMistakes are curl's exit codes for what it never sent: wrong options and addresses, files that cannot be read.
var curlMistakes = []int{1, 2, 3, 4, 26, 27, 37, 43, 48}

func programOf(name string) string { return strings.TrimSuffix(filepath.Base(name), ".exe") }

// ownMistake reports whether a command failed by itself: it was not found by its shell, was called wrongly, or may not
// read a file.
func ownMistake(name string, err error, said string) bool {
	code := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	}
	switch {
	case code == exitNotExecutable || code == exitNotFound:
		return true
	case programOf(name) == "curl" && slices.Contains(curlMistakes, code):
		return true
	case statusInText.MatchString(said):
		return false
	}
	switch j := judge(answered{Text: said}); j.Class {
	case classify.ClientError:
		return true
	case classify.Forbidden, classify.AuthInvalid:
		return j.Confidence < sure || localDenial.MatchString(said)
	}
	return false
}
