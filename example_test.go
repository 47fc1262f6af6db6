package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tokenguard/tokenguard"
)

// standingClock is all the clock that a unit test needs.
type standingClock struct{ now time.Time }

func (c *standingClock) Now() time.Time { return c.now }

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// Wrap the function that you have; ask the guard instead of it.
func Example() {
	fetch := func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
		fmt.Println("the upstream is asked")
		return tokenguard.NewTokenIn("a secret", time.Hour), nil
	}
	guard, err := tokenguard.New(fetch)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Close()

	for range 3 {
		token, err := guard.Token(context.Background())
		fmt.Println(token.Value(), err)
	}
	// Output:
	// the upstream is asked
	// a secret <nil>
	// a secret <nil>
	// a secret <nil>
}

// The personal token goes first; when its quota is used up, an anonymous one takes over, and the verdict says so.
func ExampleWithPersonalToken() {
	clock := &standingClock{noon}
	guard, _ := tokenguard.New(
		func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewToken("anonymous", clock.now.Add(time.Hour)), nil
		},
		tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
			return tokenguard.NewToken("personal", clock.now.Add(24*time.Hour)), nil
		}),
		tokenguard.WithClock(clock))
	defer guard.Close()
	ctx := context.Background()

	grant, _ := guard.Acquire(ctx, tokenguard.Request{})
	fmt.Println(grant.Source, grant.Token.Value())

	// The API answers that nothing remains: report it, and ask again.
	grant, err := guard.Acquire(ctx, tokenguard.Request{
		Failing: grant.Token.ID(),
		Failure: tokenguard.Failure{
			StatusCode: 429,
			Header:     http.Header{"X-Ratelimit-Limit": {"100"}, "X-Ratelimit-Remaining": {"0"}},
			Message:    "No remaining quota: No AI requests remaining",
		},
	})
	fmt.Println(grant.Source, grant.Token.Value(), err)
	// Output:
	// personal personal
	// request anonymous <nil>
}

// What failed is said with the next request, and decides whether another token is justified.
func ExampleGuard_Acquire() {
	guard, _ := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("a secret", 24*time.Hour), nil
	}, tokenguard.WithClock(&standingClock{noon}))
	defer guard.Close()
	call := func(ctx context.Context) error {
		grant, err := guard.Acquire(ctx, tokenguard.Request{})
		if err != nil {
			return err
		}
		// The call made with grant.Token failed: say how.
		grant, err = guard.Acquire(ctx, tokenguard.Request{
			Failing: grant.Token.ID(),
			Failure: tokenguard.Failure{
				StatusCode: 429,
				Header:     http.Header{"X-Ratelimit-Limit": {"100"}, "X-Ratelimit-Remaining": {"0"}},
				Message:    "No remaining quota: No AI requests remaining",
			},
		})
		fmt.Println(grant.Source)
		return err
	}
	var refused *tokenguard.RefusedError
	if errors.As(call(context.Background()), &refused) {
		fmt.Println(refused.Verdict.Reason, refused.Verdict.RetryAt.Sub(noon))
	}
	// Output:
	//
	// token_too_new 30m0s
}

// A unit test moves a clock of its own; nothing sleeps.
func ExampleWithClock() {
	clock := &standingClock{noon}
	asked := 0
	guard, _ := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		asked++
		return tokenguard.NewTokenIn(fmt.Sprintf("token %d", asked), time.Hour), nil
	}, tokenguard.WithClock(clock))
	defer guard.Close()

	for range 3 {
		token, _ := guard.Token(context.Background())
		fmt.Println(clock.now.Format("15:04"), token.Value())
		clock.now = clock.now.Add(45 * time.Minute)
	}
	// Output:
	// 12:00 token 1
	// 12:45 token 1
	// 13:30 token 2
}

// A refusal says which rule, on what evidence, and when it opens.
func ExampleRefusedError() {
	clock := &standingClock{noon}
	guard, _ := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 503, Message: "upstream is down"})
	}, tokenguard.WithClock(clock))
	defer guard.Close()
	ctx := context.Background()

	_, err := guard.Token(ctx)
	fmt.Println(err)

	clock.now = clock.now.Add(time.Minute)
	_, err = guard.Token(ctx)
	var refused *tokenguard.RefusedError
	if errors.As(err, &refused) {
		wait, _ := refused.RetryAfter(clock.now)
		fmt.Println(refused.Verdict.Step, refused.Verdict.Reason, wait, errors.Is(err, tokenguard.ErrBackoff))
		fmt.Println(refused.Verdict.Detail)
		fmt.Println("because of:", errors.Unwrap(err))
	}
	// Output:
	// tokenguard: request failed (transient): 503: upstream is down (retry at 2026-01-01T12:10:00Z)
	// limiter backoff 9m0s true
	// failures in a row: 1, the last (transient) at 2026-01-01T12:00:00Z; backing off for 10m0s, until 2026-01-01T12:10:00Z
	// because of: 503: upstream is down
}

// A batch job waits until a token can be had instead of giving up. The clock here sleeps by moving on.
func ExampleGuard_Wait() {
	clock := &sleepingClock{standingClock{noon}}
	asked := 0
	guard, _ := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		if asked++; asked == 1 {
			return tokenguard.Token{}, errors.New("connection reset by peer")
		}
		return tokenguard.NewTokenIn("a secret", time.Hour), nil
	}, tokenguard.WithClock(clock))
	defer guard.Close()
	ctx := context.Background()

	_, err := guard.Token(ctx)
	fmt.Println(clock.now.Format("15:04"), err)

	grant, err := guard.Wait(ctx, tokenguard.Request{Caller: "nightly batch"})
	fmt.Println(clock.now.Format("15:04"), grant.Token.Value(), err)
	// Output:
	// 12:00 tokenguard: request failed (transient): connection reset by peer (retry at 2026-01-01T12:10:00Z)
	// 12:10 a secret <nil>
}

