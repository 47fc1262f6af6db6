package redisstore

import (
	"context"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// Two processes, each started anew every ten minutes, keep one account, with a call of each every 30 s: a renewal for each
// value and nothing else, and both have all values.
func TestRenewals(t *testing.T) {
	lasts, most := 26*time.Hour, 29
	if os.Getenv("TOKENGUARD_LONG") != "" {
		lasts, most = 14*24*time.Hour, 375
	}
	skewed(t, &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict}, func(t *testing.T, w *accountWorld) {
		w.SetLatency(200 * time.Millisecond)
		guards := []*tokenguard.Guard{w.renewing(), w.renewing()}
		values := []map[string]bool{{}, {}}
		for began, round := time.Now(), 1; time.Since(began) < lasts; round++ {
			var wg sync.WaitGroup
			for i, g := range guards {
				wg.Go(func() {
					token, err := g.Token(t.Context())
					if err == nil && time.Now().Before(token.Expiry()) {
						values[i][token.Value()] = true
					} else {
						t.Errorf("a caller without a token, %v after the start: %v", time.Since(began), err)
					}
				})
			}
			wg.Wait()
			if round%10 == 0 { // each in its turn
				i := round / 10 % 2
				require.NoError(t, guards[i].Close())
				guards[i] = w.renewing()
			}
			time.Sleep(30 * time.Second)
		}
		all := w.orderly()
		require.Equal(t, 1, w.Counts().Issued)
		require.LessOrEqual(t, len(all), most)
		require.Len(t, values[0], 1+len(all))
		require.Equal(t, values[0], values[1])

		// What people read is the time of the process.
		last := all[len(all)-1]
		token, err := guards[1].Token(t.Context())
		require.NoError(t, err)
		require.WithinDuration(t, last.Ended.Add(time.Hour), token.Expiry(), time.Second)
		known := guards[1].Stats().Renewals.Identities[0]
		require.WithinDuration(t, last.Ended, known.Renewed, time.Second)
		require.WithinDuration(t, token.Expiry(), known.Expiry, time.Second)

		// A process that cannot renew waits for one that can, and until ReplaceAfter past the end.
		script := w.process(w.server)
		same, err := script.Token(t.Context())
		require.NoError(t, err)
		require.True(t, same.Equal(token))
		time.Sleep(2 * time.Hour)
		w.refused(script, tokenguard.ReasonRenewalElsewhere, token.Expiry().Add(24*time.Hour))
		renewed, err := guards[0].Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second) // the default of WithFreshness
		same, err = script.Token(t.Context())
		require.NoError(t, err)
		require.True(t, same.Equal(renewed))
		require.Equal(t, 1, w.Counts().Issued)
		require.Len(t, w.orderly(), len(all)+1)
	})
}

// Over real connections, with hints, and callers that all come when a value ends.
func TestRenewalsAtOnce(t *testing.T) {
	server := startServer(t)
	u := &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict, Lifetime: time.Second}
	u.SetLatency(50 * time.Millisecond)
	up := httptest.NewServer(u)
	defer up.Close()
	var guards []*tokenguard.Guard
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		g := newGuard(t, server.addr(), tokenguardtest.RequestFunc(nil, up.URL),
			tokenguard.WithStore(newStore(t, server.client(), WithTimeout(20*time.Second))), // this machine may be slow
			tokenguard.WithRenewal(tokenguardtest.RenewalFunc(nil, up.URL)),
			tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MinInterval: time.Millisecond, MaxPerHour: 10_000}))
		guards = append(guards, g)
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _ = g.Token(ctx)
					_ = pause(ctx, 5*time.Millisecond)
				}
			})
		}
	}
	wg.Wait()
	w := &accountWorld{Upstream: u, t: t}
	require.GreaterOrEqual(t, len(w.orderly()), 2)
	for _, g := range guards { // a renewal that a caller left goes on
		eventually(t, "it has a value", func() bool {
			_, err := g.Token(t.Context())
			return err == nil
		})
	}
	w.orderly()
	require.Equal(t, 1, u.Counts().Issued)
}

// The limits on renewals hold over both processes, and open when they say.
func TestRenewalLimits(t *testing.T) {
	each := func(t *testing.T, every, lasts time.Duration, guards []*tokenguard.Guard, refused func(*tokenguard.Guard, error)) {
		t.Helper()
		for began := time.Now(); time.Since(began) < lasts; time.Sleep(every) {
			for _, g := range guards {
				if _, err := g.Token(t.Context()); err != nil {
					refused(g, err)
				}
			}
		}
	}
	t.Run("interval", func(t *testing.T) {
		skewed(t, &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict, Lifetime: 30 * time.Second}, func(t *testing.T, w *accountWorld) {
			w.SetLatency(200 * time.Millisecond)
			each(t, time.Second, 10*time.Minute, []*tokenguard.Guard{w.renewing(), w.renewing()}, func(g *tokenguard.Guard, _ error) {
				all := w.Presentations()
				w.refused(g, tokenguard.ReasonRenewalLimit, all[len(all)-1].Ended.Add(time.Minute))
			})
			all := w.orderly()
			require.Greater(t, len(all), 8)
			for i, p := range all[1:] {
				require.GreaterOrEqual(t, p.Began.Sub(all[i].Ended), time.Minute-tick)
				require.Less(t, p.Began.Sub(all[i].Ended), time.Minute+3*time.Second)
			}
			require.Equal(t, 1, w.Counts().Issued)
		})
	})
	t.Run("hour", func(t *testing.T) {
		skewed(t, &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict, Lifetime: 5 * time.Minute}, func(t *testing.T, w *accountWorld) {
			const perHour = 4
			few := tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MaxPerHour: perHour})
			each(t, 10*time.Second, 3*time.Hour, []*tokenguard.Guard{w.renewing(few), w.renewing(few)}, func(g *tokenguard.Guard, _ error) {
				all := w.Presentations()
				w.refused(g, tokenguard.ReasonRenewalLimit, all[len(all)-perHour].Began.Add(time.Hour))
			})
			all := w.orderly()
			require.GreaterOrEqual(t, len(all), 2*perHour+1)
			for i := perHour; i < len(all); i++ {
				require.GreaterOrEqual(t, all[i].Began.Sub(all[i-perHour].Began), time.Hour-tick)
			}
			require.Equal(t, 1, w.Counts().Issued)
		})
	})
}

