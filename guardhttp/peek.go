package guardhttp

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// maxPeek is how much of an error's body is looked at.
	maxPeek = 4 << 10
	// peekTime is how long an answer's body is waited for, from its header on, before the answer is passed on or sent
	// again: what a body that trickles says later is for the caller alone.
	peekTime = time.Second
)

// lateAfter returns a channel that is closed after d, and what releases its timer.
func lateAfter(d time.Duration) (late <-chan struct{}, stop func() bool) {
	c := make(chan struct{})
	return c, time.AfterFunc(d, func() { close(c) }).Stop
}

// peeked is a body whose beginning was read ahead, by a goroutine that may still be in a Read when the body is handed
// on. All that it read comes first, then the rest.
type peeked struct {
	body io.ReadCloser

	mu      sync.Mutex // guards everything below; never held during a Read of body
	arrived sync.Cond  // buf has grown, or reading has ended
	buf     []byte     // what was read ahead
	off     int        // how much of it was handed on
	err     error      // what ended the reading ahead
	reading bool       // the goroutine may add to buf
	enough  bool       // the goroutine adds what it has and stops
}

// peek reads at most maxPeek bytes of the body before late is closed, puts a body in its place that still reads from
// the start, and returns what was read.
func peek(resp *http.Response, late <-chan struct{}) []byte {
	p := &peeked{body: resp.Body, buf: make([]byte, 0, maxPeek), reading: true}
	p.arrived.L = &p.mu
	resp.Body = p
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.fill()
	}()
	select {
	case <-done:
	case <-late:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enough = true
	return p.buf[:len(p.buf):len(p.buf)] // nothing is ever written below its length
}

// fill reads into buf until it is full, the body ends, or enough is set.
func (p *peeked) fill() {
	defer func() {
		broken := recover() // a body that panics ends the call of its reader, not the process
		p.mu.Lock()
		defer p.mu.Unlock()
		if broken != nil {
			p.err = fmt.Errorf("tokenguard: guardhttp: the body of the answer panicked: %T", broken)
		}
		p.reading = false
		p.arrived.Broadcast()
	}()
	for {
		p.mu.Lock()
		room, stop := p.buf[len(p.buf):cap(p.buf)], p.enough || p.err != nil
		p.mu.Unlock()
		if stop || len(room) == 0 {
			return
		}
		n, err := p.body.Read(room)
		p.mu.Lock()
		p.buf, p.err = p.buf[:len(p.buf)+n], err
		p.arrived.Broadcast()
		p.mu.Unlock()
	}
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.off == len(p.buf) && p.reading {
		p.arrived.Wait()
	}
	switch {
	case p.off < len(p.buf):
		n := copy(b, p.buf[p.off:])
		p.off += n
		return n, nil
	case p.err != nil:
		return 0, p.err
	}
	p.mu.Unlock()
	defer p.mu.Lock()
	return p.body.Read(b)
}

// Close ends a Read that is under way, as far as the body's own Close does.
func (p *peeked) Close() error { return p.body.Close() }

// discard reads what is left of a short body, so that the connection can be used again, and closes it. A body that has
// not come when late is closed costs its connection.
func discard(body io.ReadCloser, late <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.CopyN(io.Discard, body, 2*maxPeek) // what was peeked at, and as much again
	}()
	select {
	case <-done:
	case <-late:
	}
	_ = body.Close()
}
