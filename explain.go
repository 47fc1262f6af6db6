package tokenguard

// explain asks every step, also those behind the deciding one, of a copy that it may change.
func (g *Guard) explain(q *query, st *state, r reading) Explanation {
	q.failing = normalID(q.failing)
	doc := st.doc.clone()
	if q.class != ClassNone {
		doc.report(g.opt, q, g.personalRecord(q.failing), r.now)
	}
	if g.personal != nil { // what is reported may be about the personal token
		q.personal, _ = g.personal.view(g.opt, doc, q.scope, r.now)
	}
	v := g.viewOn(q, &state{doc: doc, tokens: st.tokens})
	// The request's own failure is an outcome of the token, too, unless it was counted before.
	if newest := doc.newest(q.scope); q.class != ClassNone && newest != nil && newest.ID == q.failing && !g.reports.Contains(q.reportID()) {
		v.pending.Add(outcomeOf(&q.report, Outcome{}, r))
	}
	final := v.decide(r.now)
	cache := ruling{step: StepCache, answer: AnswerPass}
	if final.step == StepCache {
		cache = final
	} else if t := v.cached(r.now); t != nil {
		cache = v.servedBy(t)
	}
	manager := v.manager(r.now)
	predictor := ruling{step: StepPredictor, answer: AnswerPass}
	if manager.reason == ReasonQuotaSpent {
		predictor = v.predictor(r.now)
	}
	request := ruling{step: StepRequest, answer: AnswerPass}
	if final.answer == AnswerStart {
		request.answer = AnswerStart
	}
	steps := []ruling{v.dedup(r.now), cache, v.gate(r.now), manager, v.limiter(r.now), predictor, request}

	if final.lifts { // the refusal comes after it
		doc.newest(q.scope).lift()
	}
	retry := v.retryAt(r.now)
	word := func(rl ruling) Verdict {
		at := instant(0)
		if rl.answer == AnswerRefuse {
			at = retry
		}
		return v.verdict(rl, r, at)
	}
	out := Explanation{At: r.wall, Verdict: word(final)}
	for _, rl := range steps {
		out.Steps = append(out.Steps, word(rl))
	}
	return out
}
