package redisstore

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy stands between client and server and fails as networks do.
type proxy struct {
	listener net.Listener
	ctx      context.Context

	mu      sync.Mutex // guards all below
	target  string
	delay   time.Duration // of each chunk, each way
	swallow []func()      // for each: run it in place of passing the next answer on, then cut
	conns   map[net.Conn]bool
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{listener: l, ctx: ctx, target: target, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	backend, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer backend.Close()
	p.mu.Lock()
	p.conns[client], p.conns[backend] = true, true
	p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	go func() {
		defer client.Close()
		p.pass(backend, client, true)
	}()
	p.pass(client, backend, false)
}

func (p *proxy) pass(from, to net.Conn, answers bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			_ = to.Close()
			return
		}
		p.mu.Lock()
		delay := p.delay
		var instead func()
		if answers && len(p.swallow) > 0 {
			instead, p.swallow = p.swallow[0], p.swallow[1:]
		}
		p.mu.Unlock()
		if instead != nil {
			instead()
			_ = to.Close()
			return
		}
		if delay > 0 && pause(p.ctx, delay) != nil {
			return
		}
		if _, err := io.Writer(to).Write(buf[:n]); err != nil {
			return
		}
	}
}

// loseAnswer runs instead where the next answer would have passed, and cuts the connection.
func (p *proxy) loseAnswer(instead func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = append(p.swallow, instead)
}

func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

// turnTo leads to another server from now on.
func (p *proxy) turnTo(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.cut()
}
