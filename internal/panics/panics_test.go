package panics

import (
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errWrong = errors.New("wrong")

// outcome runs f on a goroutine of its own, which f may end, and returns what done was given.
func outcome(t *testing.T, f func() (int, error)) (result int, err error) {
	t.Helper()
	calls := 0
	over := make(chan struct{})
	go func() {
		defer close(over)
		Call("f", f, func(n int, e error) { calls, result, err = calls+1, n, e })
	}()
	<-over
	require.Equal(t, 1, calls, "done is called once, whatever f does")
	return result, err
}

func TestCallHandsOverTheResult(t *testing.T) {
	n, err := outcome(t, func() (int, error) { return 7, nil })
	assert.Equal(t, 7, n)
	assert.NoError(t, err)

	n, err = outcome(t, func() (int, error) { return 8, errWrong })
	assert.Equal(t, 8, n)
	assert.Same(t, errWrong, err, "an error is handed over as it is")
}

func TestCallOfAFunctionThatPanics(t *testing.T) {
	n, err := outcome(t, func() (int, error) { panic("no way") })
	assert.Zero(t, n)
	var p *Error
	require.ErrorAs(t, err, &p)
	assert.Equal(t, "f", p.Func)
	assert.Equal(t, "no way", p.Value)
	assert.Equal(t, "f panicked: no way", p.Error())
	assert.Contains(t, string(p.Stack), "TestCallOfAFunctionThatPanics", "the stack is that of the panic")
	assert.NoError(t, p.Unwrap())

	_, err = outcome(t, func() (int, error) { panic(errWrong) })
	assert.ErrorIs(t, err, errWrong)

	_, err = outcome(t, func() (int, error) { panic(nil) })
	assert.ErrorAs(t, err, new(*runtime.PanicNilError))
}

func TestCallOfAFunctionThatEndsItsGoroutine(t *testing.T) {
	n, err := outcome(t, func() (int, error) {
		runtime.Goexit()
		return 7, nil
	})
	assert.Zero(t, n)
	assert.ErrorIs(t, err, ErrGoexit)
	assert.ErrorContains(t, err, "f ended")

	n, err = outcome(t, func() (n int, err error) {
		defer func() { recover(); runtime.Goexit() }()
		panic("recovered by the function itself")
	})
	assert.Zero(t, n)
	assert.ErrorIs(t, err, ErrGoexit)
}
