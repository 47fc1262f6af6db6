// Package panics runs user-supplied functions so that a panic or runtime.Goexit in one is an error.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Error is a panic in a user-supplied function.
type Error struct {
	Func  string // what was called
	Value any
	Stack []byte
}

func (e *Error) Error() string { return fmt.Sprintf("%s panicked: %v", e.Func, e.Value) }

// Unwrap returns the value that the function panicked with, if it is an error.
func (e *Error) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// ErrGoexit is a function that ended its goroutine.
var ErrGoexit = errors.New("ended its goroutine (runtime.Goexit)")

// Call runs f and hands its result to done, which it calls in any case: a panic is an *Error that names the function,
// runtime.Goexit wraps ErrGoexit.
func Call[T any](name string, f func() (T, error), done func(T, error)) {
	var result T
	var err error
	returned := false
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Func: name, Value: p, Stack: debug.Stack()}
		} else if !returned {
			err = fmt.Errorf("%s %w", name, ErrGoexit)
		}
		done(result, err)
	}()
	result, err = f()
	returned = true
}
