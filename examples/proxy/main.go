// Proxy is a reverse proxy in front of a metered API: it puts a token into each request, the account's own first and an
// anonymous one when that is used up, and tells its clients when to come back where there is none.
//
//	go run ./examples/proxy -api http://127.0.0.1:9000 -listen 127.0.0.1:8080
//
// Several proxies on one machine share the state file, and with it the tokens and their limits.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func main() {
	api := flag.String("api", "http://127.0.0.1:9000", "the metered API: /api is metered, POST /token gives anonymous tokens")
	listen := flag.String("listen", "127.0.0.1:8080", "where the proxy listens")
	state := flag.String("state", "", "the state file; empty: in the user's state folder")
	flag.Parse()
	target, err := url.Parse(*api)
	if err != nil {
		log.Fatal(err)
	}
	opts := []tokenguard.Option{
		tokenguard.WithStateFile(*state), tokenguard.WithName("example-proxy"),
		tokenguard.WithConfig(tokenguard.Moderate()), tokenguard.WithLogger(slog.Default()),
	}
	if own := os.Getenv("PERSONAL_TOKEN"); own != "" {
		opts = append(opts, tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
			return tokenguard.NewToken(own, time.Time{}), nil
		}))
	}
	guard, err := tokenguard.New(tokenguardtest.RequestFunc(http.DefaultClient, *api), opts...)
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()

	server := &http.Server{Addr: *listen, Handler: newProxy(target, guard, nil), ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// newProxy puts the guard between the clients and the API. A nil clock is the system's.
func newProxy(api *url.URL, guard *tokenguard.Guard, clock tokenguard.Clock) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(api) },
		Transport: &guardhttp.Transport{Guard: guard, AllowedHosts: []string{api.Host}, Clock: clock},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			guardhttp.WriteError(w, err)
		},
	}
	mux := http.NewServeMux()
	mux.Handle(guardhttp.PerformancePath, guardhttp.Handler(guard))
	mux.Handle("/", proxy)
	return mux
}
