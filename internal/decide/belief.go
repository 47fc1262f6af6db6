package decide

import (
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// What an operation may have of a token, by what it and the others have seen of it, and which starts its word can lead
// to. The principle: nothing that one operation says takes a token from another. docs/evidence.md has the rules as a
// table.

const (
	retryAfterAuth = time.Minute      // after which a token that this operation alone refused once is tried again
	holdAuth       = time.Minute      // doubling: after which a refused token is a last resort
	holdQuota      = 30 * time.Minute // the same for one that is spent
	mostHold       = time.Hour
	soloADay       = 1 // contested starts
	firstClosing   = 10 * time.Minute
	acquainted     = 10 * time.Minute // after its first word an operation is no new name
	inUseFor       = time.Hour        // after which a scope whose token has expired is not in use
)

// How well a token suits an operation; the least is the best.
const (
	worksForIt  = iota // it had a success and has not refused it
	undoubted          // nobody else refuses it
	newestOfAll        // it is tried whatever the others say
	suspected          // the operation itself suspects its quota
	onceMore           // refused by this operation alone, once
	toTry              // spent until a reset that is only assumed, which has come
	lastResort         // refused, but long ago
	unsuitable
)

// suits ranks a token for the request's operation at t.
func (in *Input) suits(r *ledger.Token, t timeline.Instant) int {
	if !in.Usable(r, t) {
		return unsuitable
	}
	op := in.Request.Operation
	e := r.By(op)
	switch {
	case e.Refuses(t):
		if e.Refused != 0 && e.Refusals == 1 && t >= e.RefusedLast.Plus(retryAfterAuth) &&
			(e.Success != 0 || e.Refused >= in.Policy.FreshUntil(r)) && r.Doubts(op, t) == 0 {
			return onceMore
		}
		return unsuitable
	case e != nil && e.Early && e.Success == 0 && t < r.Acquired.Plus(ledger.Spreading):
		return unsuitable
	case e.Due(t):
		return toTry
	case e.Suspects(t):
		return suspected
	case e != nil && e.Success != 0:
		return worksForIt
	case r.Doubts(op, t) == 0:
		return undoubted
	case r == in.Doc.Newest(in.Request.Scope):
		return newestOfAll
	}
	return unsuitable
}

// Withholds reports whether a token that could go to others is kept from the operation at t, unless as a last resort.
func (in *Input) Withholds(r *ledger.Token, operation string, t timeline.Instant) bool {
	own, q := *in, *in.Request
	q.Operation = operation
	own.Request = &q
	return in.Usable(r, t) && own.suits(r, t) == unsuitable
}

// Differs reports whether some operation with a name may have to be answered otherwise than one that nothing is known of.
func (in *Input) Differs(t timeline.Instant) bool {
	tokens := in.Doc.ByScope.Of(in.Request.Scope)
	for _, r := range tokens {
		for i := range r.Evidence {
			if e := &r.Evidence[i]; e.Stands() || len(tokens) > 1 && e.Success != 0 && in.Usable(r, t) {
				return true
			}
		}
	}
	return false
}

// lastResort is the token that the operation is handed where nothing may be started: a live one that it has not refused,
// else one that it refused long ago.
func (in *Input) lastResort(t timeline.Instant) *ledger.Token {
	op := in.Request.Operation
	if in.Request.Kind != ledger.Anonymous || in.paused(t) || t < in.Doc.Scope(in.Request.Scope).PauseOf(op).Until {
		return nil
	}
	var lately timeline.Instant
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		if e := r.By(op); e != nil {
			lately = max(lately, e.RefusedLast, e.QuotaLast)
		}
	}
	var best *ledger.Token
	var refused bool
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) { // the newest first
		if !in.Usable(r, t) || in.reportedDead(r, t) {
			continue
		}
		e := r.By(op)
		switch {
		case e == nil || e.Refused == 0 && e.Quota == 0:
			if e != nil && e.Early && t < r.Acquired.Plus(ledger.Spreading) {
				continue
			}
			if best == nil || refused {
				best, refused = r, false
			}
		case best != nil, t < lately.Plus(holdAuth), t < heldUntil(e, t):
		default:
			best, refused = r, true
		}
	}
	return best
}

