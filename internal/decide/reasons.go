package decide

// Step names one of the steps that a call walks through. The values of this file are those of the public package, which
// documents them.
type Step string

const (
	StepDedup     Step = "dedup"
	StepCache     Step = "cache"
	StepGate      Step = "gate"
	StepManager   Step = "manager"
	StepLimiter   Step = "limiter"
	StepPredictor Step = "predictor"
	StepRequest   Step = "request"
	StepRenewal   Step = "renewal"
	StepStore     Step = "store"
)

// Reason names the rule that decided.
type Reason string

const (
	ReasonDuplicate           Reason = "duplicate"
	ReasonCached              Reason = "cached"
	ReasonPersonal            Reason = "personal"
	ReasonPersonalUnavailable Reason = "personal_unavailable"
	ReasonJoined              Reason = "joined"
	ReasonTooManyWaiters      Reason = "too_many_waiters"
	ReasonUpstreamRateLimited Reason = "upstream_rate_limited"
	ReasonForbidden           Reason = "forbidden"
	ReasonPersonalUsable      Reason = "personal_usable"
	ReasonNotQuotaFailure     Reason = "not_quota_failure"
	ReasonTokenTooNew         Reason = "token_too_new"
	ReasonRecentAcquisition   Reason = "recent_acquisition"
	ReasonUnconfirmed         Reason = "unconfirmed"
	ReasonNotShared           Reason = "not_shared"
	ReasonKeptBack            Reason = "kept_back"
	ReasonResetsSoon          Reason = "resets_soon"
	ReasonHourLimit           Reason = "hour_limit"
	ReasonDayLimit            Reason = "day_limit"
	ReasonMinInterval         Reason = "min_interval"
	ReasonBackoff             Reason = "backoff"
	ReasonRetryAfter          Reason = "retry_after"
	ReasonQuotaSufficient     Reason = "quota_sufficient"
	ReasonAcquired            Reason = "acquired"
	ReasonRequestFailed       Reason = "request_failed"
	ReasonStoreUnavailable    Reason = "store_unavailable"
	ReasonClosed              Reason = "closed"
	ReasonNoToken             Reason = "no_token"
	ReasonExpired             Reason = "expired"
	ReasonExpiring            Reason = "expiring"
	ReasonRejected            Reason = "rejected"
	ReasonUnreadable          Reason = "unreadable"
	ReasonQuotaSpent          Reason = "quota_spent"
	ReasonRenewed             Reason = "renewed"
	ReasonRenewalLimit        Reason = "renewal_limit"
	ReasonRenewalBackoff      Reason = "renewal_backoff"
	ReasonRenewalElsewhere    Reason = "renewal_elsewhere"
)

// Answer is what a step does with the call.
type Answer string

const (
	AnswerPass   Answer = "pass"
	AnswerServe  Answer = "serve"
	AnswerWait   Answer = "wait"
	AnswerRefuse Answer = "refuse"
	AnswerStart  Answer = "start"
	AnswerRenew  Answer = "renew"
	AnswerFail   Answer = "fail"
)
