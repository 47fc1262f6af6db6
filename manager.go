package tokenguard

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// ManagerConfig sets the decision manager.
type ManagerConfig struct {
	// MinTokenAge is the age before which a token is not replaced: up to 24 h, default 30 min (min_token_age).
	// A stated reset that is at most this far away is waited for.
	MinTokenAge time.Duration
	// RecentWindow is the time after a start in which a key gets no other: up to 24 h, default 5 min (recent_window).
	RecentWindow time.Duration
	// Confirmation is the time after which a second quota refusal confirms the first: up to 24 h, default 60 s
	// (confirmation).
	Confirmation time.Duration
	// ReplaceSpentEarly lets a token whose quota is confirmed spent be replaced before MinTokenAge
	// (replace_spent_early).
	ReplaceSpentEarly bool
	// QuotaPeriod says when the quota of a spent token is full again, where the upstream does not state it: Daily, Monthly
	// or Rolling; in JSON a text that ParsePeriod reads (quota_period). Default: not known; then a spent anonymous token
	// does not come back, and the personal one is used again after an hour. The reset is fixed when the token is found spent; a reset that the upstream states goes before it. From
	// then on one call at a time tries the token, for all that it is spent for: a success that is reported frees it; a
	// refusal is tried once more after Confirmation, and then waits for the next period, or at once if the upstream states
	// that nothing remains; without a report the next call tries it 60 s later. So report successes, too.
	QuotaPeriod QuotaPeriod
}

// Recommendation is what an operator would do now.
type Recommendation struct {
	Action   string `json:"action"` // keep_current, request_anonymous or wait
	Reason   string `json:"reason"`
	Priority string `json:"priority"` // low, medium or high
}

// verdictOf is a decision as the public API shows it.
func verdictOf(v *decide.Input, rl decide.Decision, r timeline.Reading, retry timeline.Instant) Verdict {
	return Verdict{
		Step: Step(rl.Step), Reason: Reason(rl.Reason), Answer: Answer(rl.Answer), Detail: v.Detail(rl, r),
		Until: r.Time(rl.Until), RetryAt: r.Time(retry), Class: Class(v.Request.Class),
		Evidence: Evidence{
			Count: rl.Count, Limit: rl.Limit, Window: rl.Window, Since: r.Time(rl.Since), TokenID: rl.TokenID,
			Similarity: rl.Similarity, Level: Level(rl.Level), Confidence: rl.Confidence,
		},
	}
}

// acquired is the verdict of the call that started the acquisition of the token.
func acquired(v *decide.Input, id string, r timeline.Reading) Verdict {
	return verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerServe, Reason: decide.ReasonAcquired, TokenID: id}, r, 0)
}

// renewed is the verdict of the call that renewed the token's account.
func renewed(v *decide.Input, id string, r timeline.Reading) Verdict {
	return verdictOf(v, decide.Decision{Step: decide.StepRenewal, Answer: decide.AnswerServe, Reason: decide.ReasonRenewed, TokenID: id}, r, 0)
}

// failedVerdict is the verdict of a call whose acquisition failed, or that of an event which says that a renewal did.
func failedVerdict(v *decide.Input, step decide.Step, f *ledger.Streak, r timeline.Reading) Verdict {
	return verdictOf(v, decide.Decision{Step: step, Answer: decide.AnswerFail, Reason: decide.ReasonRequestFailed, Failure: f}, r, v.RetryAt(r.Now))
}