// heldUntil is when a token that the operation refuses is a last resort for it again.
func heldUntil(e *ledger.Evidence, t timeline.Instant) (until timeline.Instant) {
	if e.Refused != 0 {
		until = e.RefusedLast.Plus(ledger.Doubled(holdAuth, e.Refusals, mostHold))
	}
	if e.Spent {
		hold := e.QuotaLast.Plus(ledger.Doubled(holdQuota, e.Refusals, mostHold))
		if e.Reset != 0 {
			hold = e.Reset
		}
		until = max(until, hold)
	}
	return until
}

// turns calls f with each instant at which what suits the operation may change.
func (in *Input) turns(f func(timeline.Instant)) {
	k := in.Doc.Scope(in.Request.Scope)
	f(k.Pause.Until)
	f(k.PauseOf(in.Request.Operation).Until)
	var lately timeline.Instant
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		f(r.Reset)
		f(r.Acquired.Plus(ledger.Spreading))
		if in.Request.Failing == r.ID {
			f(in.Request.At.Plus(retryAfterAuth))
			f(in.triedAgain(r))
		}
		for i := range r.Evidence {
			f(r.Evidence[i].Reset)
		}
		e := r.By(in.Request.Operation)
		if e == nil {
			continue
		}
		lately = max(lately, e.RefusedLast, e.QuotaLast)
		if e.Refused != 0 {
			f(e.RefusedLast.Plus(retryAfterAuth))
		}
		if e.Quota != 0 {
			f(e.Quota.Plus(in.Policy.Manager.Confirmation))
		}
		f(heldUntil(e, 0))
	}
	f(lately.Plus(holdAuth))
}

// Unfit closes the scope for an operation, or for all, whose fresh tokens never worked: 10 min after the first, then as
// long as a refused key, doubling. It bars starts; it never takes a token.
func (in *Input) Unfit(t timeline.Instant) Decision {
	var own, all int
	var ownAt, allAt timeline.Instant
	runOwn, runAll := true, true
	lifted := in.Doc.Scope(in.Request.Scope).Lifted
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		if lifted != 0 && r.Acquired <= lifted {
			break // the newest first
		}
		e, fresh := r.By(in.Request.Operation), in.Policy.FreshUntil(r)
		// A token that was refused only before it had spread, and that was asked for beyond its fresh time, has served.
		spread := e != nil && e.Refused == 0 && r.Used > fresh
		switch {
		case e != nil && e.Success != 0:
			runOwn = false
		case runOwn && e != nil && (e.Refused != 0 && e.Refused < fresh || e.Early && !spread) && !r.Succeeded:
			own, ownAt = own+1, max(ownAt, e.Refused, earlyAt(e, r))
		case runOwn && (e == nil || e.Refused == 0) && slices.Contains(r.FreshBy, in.Request.Operation) && !r.Succeeded: // its entry gave way
			own, ownAt = own+1, max(ownAt, r.FreshRefused)
		case e != nil && e.Refused != 0, r.Used > fresh: // it served beyond its fresh time
			runOwn = false
		}
		switch {
		case r.Succeeded:
			runAll = false
		case runAll && r.FreshRefusals >= 2:
			all, allAt = all+1, max(allAt, r.FreshRefused)
		case r.FreshRefusals == 0 && t > fresh:
			runAll = false
		}
	}
	out := Decision{Reason: ReasonBackoff, scoped: true, unfit: true}
	for _, c := range [...]struct {
		n     int
		since timeline.Instant
	}{{own, ownAt}, {all, allAt}} {
		if c.n == 0 {
			continue
		}
		wait := min(firstClosing, in.Policy.RateLimit.KeyBackoffBase)
		if c.n > 1 {
			wait = in.Policy.RateLimit.KeyBackoff(c.n - 1)
		}
		if until := c.since.Plus(wait); until > out.Until {
			out.Count, out.Since, out.Window, out.Until = c.n, c.since, wait, until
		}
	}
	return out
}

// earlyAt is when a refusal that came before the token may have spread counts from.
func earlyAt(e *ledger.Evidence, r *ledger.Token) timeline.Instant {
	if e.Early && e.Refused == 0 {
		return r.Acquired
	}
	return 0
}