type sleepingClock struct{ standingClock }

func (c *sleepingClock) Sleep(ctx context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return ctx.Err()
}

// Explain answers "what would I get now, and why" without asking anybody.
func ExampleGuard_Explain() {
	guard, _ := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("a secret", time.Hour), nil
	}, tokenguard.WithClock(&standingClock{noon}))
	defer guard.Close()

	e, _ := guard.Explain(context.Background(), tokenguard.Request{Caller: "curious"})
	fmt.Println(e.Verdict.Answer)
	for _, step := range e.Steps {
		fmt.Printf("%-9s %-6s %s\n", step.Step, step.Answer, step.Detail)
	}
	// Output:
	// start
	// dedup     pass   the request carries no failure
	// cache     pass   no usable token for this caller
	// gate      pass   acquisitions in progress: 0, at most 3
	// manager   pass   no token of this key is known
	// limiter   pass   every window, the spacing and the backoff are open
	// predictor pass   not consulted
	// request   start
}

// Look before you enforce: what would be refused goes to your function, and is counted.
func ExampleWithShadowModeRefusingNothing() {
	clock := &standingClock{noon}
	fetched := 0
	fetch := func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		fetched++
		return tokenguard.NewTokenIn(fmt.Sprintf("token %d", fetched), time.Hour), nil
	}
	guard, _ := tokenguard.New(fetch, tokenguard.WithShadowModeRefusingNothing(), tokenguard.WithClock(clock))
	defer guard.Close()
	ctx := context.Background()

	grant, _ := guard.Acquire(ctx, tokenguard.Request{})
	fmt.Println(grant.Source, grant.Token.Value())

	grant, _ = guard.Acquire(ctx, tokenguard.Request{
		Failing: grant.Token.ID(),
		Failure: tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota"},
	})
	fmt.Println(grant.Source, grant.Token.Value(), "in place of", grant.Verdict().Reason)

	stats := guard.Stats()
	fmt.Println(fetched, "fetched, of which the guard would have started", stats.Acquisitions.Day.Used)
	// Output:
	// request token 1
	// shadow token 2 in place of token_too_new
	// 2 fetched, of which the guard would have started 1
}

// Other settings, judged on the same calls: here tokens of 10 minutes meet the defaults.
func ExampleWithCandidate() {
	clock := &standingClock{noon}
	fetch := func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("token of "+clock.now.Format("15:04"), 10*time.Minute), nil
	}
	guard, _ := tokenguard.New(fetch, tokenguard.WithClock(clock),
		tokenguard.WithCandidate(tokenguard.Config{RateLimit: tokenguard.RateLimits{MaxRequestsPerHour: 6, MaxRequestsPerDay: 150}}))
	defer guard.Close()

	for range 24 * 60 {
		_, _ = guard.Token(context.Background()) // as your service does, once a minute
		clock.now = clock.now.Add(time.Minute)
	}
	in, beside := guard.Stats(), guard.Stats().Candidate
	fmt.Printf("in force:  %4d of %d served, %3d acquisitions\n", in.Calls.Served, in.Calls.Total, in.Acquisitions.Attempts)
	fmt.Printf("candidate: %4d of %d served, %3d acquisitions\n", beside.Stats.Calls.Served, beside.Stats.Calls.Total, beside.Stats.Acquisitions.Attempts)
	fmt.Println(beside.Gained, "calls gained,", beside.Lost, "lost")
	// Output:
	// in force:   200 of 1440 served,  20 acquisitions
	// candidate: 1440 of 1440 served, 144 acquisitions
	// 1240 calls gained, 0 lost
}

func ExampleWithRenewal() {
	type answer struct {
		IDToken, RefreshToken string
		ExpiresIn             time.Duration
	}
	signUp := func(context.Context) (answer, error) {
		return answer{"first value", "first refresh token", time.Hour}, nil
	}
	refresh := func(_ context.Context, refreshToken string) (answer, error) {
		fmt.Println("renewed with the", refreshToken)
		return answer{"second value", "second refresh token", time.Hour}, nil
	}
	clock := &standingClock{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}

	acquire := func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
		a, err := signUp(ctx) // what you already have
		return tokenguard.NewTokenIn(a.IDToken, a.ExpiresIn).WithRefreshToken(a.RefreshToken, time.Time{}), err
	}
	renew := func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
		a, err := refresh(ctx, old.RefreshToken())
		return tokenguard.NewTokenIn(a.IDToken, a.ExpiresIn).WithRefreshToken(a.RefreshToken, time.Time{}), err
	}
	guard, err := tokenguard.New(acquire, tokenguard.WithRenewal(renew), tokenguard.WithClock(clock))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer guard.Close()

	first, _ := guard.Token(context.Background())
	clock.now = clock.now.Add(56 * time.Minute)
	second, _ := guard.Token(context.Background())
	fmt.Println(second.Value(), first.Identity() == second.Identity(), guard.Stats().Acquisitions.Day.Used)
	// Output:
	// renewed with the first refresh token
	// second value true 1
}
