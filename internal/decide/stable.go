package decide

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// StableUntil is how long the same question, asked of the same document, surely has the same answer.
func (in *Input) StableUntil(d Decision, r timeline.Reading) timeline.Instant {
	until := timeline.Never
	limit := func(t timeline.Instant) {
		if t > r.Now {
			until = min(until, t)
		}
	}
	limit(d.Until)
	limit(in.Doc.Scope(in.Request.Scope).Pause.Until)
	for _, rec := range in.Doc.ByScope.Of(in.Request.Scope) {
		counts, ends := in.Policy.Expiry(rec)
		limit(counts)
		limit(ends)
		limit(in.DueAt(rec, r.Now))
		limit(rec.Reset)
	}
	in.turns(limit)
	in.renewalTurns(limit, r.Now)
	if rec := in.Doc.Tokens[in.Request.Failing]; rec != nil {
		limit(rec.Reset)
		limit(rec.Acquired.Plus(ledger.Spreading))
		if rec.Suspect != 0 {
			limit(rec.Suspect.Plus(in.Policy.Manager.Confirmation))
		}
	}
	return until
}

// RetryAtReported is RetryAt for the same report made so much later: an instant that rests on when it was made moves.
func (in *Input) RetryAtReported(later time.Duration, now timeline.Instant) timeline.Instant {
	own, q := *in, *in.Request
	q.At = q.At.Plus(later)
	own.Request = &q
	return own.RetryAt(now)
}
