package tokenguard

import (
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// explain asks every step, also those behind the deciding one, of a copy that it may change.
func (g *Guard) explain(q *decide.Request, st *replica.Revision, r timeline.Reading) Explanation {
	q.Failing = normalID(q.Failing)
	doc := st.Doc.Clone()
	if q.Class != "" {
		doc.Report(g.opt.policy, &q.Report, q.Scope, g.personalRecord(q.Failing), r.Now)
	}
	if g.personal != nil { // what is reported may be about the personal token
		q.Personal, _ = g.personal.view(g.opt, doc, q.Scope, r.Now)
	}
	v := g.viewOn(q, &replica.Revision{Doc: doc, Unreadable: st.Unreadable}, r.Now)
	// The request's own failure is an outcome of the token, too, unless it was counted before.
	if newest := doc.Newest(q.Scope); q.Class != "" && newest != nil && newest.ID == q.Failing && !g.reports.Contains(idOf(&q.Report)) {
		v.Pending.Add(outcomeOf(&q.Report, Outcome{}, r))
	}
	final, steps := v.Steps(r.Now)
	if final.LiftsSuspicion { // the refusal comes after it
		doc.Newest(q.Scope).ClearSuspicion()
	}
	retry := v.RetryAt(r.Now)
	word := func(rl decide.Decision) Verdict {
		at := timeline.Instant(0)
		if rl.Answer == decide.AnswerRefuse {
			at = retry
		}
		return verdictOf(v, rl, r, at)
	}
	out := Explanation{At: r.Wall, Verdict: word(final)}
	for _, rl := range steps {
		out.Steps = append(out.Steps, word(rl))
	}
	return out
}
