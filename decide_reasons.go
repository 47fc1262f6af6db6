package tokenguard

// stepName names one of the steps that a call walks through. The values of this file are those of the public package, which
// documents them.
type stepName string

const (
	dStepDedup     stepName = "dedup"
	dStepCache     stepName = "cache"
	dStepGate      stepName = "gate"
	dStepManager   stepName = "manager"
	dStepLimiter   stepName = "limiter"
	dStepPredictor stepName = "predictor"
	dStepRequest   stepName = "request"
	dStepStore     stepName = "store"
)

// reasonName names the rule that decided.
type reasonName string

const (
	dReasonDuplicate           reasonName = "duplicate"
	dReasonCached              reasonName = "cached"
	dReasonPersonal            reasonName = "personal"
	dReasonPersonalUnavailable reasonName = "personal_unavailable"
	dReasonJoined              reasonName = "joined"
	dReasonTooManyWaiters      reasonName = "too_many_waiters"
	dReasonUpstreamRateLimited reasonName = "upstream_rate_limited"
	dReasonForbidden           reasonName = "forbidden"
	dReasonPersonalUsable      reasonName = "personal_usable"
	dReasonNotQuotaFailure     reasonName = "not_quota_failure"
	dReasonTokenTooNew         reasonName = "token_too_new"
	dReasonRecentAcquisition   reasonName = "recent_acquisition"
	dReasonResetsSoon          reasonName = "resets_soon"
	dReasonHourLimit           reasonName = "hour_limit"
	dReasonDayLimit            reasonName = "day_limit"
	dReasonMinInterval         reasonName = "min_interval"
	dReasonBackoff             reasonName = "backoff"
	dReasonRetryAfter          reasonName = "retry_after"
	dReasonQuotaSufficient     reasonName = "quota_sufficient"
	dReasonAcquired            reasonName = "acquired"
	dReasonRequestFailed       reasonName = "request_failed"
	dReasonStoreUnavailable    reasonName = "store_unavailable"
	dReasonClosed              reasonName = "closed"
	dReasonNoToken             reasonName = "no_token"
	dReasonExpired             reasonName = "expired"
	dReasonExpiring            reasonName = "expiring"
	dReasonRejected            reasonName = "rejected"
	dReasonUnreadable          reasonName = "unreadable"
	dReasonQuotaSpent          reasonName = "quota_spent"
)

// answerKind is what a step does with the call.
type answerKind string

const (
	dAnswerPass   answerKind = "pass"
	dAnswerServe  answerKind = "serve"
	dAnswerWait   answerKind = "wait"
	dAnswerRefuse answerKind = "refuse"
	dAnswerStart  answerKind = "start"
	dAnswerFail   answerKind = "fail"
)
