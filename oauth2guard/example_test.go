package oauth2guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/oauth2guard"
)

// fetch asks a token endpoint through x/oauth2. conf.Token asks anew each time; a source of conf.TokenSource keeps its
// token until it expires, so it would return the one that was just rejected.
func fetch(conf *clientcredentials.Config) tokenguard.RequestFunc {
	return func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		t, err := conf.Token(ctx)
		var answer *oauth2.RetrieveError
		if errors.As(err, &answer) { // keeps the Retry-After
			err = tokenguard.Failed(tokenguard.Failure{
				StatusCode: answer.Response.StatusCode, Header: answer.Response.Header, Message: string(answer.Body), Err: err,
			})
		}
		if err != nil {
			return tokenguard.Token{}, err
		}
		return oauth2guard.Token(t), nil
	}
}

// A guard between the token endpoint and the client, both x/oauth2.
func Example() {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			fmt.Println("called with", r.Header.Get("Authorization"))
			return
		}
		if asked++; asked > 1 {
			w.Header().Set("Retry-After", "1800")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "made up", "token_type": "bearer", "expires_in": 3600}`)
	}))
	defer server.Close()

	conf := &clientcredentials.Config{ClientID: "guest", TokenURL: server.URL + "/token"}
	guard, _ := tokenguard.New(fetch(conf))
	defer guard.Close()
	source, err := oauth2guard.New(guard, oauth2guard.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: source.Transport(nil)}
	for range 3 {
		resp, err := client.Get(server.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	fmt.Println("asked for a token:", asked)

	full, _ := tokenguard.New(fetch(conf))
	defer full.Close()
	for range 3 {
		_, err := full.Token(context.Background())
		var refused *tokenguard.RefusedError
		fmt.Println(errors.As(err, &refused), errors.Is(err, tokenguard.ErrBackoff))
	}
	fmt.Println("asked for a token:", asked, full.Stats().Limiter.Binding)
	// Output:
	// called with Bearer made up
	// called with Bearer made up
	// called with Bearer made up
	// asked for a token: 1
	// false false
	// true true
	// true true
	// asked for a token: 2 retry_after
}
