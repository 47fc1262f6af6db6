package tokenguard

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whichever way an answer comes that asks for a pause, it is as long as stated, at most 31 days, and its cut is told once. An
// answer to the guard's own question is no older than that, whatever its time says.
func TestRetryAfterByEachWay(t *testing.T) {
	const month = 31 * 24 * time.Hour
	for way, tell := range map[string]func(*testing.T, Failure, Option) time.Duration{
		"the acquisition": func(t *testing.T, f Failure, o Option) time.Duration {
			g := newTestGuard(t, fails(f), o)
			_, err := g.Token(t.Context())
			require.Error(t, err)
			return pausedFor(t, g, Request{})
		},
		"the renewal": func(t *testing.T, f Failure, o Option) time.Duration {
			g := newTestGuard(t, func(context.Context, Request) (Token, error) {
				return NewTokenIn("value", 10*time.Minute).WithRefreshToken("made up to renew it", time.Time{}), nil
			}, o, WithRenewal(func(context.Context, Token) (Token, error) { return Token{}, Failed(f) }))
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(10 * time.Minute)
			if !f.At.IsZero() {
				f.At = f.At.Add(10 * time.Minute)
			}
			_, err = g.Token(t.Context())
			require.Error(t, err)
			return pausedFor(t, g, Request{})
		},
		"Report": func(t *testing.T, f Failure, o Option) time.Duration {
			f.At = time.Time{} // an observation may be old
			g := newTestGuard(t, gives("value", 100*24*time.Hour), o)
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			require.NoError(t, g.Report(t.Context(), Outcome{TokenID: TokenID("value"), Failure: f}))
			until, err := g.Paused(t.Context(), Request{})
			require.NoError(t, err)
			return time.Until(until)
		},
		"Acquire": func(t *testing.T, f Failure, o Option) time.Duration {
			f.At = time.Time{}
			g := newTestGuard(t, gives("value", 100*24*time.Hour), o)
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			_, err = g.Acquire(t.Context(), Request{Failing: TokenID("value"), Failure: f})
			require.Error(t, err)
			return pausedFor(t, g, Request{Failing: TokenID("value"), Failure: f})
		},
	} {
		for stated, pause := range map[time.Duration]time.Duration{2 * time.Hour: 2 * time.Hour, month: month, month + time.Second: month, 400 * 24 * time.Hour: month} {
			for _, at := range []time.Duration{0, -3 * time.Hour, 3 * time.Hour, -time.Nanosecond} {
				t.Run(fmt.Sprintf("%s/%v/at %v", way, stated, at), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := Failure{StatusCode: 429, Message: "slow down", Header: map[string][]string{"Retry-After": {fmt.Sprint(int(stated.Seconds()))}}}
						if at != 0 {
							f.At = time.Now().Add(at)
						}
						cuts := 0
						got := tell(t, f, WithObserver(func(e Event) {
							if e.Kind == EventState && strings.Contains(e.Text, "cut") {
								cuts++
							}
						}))
						assert.Equal(t, pause, got)
						assert.Equal(t, stated > month, cuts == 1, "%d cuts", cuts)
					})
				})
			}
		}
	}
}

// pausedFor is for how long a request is refused.
func pausedFor(t *testing.T, g *Guard, req Request) time.Duration {
	_, err := g.Acquire(t.Context(), req)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	return time.Until(refused.Verdict.RetryAt)
}
