package tokenguard

import "github.com/tokenguard/tokenguard/internal/template"

// Step 1. A request that carries a failure is a duplicate of one for which an acquisition was started in the last
// minutes, if it says the same thing. It may still have a token that is there or on its way; it starts nothing.

// dedup finds the newest start that this request duplicates.
func (v *view) dedup(t instant) ruling {
	pass := ruling{step: dStepDedup, answer: dAnswerPass}
	if v.q.class == "" {
		return pass
	}
	for i := len(v.doc.Records) - 1; i >= 0; i-- {
		r := &v.doc.Records[i]
		until := r.Start.plus(v.policy.Dedup.Window)
		if t >= until || r.Scope != v.q.scope || r.Class != v.q.class || v.news(r) {
			continue
		}
		if s := similarity(r.template(), v.q.template, v.policy.Dedup.Similarity); s > 0 {
			return ruling{step: dStepDedup, answer: dAnswerRefuse, reason: dReasonDuplicate, until: until,
				since: r.Start, window: v.policy.Dedup.Window, similarity: s}
		}
		pass.count++
	}
	return pass
}

// news reports whether the request speaks of a token that came after the start: of what that start brought, or later.
func (v *view) news(r *dedupRecord) bool {
	failing := v.doc.Tokens[v.q.failing]
	return failing != nil && failing.Kind == anonymousKind && failing.Seq >= r.Seq
}

// similarity is 0 for texts that are not the same at this threshold.
func similarity(a, b template.Template, threshold float64) float64 {
	if !template.Same(a, b, threshold) {
		return 0
	}
	return template.Similarity(a, b)
}
