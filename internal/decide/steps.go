package decide

import (
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Steps asks every step, also those behind the deciding one, and returns the decision with them.
func (in *Input) Steps(now timeline.Instant) (final Decision, steps []Decision) {
	final = in.Decide(now)
	cache := Decision{Step: StepCache, Answer: AnswerPass}
	if final.Step == StepCache {
		cache = final
	} else if t := in.Pick(now); t != nil {
		cache = in.ServedBy(t)
	}
	manager := in.Manager(now)
	predictor := Decision{Step: StepPredictor, Answer: AnswerPass}
	if manager.Reason == ReasonQuotaSpent {
		predictor = in.predictor(now)
	}
	request := Decision{Step: StepRequest, Answer: AnswerPass}
	if final.Answer == AnswerStart {
		request.Answer = AnswerStart
	}
	steps = []Decision{in.dedup(now), cache, in.Gate(now), manager, in.Limiter(now), predictor, request}
	if in.Identity(now) != nil {
		steps = append(steps, in.Renewal(now))
	}
	return final, steps
}
