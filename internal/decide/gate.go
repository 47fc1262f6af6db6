package decide

import (
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 3. One acquisition per key at a time over the store, and few of different keys; the others wait.

func (in *Input) Gate(t timeline.Instant) Decision {
	out := Decision{Step: StepGate, Answer: AnswerPass, Limit: in.Policy.Dedup.MaxConcurrent}
	var first timeline.Instant = timeline.Never
	for i := range in.Doc.Attempts {
		a := &in.Doc.Attempts[i]
		if !a.InProgress(t) {
			continue
		}
		out.Count++
		first = min(first, a.LeaseEnd(t))
		if a.Scope == in.Request.Scope {
			out.Answer, out.Reason, out.Since, out.Until, out.Owner = AnswerWait, ReasonJoined, a.Start, a.LeaseEnd(t), a.Owner
		}
	}
	if out.Answer == AnswerPass && out.Count >= out.Limit {
		out.Answer, out.Reason, out.Until = AnswerWait, ReasonJoined, first
		out.Place = true
	}
	if most := in.Policy.Dedup.MaxWaiters; out.Answer == AnswerWait && in.Waiters >= most {
		out.Answer, out.Reason, out.Count, out.Limit = AnswerRefuse, ReasonTooManyWaiters, in.Waiters, most
	}
	return out
}
