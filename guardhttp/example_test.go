package guardhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardhttp"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// A client whose requests carry the guard's token. The server here is a metered one that issues anonymous tokens.
func ExampleTransport() {
	upstream := &tokenguardtest.Upstream{}
	server := httptest.NewServer(upstream)
	defer server.Close()
	u, _ := url.Parse(server.URL)

	guard, err := tokenguard.New(tokenguardtest.RequestFunc(nil, server.URL))
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	client := &http.Client{Transport: &guardhttp.Transport{Guard: guard, AllowedHosts: []string{u.Host}}}

	for range 3 {
		resp, err := client.Get(server.URL + "/api")
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%s %s", resp.Status, body)
	}
	fmt.Println("tokens issued:", upstream.Counts().Issued)
	// Output:
	// 200 OK {"result":"ok"}
	// 200 OK {"result":"ok"}
	// 200 OK {"result":"ok"}
	// tokens issued: 1
}

// A proxy answers its own clients with the refusal's status and Retry-After.
func ExampleWriteError() {
	upstream := &tokenguardtest.Upstream{}
	upstream.SetOutage(true)
	server := httptest.NewServer(upstream)
	defer server.Close()
	guard, err := tokenguard.New(tokenguardtest.RequestFunc(nil, server.URL))
	if err != nil {
		panic(err)
	}
	defer guard.Close()

	proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tok, err := guard.Token(r.Context())
		if err != nil {
			guardhttp.WriteError(w, err)
			return
		}
		fmt.Fprintln(w, "forwarded with", tok)
	})
	for range 2 {
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, w.Header().Get("Retry-After"))
	}
	// Output:
	// 502 600
	// 503 600
}

func ExampleHandler() {
	guard, err := tokenguard.New(tokenguardtest.NewScript(nil).Request)
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	mux := http.NewServeMux()
	mux.Handle(guardhttp.PerformancePath, guardhttp.Handler(guard))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/performance", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 application/json
}
