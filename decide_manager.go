package tokenguard

import (
	"github.com/tokenguard/tokenguard/internal/classify"
)

// Step 4. Is a new token needed at all? The table of DESIGN: the first row that matches decides. It speaks of the
// key's newest known anonymous token, which need not be in the cache any more.

func (v *view) manager(t instant) ruling {
	policy, q, key := v.policy, v.q, v.doc.key(v.q.scope)
	r := v.doc.newest(q.scope)
	refuse := func(reason reasonName, until instant) ruling {
		out := ruling{step: dStepManager, answer: dAnswerRefuse, reason: reason, until: until}
		if r != nil {
			out.tokenID, out.since = r.ID, r.Acquired
		}
		return out
	}
	goOn := func(reason reasonName) ruling {
		out := refuse(reason, 0)
		out.answer = dAnswerPass
		return out
	}

	switch { // rows 1 to 3
	case t < key.Pause.Until:
		out := refuse(dReasonUpstreamRateLimited, key.Pause.Until)
		out.since, out.window = key.Pause.From, key.Pause.Until.sub(key.Pause.From)
		return out
	case q.class == classify.Forbidden:
		return refuse(dReasonForbidden, never)
	case q.personal.usable:
		return refuse(dReasonPersonalUsable, never)
	}

	// Row 4. Whatever the rows below refuse, they refuse until the token has expired, or may be refreshed.
	if r == nil {
		return goOn(dReasonNoToken)
	}
	expired, _ := policy.expiry(r)
	renewed := policy.refreshAt(r)
	suspect, spent := r.suspect(t), r.spent(t)
	switch {
	case t >= expired:
		return goOn(dReasonExpired)
	case r.Rejected != 0:
		return goOn(dReasonRejected)
	case !v.readable(r) && (r.held() || !suspect && !spent):
		// Nobody can read what was evicted. But what was reported of it stays: asking again without the failure must not
		// turn row 6 into this one.
		return goOn(dReasonUnreadable)
	case policy.RefreshAhead > 0 && t >= renewed:
		return goOn(dReasonExpiring)
	}

	confirmable := r.Suspect.plus(policy.Manager.Confirmation)
	if v.later != 0 && suspect && q.class == classify.QuotaExhausted && q.failing == r.ID && v.later < confirmable && t >= confirmable {
		spent = true // the report that this caller would bring then; the one it brings now confirms nothing
	}
	// Row 5. A failing token that is not the newest says nothing about the newest.
	if !suspect && !spent && q.class != classify.QuotaExhausted {
		return refuse(dReasonNotQuotaFailure, renewed)
	}

	// Row 6.
	if old := r.Acquired.plus(policy.Manager.MinTokenAge); t < old && !(policy.Manager.ReplaceSpentEarly && spent) {
		until := old
		if policy.Manager.ReplaceSpentEarly && confirmable > t {
			until = min(old, confirmable)
		}
		out := refuse(dReasonTokenTooNew, min(until, renewed))
		out.window = policy.Manager.MinTokenAge
		return out
	}

	// Row 7.
	if until := key.LastStart.plus(policy.Manager.RecentWindow); key.LastStart != 0 && t < until {
		out := refuse(dReasonRecentAcquisition, min(until, renewed))
		out.since, out.window = key.LastStart, policy.Manager.RecentWindow
		return out
	}

	// Row 8. A quota failure that marked no token of this key is none of this key.
	if !suspect && !spent {
		return refuse(dReasonNotQuotaFailure, renewed)
	}
	if r.Reset > t && r.Reset <= t.plus(policy.Manager.MinTokenAge) {
		out := refuse(dReasonResetsSoon, min(r.Reset, renewed))
		out.window = r.Reset.sub(t)
		return out
	}
	return goOn(dReasonQuotaSpent)
}
