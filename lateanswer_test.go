package tokenguard_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// An answer that comes after its attempt was given up is honoured all the same: its Retry-After, a refusal of the key, a ban.
// It frees nothing, and says nothing of a key that had a token since.
func TestALateAnswerIsHonoured(t *testing.T) {
	limited := tokenguard.Failure{StatusCode: 429, Message: "too many requests", Header: map[string][]string{"Retry-After": {"21600"}}}
	banned := tokenguard.Failure{StatusCode: 403, Message: "your IP address has been banned"}
	refused := tokenguard.Failure{StatusCode: 401, Message: "invalid client credentials"}
	const late, backoff = 45 * time.Second, 10 * time.Minute
	for name, c := range map[string]struct {
		answer     tokenguard.Failure
		own, other time.Duration // from the late answer until the next start
	}{
		"Retry-After":   {limited, 6 * time.Hour, 6 * time.Hour},
		"a ban":         {banned, time.Hour, time.Hour},
		"a refusal":     {refused, time.Hour, backoff - late + 32500*time.Millisecond},
		"nothing to it": {tokenguard.Failure{StatusCode: 503}, backoff - late + 32500*time.Millisecond, backoff - late + 32500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
					time.Sleep(late)
					return tokenguard.Token{}, tokenguard.Failed(c.answer)
				})
				require.NoError(t, err)
				defer g.Close()
				began := time.Now()
				_, err = g.Acquire(t.Context(), tokenguard.Request{})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				time.Sleep(late - time.Since(began))
				synctest.Wait()
				for scope, want := range map[string]time.Duration{"": c.own, "other": c.other} {
					e, err := g.Explain(t.Context(), tokenguard.Request{Scope: scope})
					require.NoError(t, err)
					assert.Equal(t, want, time.Until(e.Verdict.RetryAt), "%q: %s", scope, e.Verdict.Detail)
				}
			})
		})
	}
	t.Run("after a newer token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int32
			g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
				if n.Add(1) > 1 {
					return tokenguard.NewTokenIn("newer", 10*time.Minute), nil
				}
				time.Sleep(20 * time.Minute)
				return tokenguard.Token{}, tokenguard.Failed(refused)
			})
			require.NoError(t, err)
			defer g.Close()
			began := time.Now()
			_, err = g.Acquire(t.Context(), tokenguard.Request{})
			require.Error(t, err)
			time.Sleep(11 * time.Minute)
			_, err = g.Acquire(t.Context(), tokenguard.Request{})
			require.NoError(t, err)
			time.Sleep(22*time.Minute - time.Since(began))
			_, err = g.Acquire(t.Context(), tokenguard.Request{})
			require.NoError(t, err, "the newer token has ended, and the late refusal was of an older attempt")
		})
	})
}

// The endpoint of a renewal that is answered late with a Retry-After is left alone, by renewals and by acquisitions.
func TestALateRetryAfterOfARenewalIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var renewals atomic.Int32
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			return tokenguard.NewTokenIn("value", 10*time.Minute).WithRefreshToken("refresh", time.Time{}), nil
		}, tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
			renewals.Add(1)
			time.Sleep(20 * time.Second)
			return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 429, Header: map[string][]string{"Retry-After": {"21600"}}})
		}))
		require.NoError(t, err)
		defer g.Close()
		_, err = g.Acquire(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		time.Sleep(11 * time.Minute)
		began := time.Now()
		_, err = g.Acquire(t.Context(), tokenguard.Request{})
		require.Error(t, err, "the value has ended")
		time.Sleep(20*time.Second - time.Since(began))
		synctest.Wait()
		for _, scope := range []string{"", "other"} {
			e, err := g.Explain(t.Context(), tokenguard.Request{Scope: scope})
			require.NoError(t, err)
			assert.Equal(t, 6*time.Hour, time.Until(e.Verdict.RetryAt), "%q: %s", scope, e.Verdict.Detail)
		}
		assert.Equal(t, int32(1), renewals.Load())
	})
}

// An upstream that takes longer than the guard waits, and then says that the account is banned or gone, is believed: no other
// account answers the ban, and the one that is gone is replaced. Each is an event.
func TestALateRefusalOfARenewalIsHonoured(t *testing.T) {
	for name, c := range map[string]struct {
		answer  error
		signUps int32
		within  time.Duration
		event   tokenguard.EventKind
		text    string
	}{
		"banned": {tokenguard.Failed(tokenguard.Failure{StatusCode: 403, Message: "your account has been banned"}), 1, 72 * time.Hour,
			tokenguard.EventState, "an answer that came after its renewal was given up is honoured (forbidden): "},
		"gone": {tokenguard.Failed(tokenguard.Failure{StatusCode: 400, Message: `{"error":"invalid_grant"}`}), 2, 2 * time.Hour,
			tokenguard.EventIdentityEnded, "the upstream does not know the account any more: "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var signUps, renewals, events atomic.Int32
				g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
					n := signUps.Add(1)
					return tokenguard.NewTokenIn(fmt.Sprint("value ", n), time.Hour).WithRefreshToken(fmt.Sprint("refresh ", n), time.Time{}), nil
				}, tokenguard.WithRenewal(func(_ context.Context, old tokenguard.Token) (tokenguard.Token, error) {
					renewals.Add(1)
					if old.RefreshToken() == "refresh 2" {
						return tokenguard.NewTokenIn(fmt.Sprint("renewed ", renewals.Load()), time.Hour), nil
					}
					time.Sleep(45 * time.Second)
					return tokenguard.Token{}, c.answer
				}), tokenguard.WithObserver(func(e tokenguard.Event) {
					if e.Kind == c.event && strings.HasPrefix(e.Text, c.text) {
						events.Add(1)
					}
				}))
				require.NoError(t, err)
				defer g.Close()
				token, err := g.Token(t.Context())
				require.NoError(t, err)
				require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
				for began := time.Now(); time.Since(began) < c.within; time.Sleep(time.Minute) {
					_, err = g.Token(t.Context())
				}
				assert.Equal(t, c.signUps, signUps.Load())
				assert.Equal(t, c.signUps == 1, err != nil)
				assert.Positive(t, events.Load())
				t.Logf("%d sign-ups, %d renewals, %d events", signUps.Load(), renewals.Load(), events.Load())
			})
		})
	}
}

// A late refusal of an acquisition that is entered is an event as well, also one without a text.
func TestALateRefusalIsAnEvent(t *testing.T) {
	for want, answer := range map[string]tokenguard.Failure{
		"(forbidden): 403: your IP address has been banned": {StatusCode: 403, Message: "your IP address has been banned"},
		"(rate_limited): HTTP status 429":                   {StatusCode: 429, Header: http.Header{"Retry-After": {"7200"}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var texts []string
			g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
				time.Sleep(45 * time.Second)
				return tokenguard.Token{}, tokenguard.Failed(answer)
			}, tokenguard.WithObserver(func(e tokenguard.Event) {
				if e.Kind == tokenguard.EventState {
					texts = append(texts, e.Text)
				}
			}))
			require.NoError(t, err)
			defer g.Close()
			_, err = g.Token(t.Context())
			require.Error(t, err)
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.Equal(t, []string{"an answer that came after its acquisition was given up is honoured " + want}, texts)
		})
	}
}