// serve answers the call with the token of the decision.
func (g *Guard) serve(c *acquireCall, d decide.Decision) (Grant, error) {
	defer g.cache.confirm(c.rev, g.cache.trusted())
	if d.Reason == decide.ReasonPersonal {
		g.counters.usage.scope(c.q.Scope).Hits(counts.Personal).Add()
		return granted(g.personal.current(), SourcePersonal, verdictOf(c.in, d, c.at, 0)), nil
	}
	token, _ := tokenIn(c.rev, d.Token.ID, c.q.Named)
	source := SourceCache
	first := g.cache.use(d.Token, c.at.Now)
	if c.joined {
		d.Step, d.Reason = decide.StepGate, decide.ReasonJoined
	}
	if first || c.joined {
		source = SourceShared
	}
	if first && !g.cache.ours(d.Token, c.q.Scope) {
		g.publish() // from now on it is one of ours
	}
	grant := granted(token, source, verdictOf(c.in, d, c.at, 0))
	var who asker
	if d.Reason == decide.ReasonCached {
		who.scope = g.counters.usage.scope(c.q.Scope)
		who.scope.Hits(counts.Cached).Add()
	} else {
		g.counters.answered(Reason(d.Reason))
	}
	var event Event
	if grant.Source == SourceShared || c.q.Class != "" {
		event = Event{At: c.at.Wall, Kind: EventServed, Scope: c.q.Named, Caller: c.q.Caller, TokenID: d.Token.ID, Source: grant.Source, Verdict: grant.Verdict(), Failing: c.q.Failing, Text: c.q.Text}
		g.events.emit(event)
	}
	if c.away == nil && grant.Source == SourceCache {
		g.remember(c, d, &cachedAnswer{grant: grant, event: event, asker: who})
	}
	return grant, nil
}

// refuse answers the call without a token.
func (g *Guard) refuse(c *acquireCall, d decide.Decision) (Grant, error) {
	defer g.cache.confirm(c.rev, g.cache.trusted())
	refused := &RefusedError{}
	switch d.Reason {
	case decide.ReasonStoreUnavailable:
		refused.Verdict, refused.Cause = verdictOf(c.in, d, c.at, timeline.Never), c.away
		refused.Verdict.Detail = g.reader.masked(strings.TrimPrefix(c.away.Error(), "tokenguard: "))
	case decide.ReasonClosed:
		refused.Verdict = closedVerdict(c.q)
	default:
		refused.Verdict, refused.Cause = verdictOf(c.in, d, c.at, c.in.RetryAt(c.at.Now)), g.flights.cause(c.in, d, c.at)
	}
	g.counters.answered(refused.Verdict.Reason)
	who := g.counters.usage.of(c.q)
	who.refused()
	event := Event{At: c.at.Wall, Kind: EventRefused, Scope: c.q.Named, Caller: c.q.Caller, TokenID: refused.Verdict.Evidence.TokenID, Verdict: refused.Verdict, Failing: c.q.Failing, Text: c.q.Text}
	g.events.emit(event)
	if c.away == nil && d.Reason != decide.ReasonClosed {
		g.remember(c, d, &cachedAnswer{err: refused, event: event, asker: who})
	}
	return Grant{}, refused
}

func closedVerdict(q *decide.Request) Verdict {
	return Verdict{Step: StepStore, Reason: ReasonClosed, Answer: AnswerRefuse, Detail: "Close was called", Class: Class(q.Class)}
}

// leave ends the call of a caller that does not wait any longer.
func (g *Guard) leave(c *acquireCall, err error) (Grant, error) {
	if errors.Is(err, ErrClosed) || errors.Is(err, replica.ErrClosed) {
		return g.refuse(c, decide.Decision{Reason: decide.ReasonClosed})
	}
	g.counters.left.Add(1)
	return Grant{}, err
}

