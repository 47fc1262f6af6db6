package decide

import (
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 6. The predictor is asked once all gates are open and a token is to be replaced because of its quota. It may
// know better than the report: from the outcomes that came with the token since.

func (in *Input) predictor(t timeline.Instant) Decision {
	out := Decision{Step: StepPredictor, Answer: AnswerPass}
	r := in.Doc.Newest(in.Request.Scope)
	if r == nil {
		return out
	}
	since := r.SuspectSince()
	usage := r.Usage
	if in.Pending.Calls > 0 {
		usage = usage.Clone()
		usage.Merge(in.Pending)
	}
	a := in.Policy.Assess(usage, since, t)
	out.Level, out.Confidence, out.Count, out.TokenID, out.Since = a.Level, a.Confidence, int(a.Points), r.ID, since
	helped := in.Request.Failing == r.ID || in.servesLifted(t) // who has the token, or gets it; a veto leaves others with nothing
	if helped && a.Confidence > in.Policy.Predictor.Confidence && a.Level != predict.Critical && a.Level != predict.Exhausted {
		out.Answer, out.Reason, out.Until, out.LiftsSuspicion = AnswerRefuse, ReasonQuotaSufficient, in.DueAt(r, t), true
	}
	return out
}
