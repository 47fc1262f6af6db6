package tokenguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
)

// Class says what a failure means for the token that was used.
type Class string

// The classes, from most to least about the token itself.
const (
	ClassNone           Class = ""
	ClassQuotaExhausted Class = "quota_exhausted" // the token's allowance is consumed: another token could help
	ClassRateLimited    Class = "rate_limited"    // too much in too little time: wait, never fetch
	ClassAuthInvalid    Class = "auth_invalid"    // the token is missing, expired, revoked: another is justified
	ClassForbidden      Class = "forbidden"       // ban, permission, policy: stop, never fetch
	ClassTransient      Class = "transient"       // server or network: try again later with the same token
	ClassClientError    Class = "client_error"    // the request itself is wrong: do not repeat it
	ClassUnknown        Class = "unknown"         // the answer does not say: the most careful reading, never fetch
)

// classes in the order in which they are counted and shown.
var classes = [...]Class{ClassQuotaExhausted, ClassRateLimited, ClassAuthInvalid, ClassForbidden, ClassTransient, ClassClientError, ClassUnknown}

// Failure is how a call ended that did not succeed. The zero Failure means that nothing failed.
type Failure struct {
	// StatusCode is the HTTP status, or 0 where there was none.
	StatusCode int
	// Header takes an http.Header as it is. Retry-After and the rate limit fields are read from it.
	Header map[string][]string
	// Message is the body or the error text. At most its first 8 KiB are looked at.
	Message string
	// Err is the error, if there is one; its text is used where Message is empty.
	Err error
	// At is when it failed; zero means when the guard is told. An instant in the future counts as now.
	At time.Time
}

// IsZero reports whether nothing failed. At alone makes no failure.
func (f Failure) IsZero() bool { return f.none() }

// none is IsZero without the copy.
func (f *Failure) none() bool {
	return f.StatusCode == 0 && len(f.Header) == 0 && f.Message == "" && f.Err == nil
}

// text is what the classifier and the dedup filter read.
func (f Failure) text() string {
	if f.Message != "" || f.Err == nil {
		return f.Message
	}
	return f.Err.Error()
}

// Classify says what a failure means for the token that was used, from status, headers and text, in twenty
// languages. It is "" for the zero Failure. When in doubt it names a class that permits no new token.
//
// An Err of a file, of the operating system, of a context that ended, of an answer that broke off or of a JSON decoder,
// without a status in the Failure or in its words, is no word of the upstream's, however it is wrapped: it is transient or
// unknown. Of errors that were joined the words decide.
func Classify(f Failure) Class {
	if f.IsZero() {
		return ClassNone
	}
	if class, own := ownError(&f); own {
		return class
	}
	return Class(classify.Classify(classify.Input{StatusCode: f.StatusCode, Header: f.Header, Text: f.text()}))
}

// ownErrors are those that this process made by itself, whatever they are wrapped in.
var ownErrors = []error{fs.ErrPermission, fs.ErrClosed, fs.ErrNotExist, context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF}

// ownError is the class of an error that this process made by itself, by its type. Its words say nothing of a token, and
// "failed to read token: permission denied" sounds like a ban.
func ownError(f *Failure) (class Class, own bool) {
	if f.StatusCode != 0 || f.Message != "" || f.Err == nil {
		return "", false
	}
	switch {
	case is[*fs.PathError](f.Err), is[*os.LinkError](f.Err), is[*os.SyscallError](f.Err), is[syscall.Errno](f.Err),
		wraps(f.Err, func(err error) bool { return slices.Contains(ownErrors, err) }):
		class = ClassTransient
	case is[*json.SyntaxError](f.Err), is[*json.UnmarshalTypeError](f.Err):
		class = ClassUnknown
	default:
		return "", false
	}
	if classify.NamesStatus(f.Err.Error()) { // "unexpected status 403 (banned): cannot decode the body: invalid character"
		return "", false
	}
	return class, true
}

// is reports whether err is of this type, or wraps one that is. Of several errors that were joined none speaks for the others:
// a clean-up may have failed after the upstream's answer.
func is[E error](err error) bool {
	return wraps(err, func(err error) bool {
		_, ok := err.(E)
		return ok
	})
}

func wraps(err error, one func(error) bool) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if one(err) {
			return true
		}
	}
	return false
}

// Failed wraps a Failure as an error, for a RequestFunc that knows more than a text: status, headers, the instant.
// It returns nil for the zero Failure.
func Failed(failure Failure) error {
	if failure.IsZero() {
		return nil
	}
	return &failedError{failure}
}

type failedError struct{ failure Failure }

func (e *failedError) Error() string {
	switch text := e.failure.text(); {
	case text == "":
		return fmt.Sprintf("tokenguard: upstream answered %d", e.failure.StatusCode)
	case e.failure.StatusCode == 0:
		return text
	default:
		return fmt.Sprintf("%d: %s", e.failure.StatusCode, text)
	}
}

func (e *failedError) Unwrap() error { return e.failure.Err }

// failureOf finds the Failure that err carries, or makes one from its text.
func failureOf(err error) Failure {
	var f *failedError
	if errors.As(err, &f) {
		return f.failure
	}
	return Failure{Err: err}
}