// Explain returns what Acquire would answer now, with the verdict of every step. It changes nothing and calls nothing
// user-supplied but the classifier, so a personal token that was never fetched counts as not usable. The error is the
// refusal of a guard that is closed or cannot reach its store, whose verdict alone the Explanation then holds, or
// ErrRequest for an invalid req.
func (g *Guard) Explain(ctx context.Context, req Request) (Explanation, error) {
	req.Failing = g.trial.failing(req.Failing)
	rev, r, away := g.replica.Look(ctx)
	q, err := g.reader.request(&req, r)
	if err != nil {
		return Explanation{}, err
	}
	if g.isClosed() {
		err := &RefusedError{Verdict: closedVerdict(q)}
		return Explanation{At: r.Wall, Verdict: err.Verdict, Opening: err.Verdict}, err
	}
	doc := ledger.New()
	if rev != nil {
		doc = g.cache.uncommitted(rev.Doc, r.Now)
	}
	if q.Class != "" {
		doc.Report(g.opt.policy, &q.Report, q.Scope, g.personal.record(q.Failing), r.Now)
	}
	if g.personal != nil { // what is reported may be about the personal token
		q.Personal, _ = g.personal.view(doc, q.Scope, r.Now)
	}
	v := g.inputs.newest(q, r.Now)
	v.Doc, v.Outage = doc, decide.Outage{Away: away != nil, MayStart: g.replica.MayStart(rev)}
	v.Pending = predict.Usage{} // the copy has it
	// The request's own failure is an outcome of the token, too, unless it was counted before.
	if newest := doc.Newest(q.Scope); q.Class != "" && newest != nil && newest.ID == q.Failing && !g.reports.Contains(idOf(&q.Report)) {
		v.Pending.Add(outcomeOf(&q.Report, Outcome{}, r))
	}
	final, steps := v.Steps(r.Now)
	if final.LiftsSuspicion { // the refusal comes after it
		doc.Edit(doc.Newest(q.Scope)).ClearSuspicion()
	}
	retry := v.RetryAt(r.Now)
	word := func(rl decide.Decision) Verdict {
		at := timeline.Instant(0)
		if rl.Answer == decide.AnswerRefuse && rl.Reason != decide.ReasonStoreUnavailable {
			at = retry
		}
		return verdictOf(v, rl, r, at)
	}
	if final.Reason == decide.ReasonStoreUnavailable {
		refused := &RefusedError{Verdict: word(final), Cause: away}
		refused.Verdict.Detail = g.reader.masked(strings.TrimPrefix(away.Error(), "tokenguard: "))
		return Explanation{At: r.Wall, Verdict: refused.Verdict, Opening: refused.Verdict}, refused
	}
	binding, opens := v.Opening(r.Now)
	out := Explanation{At: r.Wall, Verdict: word(final), Opening: verdictOf(v, binding, r, opens)}
	out.Opening.Detail = openingText(v, binding, r)
	out.Evidence, out.Pauses = evidence(v, r), pauses(doc.Scope(q.Scope), q.Scope, r)
	for _, rl := range steps {
		out.Steps = append(out.Steps, word(rl))
	}
	return out, nil
}

// recommend reads the decision for a caller of the default scope as advice.
func recommend(v *decide.Input, r timeline.Reading) Recommendation {
	switch rl := v.Decide(r.Now); rl.Answer {
	case decide.AnswerServe:
		out := Recommendation{Action: "keep_current", Reason: "a usable token is there", Priority: "low"}
		if t := rl.Token; t != nil {
			if f := v.Doc.History.Forecast(t.Usage, int64(r.Now)); f.Warn {
				out.Reason, out.Priority = "the token's quota is forecast to run out: "+f.Reason(), "medium"
			}
			if t.IsSuspect(r.Now) {
				out.Reason, out.Priority = "the token's quota is in doubt", "medium"
			}
		}
		return out
	case decide.AnswerRenew:
		return Recommendation{Action: "keep_current", Reason: "the account lives, and the next call renews its token", Priority: "low"}
	case decide.AnswerStart:
		return Recommendation{Action: "request_anonymous", Reason: v.RuleText(v.Manager(r.Now), r) + ", and every limit is open", Priority: "high"}
	default:
		priority := "medium"
		if rl.Answer == decide.AnswerRefuse && rl.Reason != decide.ReasonMinInterval {
			priority = "high"
		}
		return Recommendation{Action: "wait", Reason: v.RuleText(rl, r), Priority: priority}
	}
}

