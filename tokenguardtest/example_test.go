package tokenguardtest_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// A failed acquisition, its backoff and the recovery, in no time at all.
func ExampleClock() {
	clock := tokenguardtest.NewClock(time.Time{})
	script := tokenguardtest.NewScript(clock,
		tokenguardtest.Reply{Failure: tokenguard.Failure{StatusCode: 503, Message: "service unavailable"}},
		tokenguardtest.Reply{Value: "anonymous", Lifetime: time.Hour},
	)
	guard, err := tokenguard.New(script.Request, tokenguard.WithClock(clock))
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	ctx := context.Background()

	_, err = guard.Token(ctx)
	fmt.Println(err)

	clock.AutoAdvance(true) // Wait sleeps on the clock
	start := clock.Now()
	grant, err := guard.Wait(ctx, tokenguard.Request{})
	fmt.Println(grant.Source, err, "after", clock.Now().Sub(start))
	// Output:
	// tokenguard: request failed (transient): 503: service unavailable (retry at 2026-01-01T00:10:00Z)
	// request <nil> after 10m0s
}

// What a guard did, as a list of events.
func ExampleRecorder() {
	var rec tokenguardtest.Recorder
	clock := tokenguardtest.NewClock(time.Time{})
	script := tokenguardtest.NewScript(clock, tokenguardtest.Reply{Lifetime: time.Minute})
	guard, err := tokenguard.New(script.Request, tokenguard.WithClock(clock), tokenguard.WithObserver(rec.Observe))
	if err != nil {
		panic(err)
	}
	defer guard.Close()
	_, _ = guard.Token(context.Background())
	clock.Advance(2 * time.Minute)
	_, _ = guard.Token(context.Background())
	fmt.Println(rec.Kinds())
	// Output: [started acquired refused]
}

// A metered service on loopback.
func ExampleUpstream() {
	upstream := &tokenguardtest.Upstream{IssueLimit: 1}
	server := httptest.NewServer(upstream)
	defer server.Close()
	request := tokenguardtest.RequestFunc(server.Client(), server.URL)
	for range 2 {
		_, err := request(context.Background(), tokenguard.Request{})
		fmt.Println(err != nil)
	}
	fmt.Printf("%+v\n", upstream.Counts())
	// Output:
	// false
	// true
	// {Issued:1 Renewed:0 OK:0 RefusedIssues:map[429:1] FailedCalls:map[]}
}
