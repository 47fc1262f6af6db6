package decide

import (
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 4. Is a new token needed at all? The table of DESIGN: the first row that matches decides. It speaks of the
// key's newest known anonymous token, which need not be in the cache any more.

func (in *Input) Manager(t timeline.Instant) Decision {
	policy, q, key := in.Policy, in.Request, in.Doc.Scope(in.Request.Scope)
	r := in.Doc.Newest(q.Scope)
	refuse := func(reason Reason, until timeline.Instant) Decision {
		out := Decision{Step: StepManager, Answer: AnswerRefuse, Reason: reason, Until: until}
		if r != nil {
			out.TokenID, out.Since = r.ID, r.Acquired
		}
		return out
	}
	goOn := func(reason Reason) Decision {
		out := refuse(reason, 0)
		out.Answer = AnswerPass
		return out
	}

	switch { // rows 1 to 3
	case t < key.Pause.Until:
		out := refuse(ReasonUpstreamRateLimited, key.Pause.Until)
		out.Since, out.Window = key.Pause.From, key.Pause.Until.Sub(key.Pause.From)
		return out
	case q.Class == classify.Forbidden:
		return refuse(ReasonForbidden, timeline.Never)
	case q.Personal.Usable:
		return refuse(ReasonPersonalUsable, timeline.Never)
	}

	// Row 4. Whatever the rows below refuse, they refuse until the token has expired, or may be refreshed.
	if r == nil {
		return goOn(ReasonNoToken)
	}
	expired, _ := policy.Expiry(r)
	renewed := policy.RefreshAt(r)
	suspect, spent := r.IsSuspect(t), r.IsSpent(t)
	switch {
	case t >= expired:
		return goOn(ReasonExpired)
	case r.Rejected != 0:
		return goOn(ReasonRejected)
	case !in.Readable(r) && (r.HasValue() || !suspect && !spent):
		// Nobody can read what was evicted. But what was reported of it stays: asking again without the failure must not
		// turn row 6 into this one.
		return goOn(ReasonUnreadable)
	case policy.RefreshAhead > 0 && t >= renewed:
		return goOn(ReasonExpiring)
	}

	confirmable := r.Suspect.Plus(policy.Manager.Confirmation)
	if in.later != 0 && suspect && q.Class == classify.QuotaExhausted && q.Failing == r.ID && in.later < confirmable && t >= confirmable {
		spent = true // the report that this caller would bring then; the one it brings now confirms nothing
	}
	// Row 5. A failing token that is not the newest says nothing about the newest.
	if !suspect && !spent && q.Class != classify.QuotaExhausted {
		return refuse(ReasonNotQuotaFailure, renewed)
	}

	// Row 6.
	if old := r.Acquired.Plus(policy.Manager.MinTokenAge); t < old && !(policy.Manager.ReplaceSpentEarly && spent) {
		until := old
		if policy.Manager.ReplaceSpentEarly && confirmable > t {
			until = min(old, confirmable)
		}
		out := refuse(ReasonTokenTooNew, min(until, renewed))
		out.Window = policy.Manager.MinTokenAge
		return out
	}

	// Row 7.
	if until := key.LastStart.Plus(policy.Manager.RecentWindow); key.LastStart != 0 && t < until {
		out := refuse(ReasonRecentAcquisition, min(until, renewed))
		out.Since, out.Window = key.LastStart, policy.Manager.RecentWindow
		return out
	}

	// Row 8. A quota failure that marked no token of this key is none of this key.
	if !suspect && !spent {
		return refuse(ReasonNotQuotaFailure, renewed)
	}
	if r.Reset > t && r.Reset <= t.Plus(policy.Manager.MinTokenAge) {
		out := refuse(ReasonResetsSoon, min(r.Reset, renewed))
		out.Window = r.Reset.Sub(t)
		return out
	}
	return goOn(ReasonQuotaSpent)
}
