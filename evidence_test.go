package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// What is believed of a token, told by the shares of calls that were served with one that works for them.

// tokenWorld is an upstream with endpoints that accept or refuse each token as they please.
type tokenWorld struct {
	*tokenguard.Guard
	t        *testing.T
	starts   int
	lifetime time.Duration
	refuses  func(operation string, token tokenguard.Token) tokenguard.Failure
	calls    map[string]int
	served   map[string]int
}

func inWorld(t *testing.T, lifetime time.Duration, run func(*tokenWorld), opts ...tokenguard.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &tokenWorld{t: t, lifetime: lifetime, calls: map[string]int{}, served: map[string]int{}}
		w.refuses = func(string, tokenguard.Token) tokenguard.Failure { return tokenguard.Failure{} }
		var err error
		w.Guard, err = tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			w.starts++
			return tokenguard.NewTokenIn(fmt.Sprintf("token number %d", w.starts), w.lifetime), nil
		}, opts...)
		require.NoError(t, err)
		defer w.Close()
		run(w)
	})
}

// call makes one call of an operation, with one retry as a client would, and reports how it ended.
func (w *tokenWorld) call(operation string) {
	w.calls[operation]++
	req := tokenguard.Request{Caller: operation}
	for range 2 {
		grant, err := w.Acquire(w.t.Context(), req)
		if err != nil {
			return
		}
		f := w.refuses(operation, grant.Token)
		if f.IsZero() {
			w.served[operation]++
			require.NoError(w.t, w.Report(w.t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Caller: operation, Latency: time.Millisecond}))
			return
		}
		req.Failure, req.Failing = f, grant.Token.ID()
	}
	if !req.Failure.IsZero() {
		require.NoError(w.t, w.Report(w.t.Context(), tokenguard.Outcome{TokenID: req.Failing, Caller: operation, Failure: req.Failure}))
	}
}

func (w *tokenWorld) share(operation string) float64 {
	return float64(w.served[operation]) / float64(w.calls[operation])
}

var (
	tokenDead = tokenguard.Failure{StatusCode: 401, Message: "invalid token"}
	usedUp    = tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}
)

// An endpoint that always answers 401 costs the others nothing, and few starts.
func TestAnEndpointThatAlwaysRefuses(t *testing.T) {
	for _, lifetime := range []time.Duration{24 * time.Hour, time.Hour} {
		inWorld(t, lifetime, func(w *tokenWorld) {
			w.refuses = func(operation string, _ tokenguard.Token) tokenguard.Failure {
				if operation == "GET /profile" {
					return tokenDead
				}
				return tokenguard.Failure{}
			}
			for range 24 * 60 {
				w.call("GET /me")
				w.call("GET /profile")
				time.Sleep(time.Minute)
			}
			t.Logf("tokens of %v: %.1f %% of the calls of /me served, %d starts", lifetime, 100*w.share("GET /me"), w.starts)
			row := "an endpoint that answers 401 to every token, beside a healthy one; tokens of 24 h | healthy one"
			if lifetime == time.Hour {
				row = "the same; tokens of 1 h |"
			}
			onEvidencePage(t, "\n| %s %.1f %% | %d |", row, 100*w.share("GET /me"), w.starts)
			if lifetime == time.Hour { // 20 a day are 83.3 % by themselves
				assert.GreaterOrEqual(t, w.share("GET /me"), 0.79)
				return
			}
			assert.GreaterOrEqual(t, w.share("GET /me"), 0.99)
			assert.LessOrEqual(t, w.starts, 3)
		})
	}
}

// A quota of 10 uses is replaced once it is sure to be used up, whatever a health check says.
func TestAQuotaOfTenUsesBesideAHealthCheck(t *testing.T) {
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		uses := map[string]int{}
		w.refuses = func(operation string, token tokenguard.Token) tokenguard.Failure {
			if operation == "GET /health" {
				return tokenguard.Failure{}
			}
			if uses[token.ID()]++; uses[token.ID()] > 10 {
				return usedUp
			}
			return tokenguard.Failure{}
		}
		for range 240 {
			w.call("POST /chat")
			w.call("GET /health")
			time.Sleep(time.Minute)
		}
		t.Logf("%d of 240 chats served, %d starts", w.served["POST /chat"], w.starts)
		onEvidencePage(t, "\n| a quota of 10 uses beside a health check that is always 200, `Moderate()`, 4 h | %d of 240 | %d |", w.served["POST /chat"], w.starts)
		assert.GreaterOrEqual(t, w.served["POST /chat"], 215)
		assert.Equal(t, 240, w.served["GET /health"])
	}, tokenguard.WithConfig(tokenguard.Moderate()))
}

