package tokenguard_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

func scoped(name string) tokenguard.Request { return tokenguard.Request{Scope: name} }

func TestSlidingWindows(t *testing.T) {
	u := newUser(t)
	u.served(acquired, scoped("1"))
	u.refusedUntil(oddStart.Add(300*time.Second), tokenguard.ReasonMinInterval, scoped("2"))
	u.served(acquired, scoped("2"))
	u.clock.move(300 * time.Second)
	u.served(acquired, scoped("3"))
	u.clock.move(300 * time.Second)
	refusal := u.refused(tokenguard.ReasonHourLimit, scoped("4"))
	assert.ErrorIs(t, refusal, tokenguard.ErrRateLimited)
	u.refusedUntil(oddStart.Add(time.Hour), tokenguard.ReasonHourLimit, scoped("4"))
	for i := 4; i <= 20; i++ {
		u.served(acquired, scoped(strconv.Itoa(i)))
		u.clock.move(21 * time.Minute)
	}
	u.refusedUntil(oddStart.Add(24*time.Hour), tokenguard.ReasonDayLimit, scoped("21"))
	u.served(acquired, scoped("21"))
}

func TestHourLimitAboveTheDayLimit(t *testing.T) {
	u := newUser(t, tokenguard.WithRateLimits(tokenguard.RateLimits{MaxRequestsPerHour: 50, MaxRequestsPerDay: 1}))
	u.served(acquired, plain)
	u.clock.move(time.Hour)
	u.refusedUntil(oddStart.Add(24*time.Hour), tokenguard.ReasonDayLimit, scoped("2"))
}

func TestBackoffSequence(t *testing.T) {
	file := tokenguard.WithStateFile(t.TempDir() + "/state")
	u := newUser(t, file)
	u.up.next = []tokenguard.RequestFunc{failing(serverDown)}
	for n, pause := range []time.Duration{600, 1200, 2400, 3600, 3600} {
		u.fails(plain)
		require.NoError(t, u.Close())
		u.Guard = u.open(file)
		refusal := u.refused(tokenguard.ReasonBackoff, plain)
		assert.ErrorIs(t, refusal, tokenguard.ErrBackoff)
		assert.ErrorContains(t, refusal.Unwrap(), "service unavailable", "the remembered failure, rebuilt")
		assert.Equal(t, n+1, u.Stats().Limiter.ConsecutiveFailures)
		u.refusedUntil(u.now().Add(pause*time.Second), tokenguard.ReasonBackoff, plain)
	}
	u.up.mu.Lock()
	u.up.next = nil
	u.up.mu.Unlock()
	u.served(acquired, plain)
	assert.Zero(t, u.Stats().Limiter.ConsecutiveFailures)
}

func TestRetryAfter(t *testing.T) {
	for _, test := range []struct {
		header string
		pause  time.Duration
	}{
		{"7200", 2 * time.Hour},
		{"200000", 200000 * time.Second},
		{"5000000", 31 * 24 * time.Hour},
		{strconv.FormatInt(oddStart.Add(5*time.Hour).Unix(), 10), 5*time.Hour - time.Duration(oddStart.Nanosecond())},
		{oddStart.Add(3 * time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), 3*time.Hour - time.Duration(oddStart.Nanosecond())},
	} {
		u := newUser(t)
		f := tokenguard.Failure{StatusCode: 503, Message: "busy", Header: map[string][]string{"Retry-After": {test.header}}}
		u.up.next = []tokenguard.RequestFunc{failing(f), nil}
		failed := u.fails(plain)
		assert.Equal(t, oddStart.Add(test.pause), failed.RetryAt, test.header)
		assert.ErrorIs(t, u.refused(tokenguard.ReasonRetryAfter, scoped("other")), tokenguard.ErrBackoff, "it closes the whole guard")
		u.refusedUntil(oddStart.Add(test.pause), tokenguard.ReasonRetryAfter, plain)
		u.served(acquired, plain)
	}
}

func TestHopelessKeyClosesAlone(t *testing.T) {
	for _, f := range []tokenguard.Failure{{StatusCode: 403, Message: "no permission for this scope"}, badRequest, unauthorized} {
		u := newUser(t)
		closes := failing(f)
		u.up.next = []tokenguard.RequestFunc{func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
			if req.Scope == "hopeless" {
				return closes(ctx, req)
			}
			return tokenguard.NewTokenIn("for-"+req.Scope, 48*time.Hour), nil
		}}
		for i, pause := range []time.Duration{1, 2, 4, 8, 16, 24, 24} {
			failed := u.fails(scoped("hopeless"))
			until := u.now().Add(pause * time.Hour)
			assert.Equal(t, until, failed.RetryAt)
			u.clock.move(300 * time.Second)
			if i == 0 {
				u.served(acquired, scoped("good"))
			}
			u.refusedUntil(until, tokenguard.ReasonBackoff, scoped("hopeless"))
		}
	}
}

func TestUnusableResultsFail(t *testing.T) {
	for name, next := range map[string]tokenguard.RequestFunc{
		"empty":                      issuing("", time.Hour),
		"a lifetime in a wrong unit": issuing("v", 3600),
		"negative lifetime":          issuing("v", -time.Hour),
		"past its expiry": func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewToken("v", oddStart.Add(-time.Second)), nil
		},
		"panic": func(context.Context, tokenguard.Request) (tokenguard.Token, error) { panic("boom") },
		"goexit": func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			runtime.Goexit()
			panic("unreachable")
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.up.next = []tokenguard.RequestFunc{next}
			u.fails(plain)
			assert.Equal(t, 1, u.Stats().Acquisitions.Hour.Used)
			u.refusedUntil(oddStart.Add(600*time.Second), tokenguard.ReasonBackoff, plain)
		})
	}
}

