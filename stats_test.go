package tokenguard

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStatsSayWhenTheLastTokenCameAndEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		assert.Zero(t, r.Stats().Acquisitions.LastSuccess)
		assert.Zero(t, r.Stats().Cache.Expiry)
		r.must(Request{})
		time.Sleep(time.Hour)
		second := time.Now()
		r.must(Request{Scope: "eu"})
		s := r.Stats()
		assert.WithinDuration(t, second, s.Acquisitions.LastSuccess, 0)
		assert.WithinDuration(t, second.Add(allDay), s.Cache.Expiry, 0, "of the two the one that ends last")
		time.Sleep(allDay - time.Minute)
		s = r.Stats()
		assert.WithinDuration(t, second.Add(allDay), s.Cache.Expiry, 0)
		time.Sleep(time.Minute)
		s = r.Stats()
		assert.Zero(t, s.Cache.Expiry, "nothing serves any more")
		assert.WithinDuration(t, second, s.Acquisitions.LastSuccess, 0, "it still was")
	})
}

func TestMinutes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		began := time.Now()
		r.up.replies = append(r.up.replies, gives("v", 2*time.Minute), fails(broken))
		r.must(Request{})
		for range 3 {
			_, err := r.Token(t.Context())
			require.NoError(t, err)
		}
		time.Sleep(10 * time.Minute)
		_, err := r.Token(t.Context())
		require.Error(t, err)
		for range 4 {
			r.no(ReasonBackoff, Request{})
		}
		want := []MinuteStats{{began, 4, 0, 0}, {began.Add(10 * time.Minute), 0, 4, 1}}
		assert.Equal(t, want, r.Stats().Calls.Minutes)
		assert.Equal(t, want, r.Stats().Calls.Minutes, "looking changes nothing")
		time.Sleep(time.Minute)
		r.no(ReasonBackoff, Request{})
		want = append(want, MinuteStats{began.Add(11 * time.Minute), 0, 1, 0})
		assert.Equal(t, want, r.Stats().Calls.Minutes)
		time.Sleep(110 * time.Minute)
		assert.Equal(t, want[1:], r.Stats().Calls.Minutes, "two hours")
	})
}

// A window is not forecast to fill up at a time at which nothing may start.
func TestNoForecastFallsIntoABackoffOrAPause(t *testing.T) {
	for name, closes := range map[string]Failure{
		"backoff":     {StatusCode: 503, Message: "service unavailable"},
		"Retry-After": {StatusCode: 429, Message: "slow down", Header: map[string][]string{"Retry-After": {"7200"}}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				for range 3 * 24 * 2 { // half an hour's tokens, for days: two starts an hour
					r.up.replies = append(r.up.replies, gives("v", 29*time.Minute))
					r.must(Request{})
					time.Sleep(30 * time.Minute)
				}
				r.up.replies = append(r.up.replies, fails(closes))
				_, err := r.Token(t.Context())
				require.Error(t, err)
				s := r.Stats()
				require.False(t, s.Limiter.Open)
				opens := s.Limiter.NextAllowed
				require.Greater(t, s.Acquisitions.Hour.Remaining, 0)
				for _, w := range []WindowStats{s.Acquisitions.Hour, s.Acquisitions.Day} {
					assert.False(t, !w.ExhaustedAt.IsZero() && w.ExhaustedAt.Before(opens), "used up at %v, closed until %v", w.ExhaustedAt, opens)
				}
				if opens.Sub(s.At) >= time.Hour {
					assert.Zero(t, s.Acquisitions.Hour.Probability)
				}
			}, WithRateLimits(RateLimits{MaxRequestsPerHour: 4, MaxRequestsPerDay: 100, FailureBackoffBase: 2 * time.Hour, MaxBackoff: 2 * time.Hour}))
		})
	}
}

func TestStatsListTokens(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		began := time.Now()
		r.up.replies = append(r.up.replies, gives("v1", 20*time.Minute), gives("v2", time.Hour))
		first := r.must(Request{}).Token.ID()
		require.NoError(t, r.Report(t.Context(), Outcome{TokenID: first}))
		time.Sleep(30 * time.Minute)
		r.must(Request{Scope: "eu"})
		synctest.Wait()
		tokens := r.Stats().Cache.Tokens
		require.Len(t, tokens, 2)
		assert.Equal(t, "eu", tokens[0].Scope)
		assert.Equal(t, "usable", tokens[0].State)
		assert.Equal(t, began.Add(90*time.Minute), tokens[0].EndsAt)
		assert.Equal(t, "expired", tokens[1].State)
		assert.EqualValues(t, 1, tokens[1].Calls)
	})
}

func TestConfigAndAttempts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		want := Conservative()
		want.RateLimit.MaxRequestsPerHour = 5
		assert.Equal(t, want, r.Config())

		start := time.Now()
		r.must(Request{})
		time.Sleep(time.Hour)
		require.NoError(t, r.Adopt(t.Context(), NewTokenIn("adopted elsewhere", time.Hour)))
		attempts, err := r.Attempts(t.Context())
		require.NoError(t, err)
		require.Len(t, attempts, 2)
		assert.WithinDuration(t, start, attempts[0].Start, time.Second)
		assert.Equal(t, AttemptSucceeded, attempts[0].State)
		assert.Equal(t, AttemptAdopted, attempts[1].State)

		time.Sleep(23*time.Hour + time.Minute)
		attempts, err = r.Attempts(t.Context())
		require.NoError(t, err)
		assert.Len(t, attempts, 1, "the first has left the day window")
	}, WithRateLimits(RateLimits{MaxRequestsPerHour: 5}))
}

func TestExplainAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		require.NoError(t, r.Close())
		_, err := r.Explain(t.Context(), Request{})
		require.ErrorIs(t, err, ErrClosed)
	})
}