// A scope that can never work closes itself alone.
func TestAScopeThatNeverWorksStarvesNoOther(t *testing.T) {
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Scope: "private"})
		require.NoError(t, err)
		denied := tokenguard.Failure{StatusCode: 401, Message: `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`}
		time.Sleep(12 * time.Second)
		for range 2 {
			require.NoError(t, w.Report(w.t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Failure: denied}))
			time.Sleep(3 * time.Second)
		}
		_, err = w.Acquire(w.t.Context(), tokenguard.Request{Scope: "private", Failing: grant.Token.ID(), Failure: denied})
		require.ErrorIs(t, err, tokenguard.ErrRefused)
		time.Sleep(300 * time.Second)
		_, err = w.Acquire(w.t.Context(), tokenguard.Request{Scope: "public2"})
		t.Logf("scope private is refused; public2 asks 5 min later: served %v, %d starts", err == nil, w.starts)
		assert.NoError(t, err)
	})
}

// A token that was revoked is replaced at once for the operation that used it a minute ago.
func TestARevokedTokenIsReplacedAtOnce(t *testing.T) {
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		revoked := time.Now().Add(100 * 365 * 24 * time.Hour)
		w.refuses = func(_ string, token tokenguard.Token) tokenguard.Failure {
			if token.AcquiredAt().Before(revoked) && !time.Now().Before(revoked) {
				return tokenDead
			}
			return tokenguard.Failure{}
		}
		for range 10 {
			w.call("a")
			time.Sleep(time.Minute)
		}
		revoked = time.Now()
		w.call("a")
		t.Logf("%d of 11 calls served, %d starts", w.served["a"], w.starts)
		assert.Equal(t, 2, w.starts)
		assert.Equal(t, 11, w.served["a"])
		onEvidencePage(t, "asks again | %d of 11 | %d |", w.served["a"], w.starts)
	})
}

// One value that the upstream gives for two scopes serves both, and what an operation refuses it is not handed under
// another scope either.
func TestOneTokenForTwoScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			starts++
			return tokenguard.NewTokenIn("one for all", 24*time.Hour), nil
		}, tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: time.Second}))
		require.NoError(t, err)
		defer g.Close()
		for range 3 {
			for _, scope := range []string{"a", "b"} {
				grant, err := g.Acquire(t.Context(), tokenguard.Request{Scope: scope, Caller: "x"})
				require.NoError(t, err)
				assert.Equal(t, scope, grant.Token.Scope())
				time.Sleep(time.Minute)
			}
		}
		t.Logf("6 calls for two scopes of one value: %d starts", starts)
		assert.Equal(t, 2, starts, "one for each scope")
		require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: tokenguard.TokenID("one for all"), Caller: "x", Failure: tokenDead}))
		for _, scope := range []string{"a", "b"} {
			e, err := g.Explain(t.Context(), tokenguard.Request{Scope: scope, Caller: "x"})
			require.NoError(t, err)
			assert.NotEqual(t, tokenguard.AnswerServe, e.Verdict.Answer, scope)
			_, err = g.Acquire(t.Context(), tokenguard.Request{Scope: scope, Caller: "y"})
			assert.NoError(t, err, scope)
		}
	})
}

// In a token's first seconds a 401 withholds it until they are over, and that is when Wait comes back.
func TestWaitComesBackWhenATokenHasSpread(t *testing.T) {
	inWorld(t, time.Hour, func(w *tokenWorld) {
		grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: "x"})
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = w.Acquire(w.t.Context(), tokenguard.Request{Caller: "x", Failing: grant.Token.ID(), Failure: tokenDead})
		var refused *tokenguard.RefusedError
		require.True(t, errors.As(err, &refused))
		t.Logf("a 401 in the second after the token came: RetryAt is %v away", time.Until(refused.Verdict.RetryAt))
		assert.Equal(t, 9*time.Second, time.Until(refused.Verdict.RetryAt))
		again, err := w.Wait(w.t.Context(), tokenguard.Request{Caller: "x", Failing: grant.Token.ID(), Failure: tokenDead})
		require.NoError(t, err)
		assert.Equal(t, grant.Token.ID(), again.Token.ID())
		assert.Equal(t, 10*time.Second, time.Since(grant.Token.AcquiredAt()))
		assert.Equal(t, 1, w.starts)
	})
}

