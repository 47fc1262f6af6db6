package tokenguard

// explain asks every step, also those behind the deciding one, of a copy that it may change.
func (g *Guard) explain(q *query, st *state, r reading) Explanation {
	q.failing = normalID(q.failing)
	doc := st.doc.clone()
	if q.class != "" {
		doc.report(g.opt.policy, &q.report, q.scope, g.personalRecord(q.failing), r.now)
	}
	if g.personal != nil { // what is reported may be about the personal token
		q.personal, _ = g.personal.view(g.opt, doc, q.scope, r.now)
	}
	v := g.viewOn(q, &state{doc: doc, tokens: st.tokens, unreadable: st.unreadable})
	// The request's own failure is an outcome of the token, too, unless it was counted before.
	if newest := doc.newest(q.scope); q.class != "" && newest != nil && newest.ID == q.failing && !g.reports.Contains(idOf(&q.report)) {
		v.pending.Add(outcomeOf(&q.report, Outcome{}, r))
	}
	final, steps := v.steps(r.now)
	if final.lifts { // the refusal comes after it
		doc.newest(q.scope).lift()
	}
	retry := v.retryAt(r.now)
	word := func(rl ruling) Verdict {
		at := instant(0)
		if rl.answer == dAnswerRefuse {
			at = retry
		}
		return verdictOf(v, rl, r, at)
	}
	out := Explanation{At: r.wall, Verdict: word(final)}
	for _, rl := range steps {
		out.Steps = append(out.Steps, word(rl))
	}
	return out
}
