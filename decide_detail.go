package tokenguard

import (
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
)

// summary is a decision in words. Instants are absolute, so that the words stay true for as long as the decision does.
func (v *view) summary(rl ruling, r reading) string {
	out := v.detail(rl, r)
	if v.full != nil && rl.step == dStepLimiter {
		out += fmt.Sprintf("; the store is unavailable, or was in the last hour: this process keeps to its share of 1/%d", v.policy.Share)
	}
	if v.q.class != "" && v.q.failing == "" && (rl.answer == dAnswerRefuse || rl.answer == dAnswerServe) {
		out += "; the failure names no token, so it marks none"
	}
	switch p := &v.q.personal; {
	case rl.reason == dReasonPersonal:
	case p.note != "":
		out += "; " + p.note
	case p.usable && rl.answer == dAnswerServe:
		out += "; this caller says that the personal token failed, so an anonymous one is used"
	}
	return out
}

func (v *view) detail(rl ruling, r reading) string {
	clock := func(t instant) string { return r.time(t).Format(time.RFC3339) }
	switch rl.reason {
	case dReasonDuplicate:
		return fmt.Sprintf("an acquisition for a failure that is %.0f %% the same was started at %s; it answers for %v, until %s",
			100*rl.similarity, clock(rl.since), rl.window, clock(rl.until))
	case dReasonCached:
		return fmt.Sprintf("token %s of %s", rl.tokenID, clock(rl.since))
	case dReasonPersonal:
		return "the personal token is usable"
	case dReasonPersonalUnavailable:
		if v.q.personal.known {
			return "the personal token is not usable, and nothing is acquired for a request of this kind"
		}
		return "no personal token is configured (WithPersonalToken), and nothing is acquired for a request of this kind"
	case dReasonAcquired:
		if rl.tokenID != "" {
			return fmt.Sprintf("token %s was acquired", rl.tokenID)
		}
		return "an acquisition is started"
	case dReasonRequestFailed:
		return fmt.Sprintf("request failed (%s): %s", rl.failure.Class, rl.failure.shown())
	case dReasonJoined:
		if rl.answer == dAnswerServe {
			return fmt.Sprintf("token %s was acquired by another call while this one waited", rl.tokenID)
		}
		if rl.place {
			return fmt.Sprintf("%d acquisitions of other keys are in progress, at most %d may be: waiting for a place", rl.count, rl.limit)
		}
		return fmt.Sprintf("an acquisition of this key is in progress since %s, at most until %s", clock(rl.since), clock(rl.until))
	case dReasonTooManyWaiters:
		return fmt.Sprintf("%d callers wait already, the bound is %d", rl.count, rl.limit)
	case dReasonUpstreamRateLimited:
		return fmt.Sprintf("the upstream limited the rate of this key at %s: nothing is asked of it until %s", clock(rl.since), clock(rl.until))
	case dReasonForbidden:
		return "the failure is a ban, a permission or a policy: another token would meet the same"
	case dReasonPersonalUsable:
		return "the personal token is usable for others"
	case dReasonNotQuotaFailure:
		if v.q.class == classify.AuthInvalid && v.q.failing == rl.tokenID {
			return fmt.Sprintf("token %s is of %s, and one that fails within %v may not have spread yet: try the call once more with it", rl.tokenID, clock(rl.since), spreading)
		}
		return fmt.Sprintf("token %s of %s is known, and nothing says that its quota is used up; this opens at %s", rl.tokenID, clock(rl.since), clock(rl.until))
	case dReasonTokenTooNew:
		return fmt.Sprintf("token %s is of %s and is not replaced before it is %v old; this opens at %s", rl.tokenID, clock(rl.since), rl.window, clock(rl.until))
	case dReasonRecentAcquisition:
		return fmt.Sprintf("an acquisition of this key was started at %s, less than %v ago; this opens at %s", clock(rl.since), rl.window, clock(rl.until))
	case dReasonResetsSoon:
		return fmt.Sprintf("the quota of token %s is full again at %s, which is waited for", rl.tokenID, clock(rl.until))
	case dReasonHourLimit, dReasonDayLimit:
		if rl.since != 0 {
			return fmt.Sprintf("the state was lost at %s: the window of %v counts as full until %s", clock(rl.since), rl.window, clock(rl.until))
		}
		return fmt.Sprintf("%d of %d starts in the last %v; the next opens at %s (%s)", rl.count, rl.limit, rl.window, clock(rl.until), budgetSettings[rl.reason])
	case dReasonMinInterval:
		return fmt.Sprintf("the last attempt ended at %s, the next may start %v later, at %s", clock(rl.since), rl.window, clock(rl.until))
	case dReasonBackoff:
		if rl.scoped {
			return fmt.Sprintf("refusals of this scope in a row: %d, the last (%s) at %s; closed for %v, until %s",
				rl.count, rl.failure.Class, clock(rl.since), rl.window, clock(rl.until))
		}
		return fmt.Sprintf("failures in a row: %d, the last (%s) at %s; backing off for %v, until %s",
			rl.count, rl.failure.Class, clock(rl.since), rl.window, clock(rl.until))
	case dReasonRetryAfter:
		return fmt.Sprintf("the upstream asked at %s to be left alone for %v, until %s", clock(rl.since), rl.window, clock(rl.until))
	case dReasonQuotaSufficient:
		return fmt.Sprintf("%d outcomes since the report say that the level is %s (confidence %.2f): the suspicion is lifted", rl.count, rl.level, rl.confidence)
	case dReasonNoToken:
		return "no token of this key is known"
	case dReasonExpired, dReasonExpiring, dReasonRejected, dReasonUnreadable, dReasonQuotaSpent:
		return fmt.Sprintf("token %s of %s: %s", rl.tokenID, clock(rl.since), goOnWords[rl.reason])
	}
	switch rl.step {
	case dStepDedup:
		if v.q.class == "" {
			return "the request carries no failure"
		}
		return fmt.Sprintf("like none of the last starts of this key and class (%d compared)", rl.count)
	case dStepCache:
		return "no usable token for this caller"
	case dStepGate:
		return fmt.Sprintf("%d acquisitions in progress, at most %d", rl.count, rl.limit)
	case dStepLimiter:
		return "every window, the spacing and the backoff are open"
	case dStepPredictor:
		if rl.level == "" {
			return "not consulted"
		}
		return fmt.Sprintf("level %s, confidence %.2f, from %d outcomes since the suspicion", rl.level, rl.confidence, rl.count)
	}
	return ""
}

// budgetSettings are what an operator would change.
var budgetSettings = map[reasonName]string{
	dReasonHourLimit: "rate_limit.max_requests_per_hour",
	dReasonDayLimit:  "rate_limit.max_requests_per_day",
}

var goOnWords = map[reasonName]string{
	dReasonExpired:    "it has expired",
	dReasonExpiring:   "it expires soon, and this call may refresh it",
	dReasonRejected:   "it was rejected",
	dReasonUnreadable: "this process cannot read it",
	dReasonQuotaSpent: "its quota is used up",
}
