package tokenguard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step names one of the steps that a call walks through.
type Step string

// The steps in their order. StepStore is for what keeps a call from being decided at all.
const (
	StepDedup     Step = "dedup"
	StepCache     Step = "cache"
	StepGate      Step = "gate"
	StepManager   Step = "manager"
	StepLimiter   Step = "limiter"
	StepPredictor Step = "predictor"
	StepRequest   Step = "request"
	StepRenewal   Step = "renewal" // in place of steps 3 to 7, while an account can be renewed
	StepStore     Step = "store"
)

// Reason names the rule that decided.
type Reason string

// Reasons that answer a call, by step. docs/reasons.md says what each means and what to do about it.
const (
	ReasonDuplicate Reason = "duplicate"

	ReasonCached              Reason = "cached"
	ReasonPersonal            Reason = "personal"
	ReasonPersonalUnavailable Reason = "personal_unavailable"

	ReasonJoined         Reason = "joined"
	ReasonTooManyWaiters Reason = "too_many_waiters"

	ReasonUpstreamRateLimited Reason = "upstream_rate_limited"
	ReasonForbidden           Reason = "forbidden"
	ReasonPersonalUsable      Reason = "personal_usable"
	ReasonNotQuotaFailure     Reason = "not_quota_failure"
	ReasonTokenTooNew         Reason = "token_too_new"
	ReasonRecentAcquisition   Reason = "recent_acquisition"
	ReasonResetsSoon          Reason = "resets_soon"
	ReasonUnconfirmed         Reason = "unconfirmed"
	ReasonNotShared           Reason = "not_shared"
	ReasonKeptBack            Reason = "kept_back"

	ReasonHourLimit   Reason = "hour_limit"
	ReasonDayLimit    Reason = "day_limit"
	ReasonMinInterval Reason = "min_interval"
	ReasonBackoff     Reason = "backoff"
	ReasonRetryAfter  Reason = "retry_after"

	ReasonQuotaSufficient Reason = "quota_sufficient"

	ReasonAcquired      Reason = "acquired"
	ReasonRequestFailed Reason = "request_failed"

	ReasonRenewed          Reason = "renewed"
	ReasonRenewalLimit     Reason = "renewal_limit"
	ReasonRenewalBackoff   Reason = "renewal_backoff"
	ReasonRenewalElsewhere Reason = "renewal_elsewhere"

	ReasonStoreUnavailable Reason = "store_unavailable"
	ReasonClosed           Reason = "closed"
)

// Reasons of a step that lets the call go on, as Explain shows them.
const (
	ReasonNoToken    Reason = "no_token"
	ReasonExpired    Reason = "expired"
	ReasonExpiring   Reason = "expiring"
	ReasonRejected   Reason = "rejected"
	ReasonUnreadable Reason = "unreadable"
	ReasonQuotaSpent Reason = "quota_spent"
)

// Answer is what a step does with the call.
type Answer string

const (
	// AnswerPass lets the call go on to the next step.
	AnswerPass Answer = "pass"
	// AnswerServe hands a token over.
	AnswerServe Answer = "serve"
	// AnswerWait joins an acquisition in progress, or waits for a place.
	AnswerWait Answer = "wait"
	// AnswerRefuse ends the call without a token.
	AnswerRefuse Answer = "refuse"
	// AnswerStart starts an acquisition.
	AnswerStart Answer = "start"
	// AnswerRenew renews the account's token.
	AnswerRenew Answer = "renew"
	// AnswerFail is a call whose acquisition failed.
	AnswerFail Answer = "fail"
)

// Verdict is what one step decided, and on what evidence. The same value is in the grant, the error, the log
// record, the event and in Explain.
type Verdict struct {
	Step   Step   `json:"step"`
	Reason Reason `json:"reason,omitempty"`
	Answer Answer `json:"answer"`
	// Detail is a sentence for a person, with the numbers. It never holds a token.
	Detail string `json:"detail,omitempty"`
	// Until is when this rule stops refusing; zero: waiting alone does not help it.
	Until time.Time `json:"until,omitzero"`
	// RetryAt is when this caller could next have a token: the earlier of the latest opening among all closed
	// limits and the next instant at which a known token becomes usable again. Zero: waiting alone changes nothing.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Class is the class of the failure that the request carried.
	Class Class `json:"class,omitempty"`
	// Evidence are the numbers behind the rule.
	Evidence Evidence `json:"evidence,omitzero"`
}

// Evidence are the numbers that a rule looked at. Fields that the rule did not look at are zero.
type Evidence struct {
	// Count of Limit: starts in the window, consecutive failures, waiting callers.
	Count int `json:"count,omitempty"`
	Limit int `json:"limit,omitempty"`
	// Window is the length of the rule's window, interval or pause.
	Window time.Duration `json:"window_ns,omitempty"`
	// Since is where the window began: the acquisition, the last attempt's end, the first report.
	Since time.Time `json:"since,omitzero"`
	// TokenID is the token that the rule speaks of.
	TokenID string `json:"token_id,omitempty"`
	// Similarity to the acquisition that this request duplicates, in [0,1].
	Similarity float64 `json:"similarity,omitempty"`
	// Level and Confidence are the quota predictor's.
	Level      Level   `json:"level,omitempty"`
	Confidence float64 `json:"confidence,omitempty"`
}

