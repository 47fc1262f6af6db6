package tokenguard

// steps asks every step, also those behind the deciding one, and returns the decision with them.
func (v *view) steps(now instant) (final ruling, steps []ruling) {
	final = v.decide(now)
	cache := ruling{step: dStepCache, answer: dAnswerPass}
	if final.step == dStepCache {
		cache = final
	} else if t := v.cached(now); t != nil {
		cache = v.servedBy(t)
	}
	manager := v.manager(now)
	predictor := ruling{step: dStepPredictor, answer: dAnswerPass}
	if manager.reason == dReasonQuotaSpent {
		predictor = v.predictor(now)
	}
	request := ruling{step: dStepRequest, answer: dAnswerPass}
	if final.answer == dAnswerStart {
		request.answer = dAnswerStart
	}
	return final, []ruling{v.dedup(now), cache, v.gate(now), manager, v.limiter(now), predictor, request}
}
