package tokenguard

import (
	"fmt"
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

// Who used the budget: acquisitions of the day by scope and operation, also of other processes; refusals of this one.
func TestUsageByScopeAndOperation(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.replies = append(r.up.replies, gives("v1", 10*time.Hour), gives("v2", 10*time.Hour))
		r.must(Request{Scope: "eu", Caller: "billing 17"})
		for range 5 {
			_, err := r.Acquire(t.Context(), Request{Scope: "eu", Caller: "search"})
			require.NoError(t, err)
		}
		r.no(ReasonMinInterval, Request{Scope: "us", Caller: "search"})
		r.no(ReasonMinInterval, Request{Scope: "us", Caller: "search"})
		r.no(ReasonMinInterval, Request{Scope: "us", Caller: "billing 18"})
		time.Sleep(10 * time.Minute)
		r.must(Request{Scope: "us", Caller: "billing 19"})
		s := r.Stats()
		assert.Equal(t, []Usage{{Name: "us", Acquisitions: 1, Refused: 3}, {Name: "eu", Acquisitions: 1}}, s.Usage.Scopes)
		require.Len(t, s.Usage.Operations, 2)
		assert.Contains(t, s.Usage.Operations[0].Name, "billing", "the numbers are no part of it")
		assert.Equal(t, [2]int64{2, 1}, [2]int64{int64(s.Usage.Operations[0].Acquisitions), s.Usage.Operations[0].Refused})
		assert.Equal(t, Usage{Name: "search", Refused: 2}, s.Usage.Operations[1])
		assert.EqualValues(t, 5, s.Cache.Hits, "each hit once")
		time.Sleep(25 * time.Hour)
		assert.Zero(t, r.Stats().Usage.Operations[0].Acquisitions, "of the last 24 hours")
	})
}

// A flood of names that come once takes the place of none that comes often, and nothing is lost from the sums.
func TestUsageSurvivesAFlood(t *testing.T) {
	var table usageTable
	var beside usageCount
	for i := range 10_000 {
		asker{table.of(fmt.Sprint("flood ", i)), &beside}.refused()
		if i%3 == 0 {
			asker{table.of("often"), &beside}.refused()
		}
	}
	out := table.stats(map[string]int{"elsewhere": 2}, 1)
	assert.Equal(t, Usage{Name: "elsewhere", Acquisitions: 2}, out[0])
	assert.Equal(t, "often", out[1].Name)
	assert.EqualValues(t, 3334, out[1].Refused)
	require.Len(t, out, usageShown+1)
	assert.True(t, out[usageShown].Rest)
	var sum int64
	for _, u := range out {
		sum += u.Refused
	}
	assert.EqualValues(t, 13_334, sum)
	assert.Len(t, table.byName, usageKept)
}

// A name that lost its place counts no more for itself, and its call that is under way is not lost.
func TestUsagePlaceIsHandedOn(t *testing.T) {
	var table usageTable
	var beside usageCount
	old := table.of("old")
	asker{old, &beside}.refused()
	for i := range usageKept {
		one := asker{table.of(fmt.Sprint(i)), &beside}
		one.refused()
		one.refused()
	}
	assert.Nil(t, table.byName["old"])
	assert.EqualValues(t, 1, table.rest)
	asker{old, &beside}.refused() // by an answer that was remembered
	sum := table.rest
	for _, c := range table.byName {
		sum += c.now()
	}
	assert.EqualValues(t, 2*usageKept+2, sum)
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