// A caller that reports dead tokens each minute takes them from nobody else.
func TestAHostileCaller(t *testing.T) {
	for row, f := range map[string]tokenguard.Failure{
		"a hostile caller reports each token as dead, each minute; tokens of 1 h | honest one": tokenDead,
		"it reports each quota as spent |":           usedUp,
		"it reports a rate limit of 6 h each time |": {StatusCode: 429, Message: "slow down", Header: map[string][]string{"Retry-After": {"21600"}}},
	} {
		inWorld(t, time.Hour, func(w *tokenWorld) {
			for range amount(6, 24) * 60 {
				w.call("honest")
				if grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: "hostile"}); err == nil {
					_ = w.Report(w.t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Caller: "hostile", Failure: f})
				}
				time.Sleep(time.Minute)
			}
			t.Logf("%s: %.1f %% served, %d starts", tokenguard.Classify(f), 100*w.share("honest"), w.starts)
			assert.GreaterOrEqual(t, w.share("honest"), 0.79) // 83.3 % without it
			if amount(6, 24) == 24 {
				onEvidencePage(t, "\n| %s %.1f %% | %d |", row, 100*w.share("honest"), w.starts)
			}
		})
	}
}

// One 401 in a hundred is false. It costs no start where the token had worked.
func TestFalseRefusals(t *testing.T) {
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		n := 0
		w.refuses = func(string, tokenguard.Token) tokenguard.Failure {
			if n++; n%100 == 0 {
				return tokenDead
			}
			return tokenguard.Failure{}
		}
		for range amount(8, 24) * 360 {
			w.call("a")
			time.Sleep(10 * time.Second)
		}
		t.Logf("%.2f %% served, %d starts", 100*w.share("a"), w.starts)
		onEvidencePage(t, "\n| one 401 in a hundred is false, a call each 10 s; tokens of 24 h | %.2f %% | %d |", 100*w.share("a"), w.starts)
		assert.GreaterOrEqual(t, w.share("a"), 0.99)
		assert.LessOrEqual(t, w.starts, int(amount(2, 5)))
	})
}

// What one operation refuses goes on to serve the others, whichever public method told of it, and also in the process after
// this one; and it is not handed to the one that refused it.
func TestOthersKeepATokenThatOneRefuses(t *testing.T) {
	for name, f := range map[string]tokenguard.Failure{"auth": tokenDead, "quota": noneLeft} {
		for _, byReport := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, told by Report: %v", name, byReport), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "state")
				process := func(run func(*tokenWorld)) { inWorld(t, time.Hour, run, tokenguard.WithStateFile(path)) }
				others := func(w *tokenWorld, id string) {
					for _, caller := range []string{"b", "c", ""} {
						grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: caller})
						require.NoError(t, err, "%q", caller)
						assert.Equal(t, id, grant.Token.ID(), "%q", caller)
						assert.NotContains(t, grant.Verdict().Detail, "last resort", "%q: it is an ordinary token for the others", caller)
					}
					_, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: "a"})
					assert.ErrorIs(t, err, tokenguard.ErrRefused, "not to the one that refused it")
					assert.Zero(t, w.starts)
				}
				var id string
				process(func(w *tokenWorld) {
					grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: "b"})
					require.NoError(t, err)
					id, w.starts = grant.Token.ID(), 0
					time.Sleep(time.Minute)
					if byReport {
						require.NoError(t, w.Report(w.t.Context(), tokenguard.Outcome{TokenID: id, Caller: "a", Failure: f}))
					} else {
						_, err = w.Acquire(w.t.Context(), tokenguard.Request{Caller: "a", Failing: id, Failure: f})
						require.ErrorIs(t, err, tokenguard.ErrRefused)
					}
					others(w, id)
				})
				process(func(w *tokenWorld) {
					time.Sleep(time.Minute) // where the first one's clock stood
					others(w, id)
				})
			})
		}
	}
}

// New scopes that flood a guard in which none has worked yet take each start that they are there for. One that waits is
// there when the next opens.
func TestWaitBesideAFloodOfNewScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]bool{}
		g, err := tokenguard.New(func(_ context.Context, req tokenguard.Request) (tokenguard.Token, error) {
			asked[req.Scope] = true
			return tokenguard.NewTokenIn("for "+req.Scope, 24*time.Hour), nil
		})
		require.NoError(t, err)
		defer g.Close()
		ctx, cancel := context.WithCancel(t.Context())
		flooded := make(chan int)
		go func() {
			n := 0
			for ; ctx.Err() == nil; n++ {
				_, _ = g.Acquire(ctx, tokenguard.Request{Caller: fmt.Sprint("crawl ", n), Scope: fmt.Sprint("scope ", n)})
				time.Sleep(7 * time.Second)
			}
			flooded <- n
		}()
		time.Sleep(68 * time.Second)
		began := time.Now()
		_, err = g.Wait(ctx, tokenguard.Request{Caller: "honest", Scope: "honest"})
		require.NoError(t, err)
		assert.Equal(t, 5*time.Minute-68*time.Second, time.Since(began), "the interval after the first start")
		cancel()
		t.Logf("%d new scopes asked, %d got a token, one of them by waiting", <-flooded, len(asked))
		assert.Len(t, asked, 2)
	})
}
