package tokenguardtest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// spy is a testing.TB that notes failures instead of failing.
type spy struct {
	testing.TB
	failures []string
}

func (s *spy) Helper() {}
func (s *spy) Errorf(format string, a ...any) {
	s.failures = append(s.failures, fmt.Sprintf(format, a...))
}

func refused(at time.Time, reason tokenguard.Reason) tokenguard.Event {
	return tokenguard.Event{At: at, Kind: tokenguard.EventRefused, Caller: "worker",
		Verdict: tokenguard.Verdict{Step: tokenguard.StepLimiter, Reason: reason, RetryAt: at.Add(5 * time.Minute)}}
}

func TestRecorderExpect(t *testing.T) {
	var r Recorder
	require.Equal(t, "no events", r.String())
	r.Observe(tokenguard.Event{At: noon, Kind: tokenguard.EventStarted})
	r.Observe(refused(noon.Add(time.Second), tokenguard.ReasonMinInterval))
	require.Equal(t, []tokenguard.EventKind{tokenguard.EventStarted, tokenguard.EventRefused}, r.Kinds())

	require.True(t, r.Expect(t, "started", "refused min_interval"))
	require.True(t, r.Expect(t, "started", "refused"))

	for _, tt := range []struct {
		want []string
		says string
	}{
		{[]string{"started", "refused backoff"}, `event 2: got "refused min_interval", want "refused backoff"`},
		{[]string{"started"}, `event 2: got "refused min_interval", want nothing more`},
		{[]string{"started", "refused", "served"}, `event 3: want "served", but nothing more happened`},
		{[]string{"acquired"}, `event 1: got "started", want "acquired"`},
	} {
		s := &spy{}
		require.False(t, r.Expect(s, tt.want...))
		require.Len(t, s.failures, 1)
		require.True(t, strings.HasPrefix(s.failures[0], tt.says), s.failures[0])
		require.Contains(t, s.failures[0], "5m0s", "the table shows the wait")
		require.Contains(t, s.failures[0], "worker")
	}
	r.Reset()
	require.True(t, r.Expect(t))
}

func TestRecorderAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Recorder
		done := make(chan error, 1)
		go func() { done <- r.Await(t.Context(), tokenguard.EventRefused, 2) }()
		for range 2 {
			synctest.Wait()
			require.Empty(t, done)
			r.Observe(refused(noon, tokenguard.ReasonBackoff))
		}
		require.NoError(t, <-done)
		require.Len(t, r.Events(), 2)
	})
}
