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
	tokens := in.Doc.ByScope[in.Request.Scope]
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
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
		if e := r.By(op); e != nil {
			lately = max(lately, e.RefusedLast, e.QuotaLast)
		}
	}
	var best *ledger.Token
	var refused bool
	for _, r := range in.Doc.ByScope[in.Request.Scope] { // the newest first
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
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
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

// othersFine names an operation other than this one that had a success with a token of the scope in the last hour and
// has a live token that it does not refuse; ok false: there is none. until is when its success is an hour old.
func (in *Input) othersFine(t timeline.Instant) (operation string, until timeline.Instant, ok bool) {
	tokens := in.Doc.ByScope[in.Request.Scope]
	fine := func(op string) bool {
		return slices.ContainsFunc(tokens, func(r *ledger.Token) bool {
			_, ends := in.Policy.Expiry(r)
			return t < ends && r.Rejected == 0 && in.Readable(r) && !r.By(op).Refuses(t)
		})
	}
	for _, r := range tokens {
		for i := range r.Evidence {
			x := &r.Evidence[i]
			if x.Operation != in.Request.Operation && x.Success != 0 && x.Success.Plus(ledger.Hour) > t && x.Success.Plus(ledger.Hour) > until && fine(x.Operation) {
				operation, until, ok = x.Operation, x.Success.Plus(ledger.Hour), true
			}
		}
	}
	return operation, until, ok
}

// established reports whether a token of the scope has worked: a success was reported, or it was asked for again a minute
// after it came and was not refused while it was fresh.
func (in *Input) established(scope string) bool {
	return in.Doc.Scope(scope).Worked || slices.ContainsFunc(in.Doc.ByScope[scope], (*ledger.Token).Proved)
}

// Solo reports whether a start at t would be on one operation's word, and whether it would be for a scope that has never
// worked while others that have are in use.
func (in *Input) Solo(t timeline.Instant) (solo, unproven bool) {
	_, _, solo = in.othersFine(t)
	return solo, !in.established(in.Request.Scope) && in.need(t) > 0
}

// Contested reports whether others have already gone on with what the operation refuses.
func (in *Input) Contested(t timeline.Instant) bool {
	r := in.Doc.Newest(in.Request.Scope)
	if r == nil {
		return false
	}
	e := r.By(in.Request.Operation)
	return e.Refuses(t) && r.Contradicted(e)
}

// need is the number of starts that expiry will force in a day, over the established scopes in use.
func (in *Input) need(t timeline.Instant) (n int) {
	for scope, tokens := range in.Doc.ByScope {
		r := tokens[0]
		_, ends := in.Policy.Expiry(r)
		if in.renews(r, t) { // its values are renewed, which is no start
			continue
		}
		if life := ends.Sub(r.Acquired); life > 0 && t < ends.Plus(inUseFor) && in.established(scope) {
			n += int((ledger.Day + life - 1) / life)
		}
	}
	return n
}

// spare reports whether a start is left over: those of the day and those that expiry will force stay below the day's
// limit, and one more is left in the hour.
func (in *Input) spare(t timeline.Instant) bool {
	limits := in.Policy.RateLimit
	hour := in.Window(t, ReasonHourLimit, ledger.Hour, limits.MaxRequestsPerHour)
	day := in.Window(t, ReasonDayLimit, ledger.Day, limits.MaxRequestsPerDay)
	return day.Count+in.need(t) < limits.MaxRequestsPerDay && hour.Count < limits.MaxRequestsPerHour-1
}

// sharing is the rule on starts that not everybody needs. One that is on a single operation's word, or for a scope that
// has never worked, comes out of what is spare; beyond that one contested start, and one for a new scope, a day.
func (in *Input) sharing(t timeline.Instant) Decision {
	reason := in.unshared(t)
	if reason == "" {
		return Decision{Step: StepManager, Answer: AnswerPass}
	}
	out := Decision{Step: StepManager, Answer: AnswerRefuse, Reason: reason, Until: in.sharedAgain(t), Limit: soloADay, Window: ledger.Day}
	out.operation, out.fineUntil, _ = in.othersFine(t)
	if refused := in.newestRefused(t); refused != nil {
		out.TokenID, out.Since = refused.ID, refused.Acquired
	}
	return out
}

// unshared is why the operation may not lead to a start at t that not everybody needs; "": it may.
func (in *Input) unshared(t timeline.Instant) Reason {
	solo, unproven := in.Solo(t)
	if !solo && !unproven {
		return ""
	}
	refused := in.newestRefused(t)
	succeeded := refused != nil && refused.By(in.Request.Operation).Success != 0
	worked := succeeded || refused != nil && in.refusedLate(refused)
	if (unproven || succeeded || worked && in.heardBefore(refused, t)) && in.spare(t) {
		return ""
	}
	var contested, unprovenStarts int
	for i := range in.Doc.Attempts {
		a := &in.Doc.Attempts[i]
		if a.End <= t-timeline.Instant(ledger.Day) {
			continue
		}
		if a.Solo && a.Contested {
			contested++
		}
		if a.New {
			unprovenStarts++
		}
	}
	switch {
	case solo && contested >= soloADay && worked:
		return ReasonNotShared
	case solo && contested >= soloADay:
		return ReasonForbidden
	case unproven && unprovenStarts >= soloADay:
		return ReasonKeptBack
	}
	return ""
}

// sharedAgain is the first instant after t at which the operation may lead to a start that not everybody needs, as things
// are now.
func (in *Input) sharedAgain(t timeline.Instant) timeline.Instant {
	var at []timeline.Instant
	add := func(i timeline.Instant) {
		if i > t && i != timeline.Never {
			at = append(at, i)
		}
	}
	for i := range in.Doc.Attempts {
		add(in.Doc.Attempts[i].End.Plus(ledger.Hour))
		add(in.Doc.Attempts[i].End.Plus(ledger.Day))
	}
	for _, tokens := range in.Doc.ByScope {
		for _, r := range tokens {
			counts, ends := in.Policy.Expiry(r)
			add(counts)
			add(ends)
			add(ends.Plus(inUseFor))
			for i := range r.Evidence {
				if r.Serves(in.Request.Scope) {
					add(r.Evidence[i].First().Plus(acquainted))
					add(r.Evidence[i].Success.Plus(ledger.Hour))
					add(r.Evidence[i].Reset)
				}
			}
		}
	}
	slices.Sort(at)
	for _, i := range slices.Compact(at) {
		if in.unshared(i) == "" {
			return i
		}
	}
	return timeline.Never
}

// newestRefused is the newest token of the scope that the operation refuses; nil: there is none.
func (in *Input) newestRefused(t timeline.Instant) *ledger.Token {
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
		if r.By(in.Request.Operation).Refuses(t) {
			return r
		}
	}
	return nil
}

// refusedLate reports whether the operation refused the token only once it was no longer fresh.
func (in *Input) refusedLate(r *ledger.Token) bool {
	e := r.By(in.Request.Operation)
	at := e.Refused
	if at == 0 {
		at = e.Quota
	}
	return at >= in.Policy.FreshUntil(r)
}

// heardBefore reports whether the operation has said something of another token of the scope, a while ago. Who only
// reports failures shows by that that it is no name made up for the purpose.
func (in *Input) heardBefore(of *ledger.Token, t timeline.Instant) bool {
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
		if first := r.By(in.Request.Operation).First(); r != of && first != 0 && t >= first.Plus(acquainted) {
			return true
		}
	}
	return false
}

// Unfit closes the scope for an operation, or for all, whose fresh tokens never worked: 10 min after the first, then as
// long as a refused key, doubling. It bars starts; it never takes a token.
func (in *Input) Unfit(t timeline.Instant) Decision {
	var own, all int
	var ownAt, allAt timeline.Instant
	runOwn, runAll := true, true
	lifted := in.Doc.Scope(in.Request.Scope).Lifted
	for _, r := range in.Doc.ByScope[in.Request.Scope] {
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
