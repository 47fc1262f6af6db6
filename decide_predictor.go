package tokenguard

import (
	"github.com/tokenguard/tokenguard/internal/predict"
)

// Step 6. The predictor is asked once all gates are open and a token is to be replaced because of its quota. It may
// know better than the report: from the outcomes that came with the token since.

func (v *view) predictor(t instant) ruling {
	out := ruling{step: dStepPredictor, answer: dAnswerPass}
	r := v.doc.newest(v.q.scope)
	if r == nil {
		return out
	}
	since := r.Suspect
	if since == 0 {
		since = r.Spent
	}
	usage := r.Usage
	if v.pending.Calls > 0 {
		usage = usage.Clone()
		usage.Merge(v.pending)
	}
	a := v.policy.assess(usage, since, t)
	out.level, out.confidence, out.count, out.tokenID, out.since = a.Level, a.Confidence, int(a.Points), r.ID, since
	helped := v.q.failing == r.ID || v.servesLifted(t) // who has the token, or gets it; a veto leaves others with nothing
	if helped && a.Confidence > v.policy.Predictor.Confidence && a.Level != predict.Critical && a.Level != predict.Exhausted {
		out.answer, out.reason, out.until, out.lifts = dAnswerRefuse, dReasonQuotaSufficient, v.policy.refreshAt(r), true
	}
	return out
}
