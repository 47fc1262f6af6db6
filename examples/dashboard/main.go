// Dashboard shows the operator's page of a guard that simulated callers keep busy.
//
//	go run ./examples/dashboard
//
// It needs no network beyond the loopback interface. A day of traffic is played first; then time goes on, sixty times as
// fast as outside. Ctrl-C ends it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where the page is served; port 0: any that is free")
	length := flag.Duration("for", 0, "how long; 0: until Ctrl-C")
	speed := flag.Int("speed", 60, "simulated seconds in a second")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}
	if err := run(ctx, os.Stdout, *addr, *speed); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, addr string, speed int) error {
	clock := tokenguardtest.NewClock(time.Now().Add(-history))
	upstream := &tokenguardtest.Upstream{Clock: clock, Quota: 150, Lifetime: 100 * time.Minute}
	upstreamURL, closeUpstream, err := serve(ctx, "127.0.0.1:0", upstream)
	if err != nil {
		return err
	}
	defer closeUpstream()
	guard, err := tokenguard.New(tokenguardtest.RequestFunc(nil, upstreamURL),
		tokenguard.WithName("demo"), tokenguard.WithClock(clock))
	if err != nil {
		return err
	}
	defer guard.Close()

	w := newWorld(guard, clock, upstream, upstreamURL)
	if err := w.play(ctx, history); err != nil {
		return ignoreEnd(err)
	}
	page, closePage, err := serve(ctx, addr, guardui.New(guard))
	if err != nil {
		return err
	}
	defer closePage()
	fmt.Fprintln(out, "the page is at", page+"/")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := w.play(ctx, time.Duration(speed)*time.Second); err != nil {
				return ignoreEnd(err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// serve answers at addr until the returned function is called; live connections end with ctx.
func serve(ctx context.Context, addr string, h http.Handler) (url string, end func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}