func TestTheRejectedTokenAgainFails(t *testing.T) {
	u := newUser(t)
	u.up.next = []tokenguard.RequestFunc{issuing("same", time.Hour)}
	token := u.served(acquired, plain).Token
	u.report(tokenguard.Outcome{TokenID: token.ID()})
	u.clock.move(10 * time.Minute)
	u.fails(with(unauthorized, token))
}

func TestErrorStaysUntouched(t *testing.T) {
	u := newUser(t)
	mine := errors.New("connection reset by peer")
	u.up.next = []tokenguard.RequestFunc{func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.Token{}, mine
	}}
	failed := u.fails(plain)
	assert.True(t, failed.Unwrap() == mine)
	assert.Equal(t, tokenguard.ClassTransient, failed.Class)
	assert.Equal(t, tokenguard.StepRequest, failed.Verdict.Step)
	assert.Equal(t, tokenguard.ReasonRequestFailed, failed.Verdict.Reason)
}

func TestAdoptIsChargedAndClearFreesNoStart(t *testing.T) {
	u := newUser(t)
	require.NoError(t, u.Adopt(t.Context(), tokenguard.NewTokenIn("fetched elsewhere", time.Hour)))
	u.served(cached, plain)
	require.NoError(t, u.Clear(t.Context(), tokenguard.Clear{Suspicion: "*", Backoff: true, RetryAfter: true}))
	assert.Equal(t, 1, u.Stats().Acquisitions.Hour.Used)
	u.refusedUntil(oddStart.Add(300*time.Second), tokenguard.ReasonMinInterval, scoped("2"))
	u.up.next = []tokenguard.RequestFunc{failing(serverDown)}
	u.fails(scoped("2"))
	require.NoError(t, u.Clear(t.Context(), tokenguard.Clear{Backoff: true}))
	u.refusedUntil(u.now().Add(300*time.Second), tokenguard.ReasonMinInterval, scoped("2"))
}

// inBubble runs f with a guard whose RequestFunc takes a second, unless its context ends first.
func inBubble(t *testing.T, f func(t *testing.T, g *tokenguard.Guard, up *origin), opts ...tokenguard.Option) {
	synctest.Test(t, func(t *testing.T) {
		up := &origin{lifetime: time.Hour}
		up.next = []tokenguard.RequestFunc{func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
			select {
			case <-ctx.Done():
				return tokenguard.Token{}, ctx.Err()
			case <-time.After(time.Second):
				return tokenguard.NewTokenIn("secret-of-"+req.Scope, time.Hour), nil
			}
		}}
		g, err := tokenguard.New(up.request, append([]tokenguard.Option{tokenguard.WithClock(bubbleClock{})}, opts...)...)
		require.NoError(t, err)
		f(t, g, up)
		require.NoError(t, g.Close())
	})
}

func TestOneAcquisitionForAll(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		leaderCtx, leave := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			_, err := g.Token(leaderCtx)
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 20 {
			group.Go(func() {
				token, err := g.Token(t.Context())
				assert.NoError(t, err)
				assert.Equal(t, "secret-of-", token.Value())
			})
		}
		synctest.Wait()
		leave() // the acquisition runs on
		group.Wait()
		assert.Equal(t, 1, up.count())
	})
}

func TestAtMostThreeKeysAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		began := time.Now()
		var group sync.WaitGroup
		for _, s := range []string{"a", "b", "c", "d"} {
			group.Go(func() {
				grant, err := g.Wait(t.Context(), scoped(s))
				assert.NoError(t, err)
				assert.Equal(t, s, grant.Token.Scope())
			})
			time.Sleep(time.Nanosecond)
			synctest.Wait()
		}
		assert.Equal(t, 3, up.count())
		group.Wait()
		assert.Equal(t, 4, up.count())
		assert.GreaterOrEqual(t, time.Since(began), 2*time.Second)
	}, tokenguard.WithRateLimits(tokenguard.RateLimits{MinInterval: 1, MaxRequestsPerHour: 10}))
}

func TestHangEndsAtTheTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		up.next = []tokenguard.RequestFunc{func(ctx context.Context, _ tokenguard.Request) (tokenguard.Token, error) {
			<-ctx.Done()
			return tokenguard.Token{}, ctx.Err()
		}}
		began := time.Now()
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				_, err := g.Token(t.Context())
				var failed *tokenguard.RequestError
				assert.ErrorAs(t, err, &failed)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		group.Wait()
		assert.Equal(t, 30*time.Second, time.Since(began))
		assert.Equal(t, 1, up.count())
	})
}

func TestCloseReleasesWaiters(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		began := time.Now()
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				_, err := g.Wait(t.Context(), plain)
				assert.ErrorIs(t, err, tokenguard.ErrClosed)
				assert.ErrorIs(t, err, tokenguard.ErrRefused)
				assert.Zero(t, time.Since(began), "at once")
			})
		}
		synctest.Wait()
		require.NoError(t, g.Close())
		assert.Equal(t, time.Second, time.Since(began), "the acquisition may finish")
		group.Wait()
		_, err := g.Token(t.Context())
		assert.ErrorIs(t, err, tokenguard.ErrClosed)
	})
}

func TestWait(t *testing.T) {
	inBubble(t, func(t *testing.T, g *tokenguard.Guard, up *origin) {
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = g.Wait(short, scoped("other"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, tokenguard.ErrRateLimited)
		_, err = g.Wait(t.Context(), scoped("other"))
		require.NoError(t, err)
		assert.Equal(t, 2, up.count())
	})
}
