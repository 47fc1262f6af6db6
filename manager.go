package tokenguard

import "time"

// Step 4. Is a new token needed at all? The table of DESIGN: the first row that matches decides. It speaks of the
// key's newest known anonymous token, which need not be in the cache any more.

const defaultPause = 60 * time.Second // after a rate_limited that names no time

func (v *view) manager(t instant) ruling {
	o, q, key := v.opt, v.q, v.doc.key(v.q.scope)
	r := v.doc.newest(q.scope)
	refuse := func(reason Reason, until instant) ruling {
		out := ruling{step: StepManager, answer: AnswerRefuse, reason: reason, until: until}
		if r != nil {
			out.tokenID, out.since = r.ID, r.Acquired
		}
		return out
	}
	goOn := func(reason Reason) ruling {
		out := refuse(reason, 0)
		out.answer = AnswerPass
		return out
	}

	switch { // rows 1 to 3
	case t < key.Pause.Until:
		out := refuse(ReasonUpstreamRateLimited, key.Pause.Until)
		out.since, out.window = key.Pause.From, key.Pause.Until.sub(key.Pause.From)
		return out
	case q.class == ClassForbidden:
		return refuse(ReasonForbidden, never)
	case q.personal.usable:
		return refuse(ReasonPersonalUsable, never)
	}

	// Row 4. Whatever the rows below refuse, they refuse until the token has expired, or may be refreshed.
	if r == nil {
		return goOn(ReasonNoToken)
	}
	expired, _ := o.expiry(r)
	renewed := o.refreshAt(r)
	suspect, spent := r.suspect(t), r.spent(t)
	switch {
	case t >= expired:
		return goOn(ReasonExpired)
	case r.Rejected != 0:
		return goOn(ReasonRejected)
	case !v.readable(r) && (r.held() || !suspect && !spent):
		// Nobody can read what was evicted. But what was reported of it stays: asking again without the failure must not
		// turn row 6 into this one.
		return goOn(ReasonUnreadable)
	case o.refreshAhead > 0 && t >= renewed:
		return goOn(ReasonExpiring)
	}

	confirmable := r.Suspect.plus(o.Manager.Confirmation)
	if v.later != 0 && suspect && q.class == ClassQuotaExhausted && q.failing == r.ID && v.later < confirmable && t >= confirmable {
		spent = true // the report that this caller would bring then; the one it brings now confirms nothing
	}
	// Row 5. A failing token that is not the newest says nothing about the newest.
	if !suspect && !spent && q.class != ClassQuotaExhausted {
		return refuse(ReasonNotQuotaFailure, renewed)
	}

	// Row 6.
	if old := r.Acquired.plus(o.Manager.MinTokenAge); t < old && !(o.Manager.ReplaceSpentEarly && spent) {
		until := old
		if o.Manager.ReplaceSpentEarly && confirmable > t {
			until = min(old, confirmable)
		}
		out := refuse(ReasonTokenTooNew, min(until, renewed))
		out.window = o.Manager.MinTokenAge
		return out
	}

	// Row 7.
	if until := key.LastStart.plus(o.Manager.RecentWindow); key.LastStart != 0 && t < until {
		out := refuse(ReasonRecentAcquisition, min(until, renewed))
		out.since, out.window = key.LastStart, o.Manager.RecentWindow
		return out
	}

	// Row 8. A quota failure that marked no token of this key is none of this key.
	if !suspect && !spent {
		return refuse(ReasonNotQuotaFailure, renewed)
	}
	if r.Reset > t && r.Reset <= t.plus(o.Manager.MinTokenAge) {
		out := refuse(ReasonResetsSoon, min(r.Reset, renewed))
		out.window = r.Reset.sub(t)
		return out
	}
	return goOn(ReasonQuotaSpent)
}
