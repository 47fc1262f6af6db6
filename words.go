package tokenguard

import (
	"fmt"
	"time"
)

// verdict puts a ruling into words. Instants are absolute, so that the words stay true for as long as the ruling does.
func (v *view) verdict(rl ruling, r reading, retry instant) Verdict {
	out := Verdict{
		Step: rl.step, Reason: rl.reason, Answer: rl.answer,
		Until: r.time(rl.until), RetryAt: r.time(retry), Class: v.q.class,
		Evidence: Evidence{
			Count: rl.count, Limit: rl.limit, Window: rl.window, Since: r.time(rl.since), TokenID: rl.tokenID,
			Similarity: rl.similarity, Level: rl.level, Confidence: rl.confidence,
		},
	}
	out.Detail = v.detail(rl, r)
	if v.opt.undivided != nil && rl.step == StepLimiter {
		out.Detail += fmt.Sprintf("; the store is unavailable, or was in the last hour: this process keeps to its share of 1/%d", v.opt.processes)
	}
	if v.q.class != ClassNone && v.q.failing == "" && (rl.answer == AnswerRefuse || rl.answer == AnswerServe) {
		out.Detail += "; the failure names no token, so it marks none"
	}
	switch p := &v.q.personal; {
	case rl.reason == ReasonPersonal:
	case p.note != "":
		out.Detail += "; " + p.note
	case p.usable && rl.answer == AnswerServe:
		out.Detail += "; this caller says that the personal token failed, so an anonymous one is used"
	}
	return out
}

// acquired is the verdict of the call that started the acquisition that brought t.
func (v *view) acquired(t Token, r reading) Verdict {
	return v.verdict(ruling{step: StepRequest, answer: AnswerServe, reason: ReasonAcquired, tokenID: t.ID()}, r, 0)
}

