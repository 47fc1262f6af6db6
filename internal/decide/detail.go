package decide

import (
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Detail is a decision in words. Instants are absolute, so that the words stay true for as long as the decision does.
func (in *Input) Detail(d Decision, r timeline.Reading) string {
	out := in.RuleText(d, r)
	if in.Full != nil && d.Step == StepLimiter {
		out += fmt.Sprintf("; the store is unavailable, or was in the last hour: this process keeps to its share of 1/%d", in.Policy.Share)
	}
	if in.Request.Class != "" && in.Request.Failing == "" && (d.Answer == AnswerRefuse || d.Answer == AnswerServe) {
		out += "; the report did not say which token failed, so none was marked"
	}
	if d.insteadOf != "" {
		out += fmt.Sprintf("; it is a last resort: nothing may be started (%s)", d.insteadOf)
	}
	switch p := &in.Request.Personal; {
	case d.Reason == ReasonPersonal:
	case p.Note != "":
		out += "; " + p.Note
	case p.Usable && d.Answer == AnswerServe:
		out += "; this caller says that the personal token failed, so an anonymous one is used"
	}
	return out
}

func (in *Input) RuleText(d Decision, r timeline.Reading) string {
	clock := func(t timeline.Instant) string { return r.Time(t).Format(time.RFC3339) }
	switch d.Reason {
	case ReasonDuplicate:
		return fmt.Sprintf("an acquisition for a failure that is %.0f %% the same was started at %s; it answers for %v, until %s",
			100*d.Similarity, clock(d.Since), d.Window, clock(d.Until))
	case ReasonCached:
		if d.Tries {
			return fmt.Sprintf("token %s of %s, whose quota should be full again by the quota period: this call tries it", d.TokenID, clock(d.Since))
		}
		return fmt.Sprintf("token %s of %s", d.TokenID, clock(d.Since))
	case ReasonPersonal:
		if d.Tries {
			return "the quota of the personal token should be full again by the quota period: this call tries it"
		}
		return "the personal token is usable"
	case ReasonPersonalUnavailable:
		if in.Request.Personal.Known {
			return "the personal token is not usable, and nothing is acquired for a request of this kind"
		}
		return "no personal token is configured (WithPersonalToken), and nothing is acquired for a request of this kind"
	case ReasonAcquired:
		if d.TokenID != "" {
			return fmt.Sprintf("token %s was acquired", d.TokenID)
		}
		return "an acquisition is started"
	case ReasonRequestFailed:
		if d.Step == StepRenewal {
			return fmt.Sprintf("renewal failed (%s): %s", d.Failure.Class, d.Failure.Summary())
		}
		return fmt.Sprintf("request failed (%s): %s", d.Failure.Class, d.Failure.Summary())
	case ReasonJoined:
		if d.Answer == AnswerServe {
			return fmt.Sprintf("token %s was acquired by another call while this one waited", d.TokenID)
		}
		if d.Place {
			return fmt.Sprintf("waiting for a place: acquisitions of other keys in progress: %d, at most %d", d.Count, d.Limit)
		}
		return fmt.Sprintf("an acquisition of this key is in progress since %s, at most until %s", clock(d.Since), clock(d.Until))
	case ReasonTooManyWaiters:
		return fmt.Sprintf("callers that wait already: %d, at most %d", d.Count, d.Limit)
	case ReasonUpstreamRateLimited:
		return fmt.Sprintf("the upstream limited the rate of this key at %s: nothing is asked of it until %s", clock(d.Since), clock(d.Until))
	case ReasonUnconfirmed:
		return fmt.Sprintf("the quota of token %s is in doubt since %s and not confirmed: a refusal at %s or later confirms it", d.TokenID, clock(d.Since), clock(d.Until))
	case ReasonNotShared:
		return fmt.Sprintf("token %s, acquired at %s, works for others (%s had a success within the hour) and not for this operation: nothing is spare, and a start that others did not need was made in the last 24 h", d.TokenID, clock(d.Since), named(d.operation))
	case ReasonKeptBack:
		return fmt.Sprintf("no token of this scope has ever worked, and what is left of the budget is kept for the scopes in use; the next opens at %s", clock(d.Until))
	case ReasonForbidden:
		if d.operation != "" || d.fineUntil != 0 {
			return fmt.Sprintf("no token has ever worked for this operation, while they work for others (%s had a success within the hour): another token would meet the same", named(d.operation))
		}
		return "the failure is a ban, a permission or a policy: another token would meet the same"
	case ReasonPersonalUsable:
		return "the personal token is usable for others"
	case ReasonNotQuotaFailure:
		if in.Request.Class == classify.AuthInvalid && in.Request.Failing == d.TokenID {
			return fmt.Sprintf("token %s is of %s, and one that fails within %v may not have spread yet: try the call once more with it", d.TokenID, clock(d.Since), ledger.Spreading)
		}
		return fmt.Sprintf("token %s of %s is known, and nothing says that its quota is used up; this opens at %s", d.TokenID, clock(d.Since), clock(d.Until))
	case ReasonTokenTooNew:
		return fmt.Sprintf("token %s, acquired at %s, cannot be replaced until it is %v old, at %s", d.TokenID, clock(d.Since), d.Window, clock(d.Until))
	case ReasonRecentAcquisition:
		return fmt.Sprintf("an acquisition of this key was started at %s, less than %v ago; this opens at %s", clock(d.Since), d.Window, clock(d.Until))
	case ReasonResetsSoon:
		var e *ledger.Evidence
		if r := in.Doc.Tokens[d.TokenID]; r != nil {
			e = r.By(in.Request.Operation)
		}
		switch {
		case e != nil && e.Assumed && e.Trying != 0:
			return fmt.Sprintf("another call tries since %s whether the quota of token %s is full again; the next may at %s", clock(e.Trying), d.TokenID, clock(d.Until))
		case e != nil && e.Assumed:
			return fmt.Sprintf("the quota of token %s should be full again at %s by the quota period, which is waited for", d.TokenID, clock(d.Until))
		}
		return fmt.Sprintf("the quota of token %s is full again at %s, which is waited for", d.TokenID, clock(d.Until))
	case ReasonHourLimit, ReasonDayLimit:
		if d.Since != 0 {
			if d.Reason == ReasonDayLimit {
				return fmt.Sprintf("the state was lost at %s: the daily limit is treated as used up; it releases one acquisition every %v, the next at %s",
					clock(d.Since), ledger.Day/time.Duration(in.Policy.RateLimit.MaxRequestsPerDay), clock(d.Until))
			}
			return fmt.Sprintf("the state was lost at %s: the hourly limit is treated as used up until %s", clock(d.Since), clock(d.Until))
		}
		return fmt.Sprintf("%d of %d starts in the last %v; the next opens at %s (%s)", d.Count, d.Limit, d.Window, clock(d.Until), BudgetSettings[d.Reason])
	case ReasonMinInterval:
		return fmt.Sprintf("the last attempt ended at %s, the next may start %v later, at %s", clock(d.Since), d.Window, clock(d.Until))
	case ReasonBackoff:
		if d.unfit {
			return fmt.Sprintf("new tokens refused before they ever worked, in a row: %d, the last at %s; no start for %v, until %s", d.Count, clock(d.Since), d.Window, clock(d.Until))
		}
		if d.scoped {
			return fmt.Sprintf("refusals of this scope in a row: %d, the last (%s) at %s; closed for %v, until %s",
				d.Count, d.Failure.Class, clock(d.Since), d.Window, clock(d.Until))
		}
		if d.Failure.Banned > 0 {
			return fmt.Sprintf("the upstream has banned the caller (the address, the device or the account), whatever the scope; failures in a row: %d, the last (%s) at %s; backing off for %v, until %s",
				d.Count, d.Failure.Class, clock(d.Since), d.Window, clock(d.Until))
		}
		return fmt.Sprintf("failures in a row: %d, the last (%s) at %s; backing off for %v, until %s",
			d.Count, d.Failure.Class, clock(d.Since), d.Window, clock(d.Until))
	case ReasonRetryAfter:
		return fmt.Sprintf("the upstream asked at %s to be left alone for %v, until %s", clock(d.Since), d.Window, clock(d.Until))
	case ReasonQuotaSufficient:
		return fmt.Sprintf("%d outcomes since the report say that the level is %s (confidence %.2f): the suspicion is lifted", d.Count, d.Level, d.Confidence)
	case ReasonRenewed:
		if d.Answer == AnswerServe {
			return fmt.Sprintf("token %s was renewed", d.TokenID)
		}
		return fmt.Sprintf("the account of token %s is known, and this call renews it", d.TokenID)
	case ReasonRenewalLimit:
		if d.Limit > 0 {
			return fmt.Sprintf("%d of %d renewals in the last %v; the next is allowed at %s (RenewalLimits.MaxPerHour)", d.Count, d.Limit, d.Window, clock(d.Until))
		}
		return fmt.Sprintf("the account of token %s was renewed at %s; the next renewal is allowed %v later, at %s (RenewalLimits.MinInterval)", d.TokenID, clock(d.Since), d.Window, clock(d.Until))
	case ReasonRenewalBackoff:
		if d.Count > 0 {
			return fmt.Sprintf("failed renewals in a row: %d, the last (%s) at %s; the next is allowed %v later, at %s", d.Count, d.Failure.Class, clock(d.Since), d.Window, clock(d.Until))
		}
		return fmt.Sprintf("a renewal failed (%s) at %s; the next is allowed %v later, at %s", d.Failure.Class, clock(d.Since), d.Window, clock(d.Until))
	case ReasonRenewalElsewhere:
		cannot := "this one cannot (WithRenewal)"
		switch unreadable := in.Unreadable[d.TokenID]; {
		case unreadable && in.Policy.Renews:
			cannot = "this one does not have the key of its secrets (WithEncryption)"
		case unreadable:
			cannot = "this one cannot (WithRenewal), and does not have the key of its secrets (WithEncryption)"
		}
		if d.Until == timeline.Never {
			return fmt.Sprintf("the account of token %s is renewed by another process: %s, and may not replace it, because it was banned, or another account was replaced and none was renewed since", d.TokenID, cannot)
		}
		return fmt.Sprintf("the account of token %s is renewed by another process: %s, and may replace it at %s", d.TokenID, cannot, clock(d.Until))
	case ReasonNoToken:
		return "no token of this key is known"
	case ReasonExpired, ReasonExpiring, ReasonRejected, ReasonUnreadable, ReasonQuotaSpent:
		return fmt.Sprintf("token %s of %s: %s", d.TokenID, clock(d.Since), goOnWords[d.Reason])
	}
	switch d.Step {
	case StepDedup:
		if in.Request.Class == "" {
			return "the request carries no failure"
		}
		return fmt.Sprintf("no recent acquisition resembles this failure (%d compared)", d.Count)
	case StepCache:
		return "no usable token for this caller"
	case StepGate:
		return fmt.Sprintf("acquisitions in progress: %d, at most %d", d.Count, d.Limit)
	case StepRenewal:
		return "no renewal is due"
	case StepLimiter:
		return "every window, the spacing and the backoff are open"
	case StepPredictor:
		if d.Level == "" {
			return "not consulted"
		}
		return fmt.Sprintf("level %s, confidence %.2f, from %d outcomes since the suspicion", d.Level, d.Confidence, d.Count)
	}
	return ""
}

// BudgetSettings are what an operator would change.
var BudgetSettings = map[Reason]string{
	ReasonHourLimit: "rate_limit.max_requests_per_hour",
	ReasonDayLimit:  "rate_limit.max_requests_per_day",
}

var goOnWords = map[Reason]string{
	ReasonExpired:    "it has expired",
	ReasonExpiring:   "it expires soon, and this call may refresh it",
	ReasonRejected:   "it was rejected",
	ReasonUnreadable: "this process cannot read it",
	ReasonQuotaSpent: "its quota is used up",
}

// named is an operation in a sentence.
func named(operation string) string {
	if operation == "" {
		return "a caller without a name"
	}
	return fmt.Sprintf("%q", operation)
}