// The connection breaks after the upstream has answered a renewal, and before that is committed.
func TestRenewalCutBeforeItsCommit(t *testing.T) {
	const lease = 15 * time.Second // the timeout and 5 s
	for name, rotation := range map[string]tokenguardtest.Rotation{
		"comes back": tokenguardtest.RotateStrict, "closes": tokenguardtest.RotateStrict,
		"stays away": tokenguardtest.RotateParent, // the refresh token is presented again: it may have been used
	} {
		t.Run(name, func(t *testing.T) {
			target := startServer(t).addr()
			nobody := "127.0.0.1:" + strconv.Itoa(freePort(t))
			proxies := []*proxy{startProxy(t, target), startProxy(t, target), startProxy(t, target)} // their reads would hold up a bubble's clock
			skewed(t, &tokenguardtest.Upstream{Rotation: rotation}, func(t *testing.T, w *accountWorld) {
				link := proxies[0]
				proxies, w.server, w.time.direct = proxies[1:], target, newClient(t, target)
				near := w.process(link.addr(), tokenguard.WithRenewal(func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
					token, err := w.renew()(ctx, old)
					if len(w.Presentations()) == 1 {
						link.turnTo(nobody)
					}
					return token, err
				}))
				far := w.renewing()
				token := func(g *tokenguard.Guard) tokenguard.Token {
					t.Helper()
					got, err := g.Token(t.Context())
					require.NoError(t, err)
					return got
				}
				first := token(near)
				time.Sleep(54 * time.Minute)
				require.True(t, token(far).Equal(first))
				time.Sleep(2 * time.Minute)
				renewed := token(near)
				require.False(t, renewed.Equal(first), "what is waiting for the store serves here")
				began := w.Presentations()[0].Began

				until := func(end time.Duration) {
					t.Helper()
					for time.Since(began) < end {
						require.True(t, token(near).Equal(renewed))
						require.True(t, token(far).Equal(first))
						require.Len(t, w.Presentations(), 1, "%v after the intent", time.Since(began))
						time.Sleep(time.Second)
					}
				}
				until(8 * time.Second)
				if name != "stays away" {
					link.turnTo(target)
					time.Sleep(2 * time.Second) // the store is tried again
				}
				switch name {
				case "comes back":
					require.True(t, token(near).Equal(renewed), "this call, or the next, commits what waited")
					time.Sleep(time.Second)
					require.True(t, token(near).Equal(renewed))
				case "closes":
					require.NoError(t, near.Close())
				case "stays away":
					until(lease - time.Second)
					for len(w.Presentations()) == 1 && time.Since(began) < time.Minute {
						token(far)
						time.Sleep(100 * time.Millisecond)
					}
					again := w.Presentations()[1]
					require.GreaterOrEqual(t, again.Began.Sub(began), lease-tick)
					require.Equal(t, tokenguardtest.Recovered, again.Result)
					require.True(t, token(near).Equal(renewed))
					link.turnTo(target)
					time.Sleep(2 * time.Second)
					token(near) // commits what waited: an answer to a refresh token that was replaced meanwhile
					time.Sleep(time.Second)
					token(near)
					time.Sleep(time.Second)
					require.True(t, token(near).Equal(token(far)))
					require.Len(t, w.Presentations(), 2)
					time.Sleep(2 * time.Hour)
					token(near)
					require.Equal(t, tokenguardtest.Renewed, w.Presentations()[2].Result, "the refresh token that came last is the one that is kept")
					require.Equal(t, 1, w.Counts().Issued)
					return
				}
				time.Sleep(time.Second) // the default of WithFreshness
				require.True(t, token(far).Equal(renewed))
				for range 240 {
					time.Sleep(30 * time.Second)
					token(far)
				}
				require.Len(t, w.orderly(), 3)
				require.Equal(t, 1, w.Counts().Issued)
			})
		})
	}
}

// A Retry-After that an acquisition was told closes acquisitions, and no renewal.
func TestRenewalThroughAnAcquisitionsRetryAfter(t *testing.T) {
	skewed(t, &tokenguardtest.Upstream{Rotation: tokenguardtest.RotateStrict, IssueLimit: 1, IssueWindow: 12 * time.Hour}, func(t *testing.T, w *accountWorld) {
		one, two := w.renewing(), w.renewing()
		began := time.Now()
		_, err := one.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		_, err = two.Acquire(t.Context(), tokenguard.Request{Scope: "another"})
		require.Error(t, err)
		for time.Since(began) < 11*time.Hour {
			for _, g := range []*tokenguard.Guard{one, two} {
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				_, err = g.Acquire(t.Context(), tokenguard.Request{Scope: "another"})
				require.Equal(t, tokenguard.ReasonRetryAfter, reason(err), "%v", err)
			}
			time.Sleep(time.Minute)
		}
		require.Len(t, w.orderly(), 11)
		require.Equal(t, map[int]int{429: 1}, w.Counts().RefusedIssues)
	})
}
