package tokenguard

// Step 3. One acquisition per key at a time over the store, and few of different keys; the others wait.

// maxWaiters bounds the callers that wait in one guard.
const maxWaiters = 1 << 17

func (v *view) gate(t instant) ruling {
	out := ruling{step: dStepGate, answer: dAnswerPass, limit: v.policy.Dedup.MaxConcurrent}
	var first instant = never
	for i := range v.doc.Attempts {
		a := &v.doc.Attempts[i]
		if !a.inProgress(t) {
			continue
		}
		out.count++
		first = min(first, a.End)
		if a.Scope == v.q.scope {
			out.answer, out.reason, out.since, out.until, out.owner = dAnswerWait, dReasonJoined, a.Start, a.End, a.Owner
		}
	}
	if out.answer == dAnswerPass && out.count >= out.limit {
		out.answer, out.reason, out.until = dAnswerWait, dReasonJoined, first
		out.place = true
	}
	if out.answer == dAnswerWait && v.waiters >= maxWaiters {
		out.answer, out.reason, out.count, out.limit = dAnswerRefuse, dReasonTooManyWaiters, v.waiters, maxWaiters
	}
	return out
}
