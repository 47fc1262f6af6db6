package replica

import (
	"bytes"
	"errors"
	"sync"
)

var errUpdateOver = errors.New("the store ran the function of an Update that is over")

// OnlyDuring keeps the function that an Update runs, and what it returned, from a store that goes on with them: fn is run
// by one goroutine at a time, and no more once over was called.
func OnlyDuring(fn func(Snapshot) ([]byte, error)) (during func(Snapshot) ([]byte, error), over func()) {
	var mu sync.Mutex
	ended := false
	during = func(snap Snapshot) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return nil, errUpdateOver
		}
		data, err := fn(snap)
		return bytes.Clone(data), err // the next document takes from it what did not change
	}
	over = func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
	}
	return during, over
}
