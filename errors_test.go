package tokenguard

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every reason with its step and its sentinel: no other one matches.
func TestReasons(t *testing.T) {
	all := []error{ErrDuplicate, ErrNotNeeded, ErrInProgress, ErrUpstreamLimited, ErrForbidden, ErrRateLimited, ErrBackoff, ErrStore, ErrClosed}
	for reason, want := range map[Reason]struct {
		step Step
		is   error
	}{
		ReasonDuplicate: {StepDedup, ErrDuplicate}, ReasonCached: {StepCache, nil}, ReasonPersonal: {StepCache, nil},
		ReasonPersonalUnavailable: {StepCache, ErrNotNeeded}, ReasonJoined: {StepGate, nil}, ReasonTooManyWaiters: {StepGate, ErrInProgress},
		ReasonUpstreamRateLimited: {StepManager, ErrUpstreamLimited}, ReasonForbidden: {StepManager, ErrForbidden}, ReasonPersonalUsable: {StepManager, ErrNotNeeded},
		ReasonNotQuotaFailure: {StepManager, ErrNotNeeded}, ReasonTokenTooNew: {StepManager, ErrNotNeeded}, ReasonRecentAcquisition: {StepManager, ErrNotNeeded},
		ReasonResetsSoon: {StepManager, ErrNotNeeded}, ReasonUnconfirmed: {StepManager, ErrNotNeeded}, ReasonNotShared: {StepManager, ErrNotNeeded}, ReasonKeptBack: {StepManager, ErrRateLimited}, ReasonHourLimit: {StepLimiter, ErrRateLimited}, ReasonDayLimit: {StepLimiter, ErrRateLimited},
		ReasonMinInterval: {StepLimiter, ErrRateLimited}, ReasonBackoff: {StepLimiter, ErrBackoff}, ReasonRetryAfter: {StepLimiter, ErrBackoff},
		ReasonQuotaSufficient: {StepPredictor, ErrNotNeeded}, ReasonAcquired: {StepRequest, nil}, ReasonRequestFailed: {StepRequest, nil},
		ReasonRenewed: {StepRenewal, nil}, ReasonRenewalLimit: {StepRenewal, ErrRateLimited}, ReasonRenewalBackoff: {StepRenewal, ErrBackoff}, ReasonRenewalElsewhere: {StepRenewal, ErrNotNeeded},
		ReasonStoreUnavailable: {StepStore, ErrStore}, ReasonClosed: {StepStore, ErrClosed},
	} {
		err := &RefusedError{Verdict: Verdict{Reason: reason}}
		assert.ErrorIs(t, err, ErrRefused)
		for _, s := range all {
			assert.Equal(t, s == want.is, s == want.is && err.Is(s) || s != want.is && err.Is(s), "%s: %v", reason, s)
		}
		i, ok := answerIndex[reason]
		require.True(t, ok, reason)
		assert.Equal(t, want.step, answerKeys[i].step, reason)
	}
	for reason := range sentinels {
		assert.Contains(t, answerIndex, reason)
	}
	assert.Len(t, answerKeys, 30)
}
