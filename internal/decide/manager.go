package decide

import (
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 4. Is a new token needed at all? The first row of the table in docs/reasons.md that matches decides. It speaks of
// the key's newest known anonymous token, which need not be in the cache any more.

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

	if bar := in.Barred(t); bar.Answer == AnswerRefuse { // rows 1 to 3
		return bar
	}

	// Row 4. Whatever the rows below refuse, they refuse until the token has expired, or may be refreshed.
	if r == nil {
		return goOn(ReasonNoToken)
	}
	expired, _ := policy.Expiry(r)
	renewed := in.DueAt(r, t)
	own := r.By(q.Operation)
	suspect, spent := own.Suspects(t), own.Suspects(t) && own.Spent
	account := (suspect || spent) && in.renews(r, t) // what is spent is the account, whatever becomes of its value
	if account {
		renewed = timeline.Never
	}
	switch {
	case t >= expired && !account:
		return goOn(ReasonExpired)
	case r.Rejected != 0 || own != nil && own.Refused != 0:
		return goOn(ReasonRejected)
	case !in.Readable(r) && (r.HasValue() || !suspect && !spent):
		// Nobody can read what was evicted. But what was reported of it stays: asking again without the failure must not
		// turn row 6 into this one.
		return goOn(ReasonUnreadable)
	case policy.RefreshAhead > 0 && t >= renewed && !account:
		return goOn(ReasonExpiring)
	}

	var confirmable, reset timeline.Instant
	if own != nil && own.Quota != 0 {
		confirmable, reset = own.Quota.Plus(policy.Manager.Confirmation), own.Reset
	}
	if in.later != 0 && own.Suspects(t) && q.Class == classify.QuotaExhausted && q.Failing == r.ID && in.later < confirmable && t >= confirmable {
		suspect, spent = true, true // the report that this caller would bring then; the one it brings now confirms nothing
	}
	// Row 5. A failing token that is not the newest says nothing about the newest.
	if !suspect && !spent && q.Class != classify.QuotaExhausted {
		return refuse(ReasonNotQuotaFailure, renewed)
	}

	// Row 6.
	if old := r.Born().Plus(policy.Manager.MinTokenAge); t < old && !(policy.Manager.ReplaceSpentEarly && spent) {
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
	if reset > t && reset <= t.Plus(policy.Manager.MinTokenAge) {
		out := refuse(ReasonResetsSoon, min(reset, renewed))
		out.Window = reset.Sub(t)
		return out
	}
	if !spent && q.Operation != "" { // a caller with a name can be asked again: it has to be sure
		until := renewed
		if confirmable > t {
			until = min(confirmable, renewed)
		}
		out := refuse(ReasonUnconfirmed, until)
		out.Since, out.Window = own.Quota, policy.Manager.Confirmation
		return out
	}
	return goOn(ReasonQuotaSpent)
}

// Barred are the first three rows of the manager's table, which hold for acquisitions and renewals.
func (in *Input) Barred(t timeline.Instant) Decision {
	q, key := in.Request, in.Doc.Scope(in.Request.Scope)
	refuse := func(reason Reason, until timeline.Instant) Decision {
		out := Decision{Step: StepManager, Answer: AnswerRefuse, Reason: reason, Until: until}
		if r := in.Doc.Newest(q.Scope); r != nil {
			out.TokenID, out.Since = r.ID, r.Acquired
		}
		return out
	}
	switch {
	case t < in.pausedUntil():
		pause := key.Pause
		if own := key.PauseOf(q.Operation); own.Until > pause.Until {
			pause = own
		}
		out := refuse(ReasonUpstreamRateLimited, pause.Until)
		out.Since, out.Window = pause.From, pause.Until.Sub(pause.From)
		return out
	case q.Class == classify.Forbidden:
		return refuse(ReasonForbidden, timeline.Never)
	case q.Personal.Usable:
		return refuse(ReasonPersonalUsable, timeline.Never)
	}
	return Decision{Step: StepManager, Answer: AnswerPass}
}