// Explanation is what Acquire would answer now, step by step.
type Explanation struct {
	// At is the instant of the decision, on the guard's clock.
	At time.Time `json:"at"`
	// Verdict is the one that a call would get now.
	Verdict Verdict `json:"verdict"`
	// Steps are the verdicts of every step in order, also of those behind the deciding one.
	Steps []Verdict `json:"steps"`
	// Opening says whether an acquisition for this call could start: its Answer is AnswerPass if one could, AnswerWait
	// while one is in progress, and AnswerRefuse with the rule that opens last of all that are closed. RetryAt is when
	// one could start or a token that is known serves again; zero: waiting alone changes nothing. While a token answers
	// the call, it speaks of the case that there was none.
	Opening Verdict `json:"opening,omitzero"`
	// Evidence is what each operation has said of the tokens of the scope, the newest token first.
	Evidence []OperationEvidence `json:"evidence,omitempty"`
	// Pauses are the operations of the scope that the upstream wants to hear nothing of for a while.
	Pauses []OperationPause `json:"pauses,omitempty"`
}

// OperationPause is a wait that one operation reported, as a failure of the class rate_limited: it acquires nothing before
// Until. What that means for others is in docs/evidence.md.
type OperationPause struct {
	Scope     string    `json:"scope,omitempty"`
	Operation string    `json:"operation"` // empty: callers without a name
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	// Stated: the upstream said how long, and Guard.Paused tells it. Otherwise it is what is assumed where it says nothing.
	Stated bool `json:"stated,omitempty"`
}

// pauses are those of a scope that last.
func pauses(k *ledger.Scope, scope string, r timeline.Reading) (out []OperationPause) {
	for _, p := range k.Pauses {
		if p.Until > r.Now {
			out = append(out, OperationPause{scope, p.Operation, r.Time(p.From), r.Time(p.Until), p.Stated})
		}
	}
	slices.SortFunc(out, func(a, b OperationPause) int { return b.Until.Compare(a.Until) })
	return out
}

// OperationEvidence is what one operation has said of one token: the names in Request.Caller and Outcome.Caller, masked,
// are operations. What its last word disproved is gone, but for the successes. docs/evidence.md says what follows from it.
type OperationEvidence struct {
	TokenID   string `json:"token_id"`
	Operation string `json:"operation"` // empty: callers without a name

	Success time.Time `json:"success,omitzero"` // when its last successful call began; zero: none was reported
	Uses    int       `json:"uses,omitempty"`   // successes

	Auth     Refusals  `json:"auth,omitzero"`      // in force, for auth
	Quota    Refusals  `json:"quota,omitzero"`     // in force, for quota
	Count    int       `json:"count,omitempty"`    // of both, at most one a minute of each
	Early    bool      `json:"early,omitempty"`    // refused in the token's first 10 s, when it may not have spread
	Spent    bool      `json:"spent,omitempty"`    // the refusal for quota is confirmed
	Reset    time.Time `json:"reset,omitzero"`     // when the quota is full again
	Assumed  bool      `json:"assumed,omitempty"`  // Reset follows from the quota period; the upstream has stated none
	LastWord time.Time `json:"last_word,omitzero"` // its last report
	// Withheld: the token could go to others, and is kept from this operation by what was said of it, unless as a last
	// resort.
	Withheld bool `json:"withheld,omitempty"`
}

// Refusals are those of one kind that are in force. Zero: none is.
type Refusals struct {
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

func (r Refusals) String() string {
	if r.First.Equal(r.Last) || r.Last.IsZero() {
		return r.First.Format(time.RFC3339)
	}
	return r.First.Format(time.RFC3339) + " to " + r.Last.Format(time.RFC3339)
}

// String says it in a line, without the token.
func (e OperationEvidence) String() string {
	var said []string
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if !e.Success.IsZero() {
		add("successes: %d, the last began at %s", e.Uses, e.Success.Format(time.RFC3339))
	}
	if e.Early {
		add("refused in its first 10 s")
	}
	if !e.Auth.First.IsZero() {
		add("refused for auth, %s", e.Auth)
	}
	if !e.Quota.First.IsZero() {
		sort := "in doubt"
		if e.Spent {
			sort = "spent"
		}
		add("quota %s, refused %s", sort, e.Quota)
	}
	if e.Count > 1 {
		add("refusals: %d", e.Count)
	}
	if !e.Reset.IsZero() {
		sort := "stated"
		if e.Assumed {
			sort = "assumed"
		}
		add("%s reset %s", sort, e.Reset.Format(time.RFC3339))
	}
	if e.Withheld {
		add("withheld from it")
	}
	if said == nil {
		add("nothing in force")
	}
	name := "callers without a name"
	if e.Operation != "" {
		name = fmt.Sprintf("%q", e.Operation)
	}
	return name + ": " + strings.Join(said, "; ")
}

// evidence is what was said of the tokens that a request could be about: those of its scope, the newest first.
func evidence(in *decide.Input, r timeline.Reading) (all []OperationEvidence) {
	for _, rec := range in.Doc.ByScope.Of(in.Request.Scope) {
		all = append(all, evidenceOf(in, rec, r)...)
	}
	return all
}

// evidenceOf is what was said of one token, the last word first.
func evidenceOf(in *decide.Input, rec *ledger.Token, r timeline.Reading) (all []OperationEvidence) {
	for i := range rec.Evidence {
		e := &rec.Evidence[i]
		all = append(all, OperationEvidence{
			TokenID: rec.ID, Operation: e.Operation, Success: r.Time(e.Success), Uses: e.Uses,
			Auth:  Refusals{r.Time(e.Refused), r.Time(e.RefusedLast)},
			Quota: Refusals{r.Time(e.Quota), r.Time(e.QuotaLast)},
			Count: e.Refusals, Early: e.Early, Spent: e.Spent, Reset: r.Time(e.Reset), Assumed: e.Assumed, LastWord: r.Time(e.Heard),
			Withheld: in.Withholds(rec, e.Operation, r.Now),
		})
	}
	slices.SortStableFunc(all, func(a, b OperationEvidence) int { return b.LastWord.Compare(a.LastWord) })
	return all
}
