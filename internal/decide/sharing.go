package decide

// Which starts not everybody needs, and how many of them there may be.

import (
	"slices"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// othersFine names an operation other than this one that had a success with a token of the scope in the last hour and
// has a live token that it does not refuse; ok false: there is none. until is when its success is an hour old.
func (in *Input) othersFine(t timeline.Instant) (operation string, until timeline.Instant, ok bool) {
	tokens := in.Doc.ByScope.Of(in.Request.Scope)
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
	return in.Doc.Scope(scope).Worked || slices.ContainsFunc(in.Doc.ByScope.Of(scope), (*ledger.Token).Proved)
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
	for scope, tokens := range in.Doc.ByScope.All() {
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
	for _, tokens := range in.Doc.ByScope.All() {
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
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		if r.By(in.Request.Operation).Refuses(t) {
			return r
		}
	}
	return nil
}

// refusedLate tells a token that has come to its end from one that never was for this operation, which refuses it at once.
func (in *Input) refusedLate(r *ledger.Token) bool {
	e := r.By(in.Request.Operation)
	at := e.Refused
	if at == 0 {
		at = e.Quota
	}
	return at >= in.Policy.FreshUntil(r)
}

// heardBefore reports whether the operation has said something of another token of the scope, a while ago, and of none that
// the others have then gone on with. Who only reports failures shows by that that it is no name made up for the purpose; who
// refuses what works for others has only shown that the next token would meet the same, also where it has refused a dead one
// besides. A success of its own shows more.
func (in *Input) heardBefore(of *ledger.Token, t timeline.Instant) bool {
	heard, contradicted := false, false
	for _, r := range in.Doc.ByScope.Of(in.Request.Scope) {
		e := r.By(in.Request.Operation)
		first := e.First()
		switch {
		case r == of || first == 0:
		case e.Success != 0 && t >= first.Plus(acquainted):
			return true
		case e.Success == 0 && r.Contradicted(e):
			contradicted = true
		default:
			heard = heard || t >= first.Plus(acquainted)
		}
	}
	return heard && !contradicted
}