func (v *view) detail(rl ruling, r reading) string {
	clock := func(t instant) string { return r.time(t).Format(time.RFC3339) }
	switch rl.reason {
	case ReasonDuplicate:
		return fmt.Sprintf("an acquisition for a failure that is %.0f %% the same was started at %s; it answers for %v, until %s",
			100*rl.similarity, clock(rl.since), rl.window, clock(rl.until))
	case ReasonCached:
		return fmt.Sprintf("token %s of %s", rl.tokenID, clock(rl.since))
	case ReasonPersonal:
		return "the personal token is usable"
	case ReasonPersonalUnavailable:
		if v.q.personal.known {
			return "the personal token is not usable, and nothing is acquired for a request of this kind"
		}
		return "no personal token is configured (WithPersonalToken), and nothing is acquired for a request of this kind"
	case ReasonAcquired:
		if rl.tokenID != "" {
			return fmt.Sprintf("token %s was acquired", rl.tokenID)
		}
		return "an acquisition is started"
	case ReasonRequestFailed:
		return fmt.Sprintf("request failed (%s): %s", rl.failure.Class, rl.failure.shown())
	case ReasonJoined:
		if rl.answer == AnswerServe {
			return fmt.Sprintf("token %s was acquired by another call while this one waited", rl.tokenID)
		}
		if rl.place {
			return fmt.Sprintf("%d acquisitions of other keys are in progress, at most %d may be: waiting for a place", rl.count, rl.limit)
		}
		return fmt.Sprintf("an acquisition of this key is in progress since %s, at most until %s", clock(rl.since), clock(rl.until))
	case ReasonTooManyWaiters:
		return fmt.Sprintf("%d callers wait already, the bound is %d", rl.count, rl.limit)
	case ReasonUpstreamRateLimited:
		return fmt.Sprintf("the upstream limited the rate of this key at %s: nothing is asked of it until %s", clock(rl.since), clock(rl.until))
	case ReasonForbidden:
		return "the failure is a ban, a permission or a policy: another token would meet the same"
	case ReasonPersonalUsable:
		return "the personal token is usable for others"
	case ReasonNotQuotaFailure:
		if v.q.class == ClassAuthInvalid && v.q.failing == rl.tokenID {
			return fmt.Sprintf("token %s is of %s, and one that fails within %v may not have spread yet: try the call once more with it", rl.tokenID, clock(rl.since), spreading)
		}
		return fmt.Sprintf("token %s of %s is known, and nothing says that its quota is used up; this opens at %s", rl.tokenID, clock(rl.since), clock(rl.until))
	case ReasonTokenTooNew:
		return fmt.Sprintf("token %s is of %s and is not replaced before it is %v old; this opens at %s", rl.tokenID, clock(rl.since), rl.window, clock(rl.until))
	case ReasonRecentAcquisition:
		return fmt.Sprintf("an acquisition of this key was started at %s, less than %v ago; this opens at %s", clock(rl.since), rl.window, clock(rl.until))
	case ReasonResetsSoon:
		return fmt.Sprintf("the quota of token %s is full again at %s, which is waited for", rl.tokenID, clock(rl.until))
	case ReasonHourLimit, ReasonDayLimit:
		if rl.since != 0 {
			return fmt.Sprintf("the state was lost at %s: the window of %v counts as full until %s", clock(rl.since), rl.window, clock(rl.until))
		}
		return fmt.Sprintf("%d of %d starts in the last %v; the next opens at %s (%s)", rl.count, rl.limit, rl.window, clock(rl.until), budgetSettings[rl.reason])
	case ReasonMinInterval:
		return fmt.Sprintf("the last attempt ended at %s, the next may start %v later, at %s", clock(rl.since), rl.window, clock(rl.until))
	case ReasonBackoff:
		if rl.scoped {
			return fmt.Sprintf("refusals of this scope in a row: %d, the last (%s) at %s; closed for %v, until %s",
				rl.count, rl.failure.Class, clock(rl.since), rl.window, clock(rl.until))
		}
		return fmt.Sprintf("failures in a row: %d, the last (%s) at %s; backing off for %v, until %s",
			rl.count, rl.failure.Class, clock(rl.since), rl.window, clock(rl.until))
	case ReasonRetryAfter:
		return fmt.Sprintf("the upstream asked at %s to be left alone for %v, until %s", clock(rl.since), rl.window, clock(rl.until))
	case ReasonQuotaSufficient:
		return fmt.Sprintf("%d outcomes since the report say that the level is %s (confidence %.2f): the suspicion is lifted", rl.count, rl.level, rl.confidence)
	case ReasonNoToken:
		return "no token of this key is known"
	case ReasonExpired, ReasonExpiring, ReasonRejected, ReasonUnreadable, ReasonQuotaSpent:
		return fmt.Sprintf("token %s of %s: %s", rl.tokenID, clock(rl.since), goOnWords[rl.reason])
	}
	switch rl.step {
	case StepDedup:
		if v.q.class == ClassNone {
			return "the request carries no failure"
		}
		return fmt.Sprintf("like none of the last starts of this key and class (%d compared)", rl.count)
	case StepCache:
		return "no usable token for this caller"
	case StepGate:
		return fmt.Sprintf("%d acquisitions in progress, at most %d", rl.count, rl.limit)
	case StepLimiter:
		return "every window, the spacing and the backoff are open"
	case StepPredictor:
		if rl.level == "" {
			return "not consulted"
		}
		return fmt.Sprintf("level %s, confidence %.2f, from %d outcomes since the suspicion", rl.level, rl.confidence, rl.count)
	}
	return ""
}

// budgetSettings are what an operator would change.
var budgetSettings = map[Reason]string{
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

// cause is the failure behind a refusal: as it was, if this process met it, else rebuilt from the document. During a
// backoff that is the failed acquisition, whichever rule the verdict names.
func (g *Guard) cause(v *view, rl ruling, r reading) error {
	f := rl.failure
	if rl.reason == ReasonRetryAfter {
		f = v.doc.lastFailure()
	}
	for _, gate := range [...]ruling{v.backoff(), v.closing()} {
		if f == nil && gate.until > r.now {
			f = gate.failure
		}
	}
	if f == nil || f.Class == "" {
		return nil
	}
	if err, ok := g.errs.Peek(f.ID); ok && f.ID != "" {
		return err
	}
	return Failed(Failure{StatusCode: f.Status, Message: f.said(), At: r.time(f.At)})
}

// shown is the failure's status and text.
func (f *failures) shown() string {
	switch {
	case f.Status == 0:
		return f.said()
	case f.Text == "":
		return fmt.Sprintf("HTTP status %d", f.Status)
	}
	return fmt.Sprintf("%d: %s", f.Status, f.Text)
}

// said is the failure's text; one without text still has its class.
func (f *failures) said() string {
	if f.Text == "" && f.Status == 0 {
		return string(f.Class)
	}
	return f.Text
}