// again answers a call as the last one like it, if nothing that could change the answer has happened since.
func (g *Guard) again(req *Request) *cachedAnswer {
	t := g.cache.table.Load()
	if t == nil {
		return nil
	}
	text, ok := "", req.isShort()
	if !ok {
		if text, ok = question(req, g.opt.classifier != nil); !ok {
			return nil
		}
	}
	a := g.answers.lookup(req, text, t.rev)
	if a == nil {
		return nil
	}
	var n int64
	if counter := a.counter.Load(); counter != nil {
		n = counter.Add()
	} else {
		n = a.count(&g.counters.answers)
	}
	if a.lent(n) || a.repeats(g, n, t, req, text) {
		return a
	}
	return nil
}

// repeats reports whether an answer that is not lent is good by the clock, and does what else the n-th call of it on a
// stripe has to do. If it is not, it takes back what was counted.
func (a *cachedAnswer) repeats(g *Guard, n int64, t *table, req *Request, text string) bool {
	now := int64(g.meter.Mono())
	m := t.term.Load()
	if now >= a.trusted || !a.good(m, now) {
		a.undo(&g.counters.answers)
		return false
	}
	at := t.delta + timeline.Instant(now)
	a.use.touch(at)
	if a.counts != nil {
		p := *a.counts
		p.At = at
		g.replica.AddOutcome(p.Failing, p.Operation, outcomeOf(&p, Outcome{}, timeline.Reading{Now: at}), 0)
	}
	if n%lendCheck == 0 {
		g.answers.often(a, req, text, &g.counters.answers)
	}
	switch due := a.sample != nil && !a.sample.Quiet(now); {
	case due:
		a.sample.Unskip()
		e := a.event
		e.At = g.meter.Read().Wall
		if a.moves {
			e.Verdict = a.refusal(now).Verdict
		}
		g.events.emit(e)
	case a.counts == nil && !a.moves && m.ends <= a.trusted: // nothing is to be done for the next ones but to count them
		a.lend(m)
	}
	return true
}

// remember keeps the answer to a call, if asking again changes nothing.
func (g *Guard) remember(c *acquireCall, d decide.Decision, a *cachedAnswer) {
	t := g.cache.table.Load()
	switch {
	case t == nil || t.rev != c.rev || c.rev.Dirty || g.personal != nil || g.opt.clock != nil:
		return
	case c.q.Class == classify.RateLimited || c.q.Until != 0:
		return // each report moves the instant that it names
	case a.err == nil && c.q.Class == "" && c.q.Caller == "":
		return // the token cache has it
	case d.LastResort(), d.Tries:
		return // it ends when something may be started
	case d.Reason == decide.ReasonTooManyWaiters:
		return // how many wait, the revision does not say
	case d.Step != decide.StepDedup && d.Step != decide.StepManager && d.Step != decide.StepLimiter && d.Step != decide.StepRenewal && d.Reason != decide.ReasonCached:
		return
	}
	text, ok := question(c.req, g.opt.classifier != nil)
	if !ok {
		return
	}
	until := c.in.StableUntil(d, c.at)
	if a.err != nil && !a.err.Verdict.RetryAt.IsZero() {
		retry := c.at.Instant(a.err.Verdict.RetryAt)
		until = min(until, retry)
		if c.q.Class != "" {
			switch c.in.RetryAtReported(hotLife, c.at.Now).Sub(retry) {
			case 0:
			case hotLife: // a report a little later names an instant as much later
				a.moves, a.asked = true, int64(c.at.Now-t.delta)
			default:
				return
			}
		}
	}
	a.rev, a.ends, a.trusted = c.rev, int64(until-t.delta), int64(g.cache.trusted())
	if a.err != nil {
		a.answer = answerIndex[a.err.Verdict.Reason]
	}
	if a.event.Kind != "" {
		a.sample = g.events.journal.Sample(&a.event)
	}
	if a.err == nil && d.Token != nil {
		a.use = t.uses[d.Token.ID]
	}
	if rec := c.rev.Doc.Tokens[c.q.Failing]; rec != nil && c.q.Class != "" {
		p := c.q.Report
		a.counts = &p
	}
	if min(a.ends, a.trusted) > int64(g.meter.Mono()) && (a.err != nil || a.use != nil) && (a.event.Kind == "" || a.sample != nil) {
		g.answers.add(c.req, text, a)
	}
}
