package guardhttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

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

// An upstream that answers every call with 200, and tells of a spent quota in the body.
func ExampleNewTransport() {
	spent := map[string]int{}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if token := r.Header.Get("Authorization"); spent[token] == 1 {
			fmt.Fprint(w, `{"error":"No remaining quota: No AI requests remaining"}`)
		} else {
			spent[token]++
			fmt.Fprint(w, `{"result":"ok"}`)
		}
	}))
	defer upstream.Close()
	host := upstream.Listener.Addr().String()
	guard, err := tokenguard.New(tokenguardtest.NewScript(nil).Request)
	if err != nil {
		panic(err)
	}
	defer guard.Close()

	transport, err := guardhttp.NewTransport(guard, []string{host}, func(t *guardhttp.Transport) {
		t.Judge = guardhttp.JudgeErrors           // an error in the body of a 200 is one
		t.Pause = guardhttp.PauseAnswer           // nothing is sent into a wait that was asked for
		t.Caller = func(r *http.Request) string { // the operation, where the path does not say it
			return r.Header.Get("X-Model")
		}
	})
	if err != nil {
		panic(err) // every mistake in the fields, joined
	}
	client := &http.Client{Transport: transport}
	for range 2 {
		resp, err := client.Get(upstream.URL)
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%s, the token's ID is known: %v\n", body, guardhttp.TokenID(resp.Request.Context()) != "")
	}
	outcomes := guard.Stats().Calls.Outcomes
	fmt.Println("successes:", outcomes["success"], "spent:", outcomes["quota_exhausted"])
	// Output:
	// {"result":"ok"}, the token's ID is known: true
	// {"error":"No remaining quota: No AI requests remaining"}, the token's ID is known: true
	// successes: 1 spent: 1
}

// prefixJudge is for an upstream that begins every answer with OK or with what went wrong.
type prefixJudge struct{ start []byte }

func (j *prefixJudge) Feed(p []byte) (decided bool) {
	j.start = append(j.start, p[:min(len(p), 100-len(j.start))]...)
	return len(j.start) == 100
}

func (j *prefixJudge) Verdict(whole bool) (f tokenguard.Failure, ok bool) {
	switch {
	case strings.HasPrefix(string(j.start), "OK"):
		return tokenguard.Failure{}, true
	case whole:
		return tokenguard.Failure{Message: string(j.start)}, true
	}
	return tokenguard.Failure{}, false // it was closed before it said anything
}

// A judge of one's own keeps what it needs of the bytes that go by.
func ExampleJudge() {
	judge := func(*http.Response) guardhttp.Judge { return &prefixJudge{} }
	for _, body := range []string{"OK 42", "ERR the access token is invalid"} {
		j := judge(nil)
		j.Feed([]byte(body))
		f, ok := j.Verdict(true)
		fmt.Println(tokenguard.Classify(f), ok)
	}
	// Output:
	//  true
	// auth_invalid true
}
