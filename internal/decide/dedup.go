package decide

import (
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 1. A request that carries a failure is a duplicate of one for which an acquisition was started in the last
// minutes, if it says the same thing. It may still have a token that is there or on its way; it starts nothing.

// dedup finds the newest start that this request duplicates.
func (in *Input) dedup(t timeline.Instant) Decision {
	pass := Decision{Step: StepDedup, Answer: AnswerPass}
	if in.Request.Class == "" {
		return pass
	}
	for i := len(in.Doc.Triggers) - 1; i >= 0; i-- {
		r := &in.Doc.Triggers[i]
		until := r.Start.Plus(in.Policy.Dedup.Window)
		if t >= until || r.Scope != in.Request.Scope || r.Class != in.Request.Class || in.concernsNewerToken(r) {
			continue
		}
		if s := similarity(r.Parsed(), in.Request.Template, in.Policy.Dedup.Similarity); s > 0 {
			return Decision{Step: StepDedup, Answer: AnswerRefuse, Reason: ReasonDuplicate, Until: until,
				Since: r.Start, Window: in.Policy.Dedup.Window, Similarity: s}
		}
		pass.Count++
	}
	return pass
}

// concernsNewerToken reports whether the request speaks of a token that came after the start: of what that start brought, or later.
func (in *Input) concernsNewerToken(r *ledger.Trigger) bool {
	failing := in.Doc.Tokens[in.Request.Failing]
	return failing != nil && failing.Kind == ledger.Anonymous && failing.Seq >= r.Seq
}

// similarity is 0 for texts that are not the same at this threshold.
func similarity(a, b template.Template, threshold float64) float64 {
	if !template.Same(a, b, threshold) {
		return 0
	}
	return template.Similarity(a, b)
}
