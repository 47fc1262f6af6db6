package tokenguard

// steadyUntil is how long the same question, asked of the same document, surely has the same answer.
func (v *view) steadyUntil(rl ruling, r reading) instant {
	until := never
	limit := func(t instant) {
		if t > r.now {
			until = min(until, t)
		}
	}
	limit(rl.until)
	limit(v.doc.key(v.q.scope).Pause.Until)
	for _, rec := range v.doc.byScope[v.q.scope] {
		counts, ends := v.policy.expiry(rec)
		limit(counts)
		limit(ends)
		limit(v.policy.refreshAt(rec))
		limit(rec.Reset)
	}
	if rec := v.doc.Tokens[v.q.failing]; rec != nil {
		limit(rec.Reset)
		limit(rec.Acquired.plus(spreading))
		if rec.Suspect != 0 {
			limit(rec.Suspect.plus(v.policy.Manager.Confirmation))
		}
	}
	return until
}
