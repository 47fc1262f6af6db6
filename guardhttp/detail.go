package guardhttp

import (
	"fmt"

	"github.com/tokenguard/tokenguard"
)

// details are the sentences of a Problem, by reason. Verdict.Detail is not used: it may quote what others said.
var details = map[tokenguard.Reason]string{
	tokenguard.ReasonDuplicate:           "an acquisition for the same failure was just started",
	tokenguard.ReasonPersonalUnavailable: "no personal token is available",
	tokenguard.ReasonTooManyWaiters:      "too many calls wait for the same acquisition",
	tokenguard.ReasonUpstreamRateLimited: "the upstream limits the rate of calls; another token would not help",
	tokenguard.ReasonForbidden:           "the upstream forbids the call; another token would not help",
	tokenguard.ReasonPersonalUsable:      "the personal token is usable",
	tokenguard.ReasonNotQuotaFailure:     "the failure is not one of the token",
	tokenguard.ReasonTokenTooNew:         "the token is too new to be replaced",
	tokenguard.ReasonRecentAcquisition:   "a token was acquired just now",
	tokenguard.ReasonResetsSoon:          "the quota of the token resets soon",
	tokenguard.ReasonUnconfirmed:         "it is not confirmed that the quota of the token is used up",
	tokenguard.ReasonNotShared:           "the token is refused for this operation and works for others",
	tokenguard.ReasonKeptBack:            "the acquisitions that are left are kept for operations that have worked",
	tokenguard.ReasonHourLimit:           "the hourly limit on acquisitions is reached",
	tokenguard.ReasonDayLimit:            "the daily limit on acquisitions is reached",
	tokenguard.ReasonMinInterval:         "the last acquisition was too recent for another one",
	tokenguard.ReasonBackoff:             "the last acquisitions failed",
	tokenguard.ReasonRenewalLimit:        "the limit on renewals of the account's token is reached",
	tokenguard.ReasonRenewalBackoff:      "the last renewals of the account's token failed",
	tokenguard.ReasonRenewalElsewhere:    "the account's token is renewed by another process",
	tokenguard.ReasonRetryAfter:          "the upstream asked to wait before the next acquisition",
	tokenguard.ReasonQuotaSufficient:     "the quota of the token is expected to last",
	tokenguard.ReasonStoreUnavailable:    "the state of the guard cannot be reached",
	tokenguard.ReasonClosed:              "the guard is closed",
}

// detailOf says why, in this package's own words; "" for a reason that it does not know.
func detailOf(v *tokenguard.Verdict) string {
	s := details[v.Reason]
	if s != "" && v.Evidence.Limit > 0 && (v.Reason == tokenguard.ReasonHourLimit || v.Reason == tokenguard.ReasonDayLimit) {
		s += fmt.Sprintf(": %d of %d", v.Evidence.Count, v.Evidence.Limit)
	}
	return s
}
