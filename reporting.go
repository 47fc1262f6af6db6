package tokenguard

import (
	"context"
	"fmt"

	"github.com/tokenguard/tokenguard/internal/classify"
)

// How reports get into the document: those of a request before it is decided, and outcomes.

// Report says how a call made with a token ended. Failures for quota and auth are stored before it returns; the others
// ride on the next update. A token that the guard never served is ignored. The error is ErrRequest, ErrStore (this
// process acts on the report all the same, and stores it later) or ErrClosed.
func (g *Guard) Report(ctx context.Context, o Outcome) error {
	if g.isClosed() {
		return ErrClosed
	}
	r := g.meter.read()
	q := &query{kind: anonymousKind}
	if canceled(o.Failure.Err) {
		return nil
	}
	switch {
	case o.TokenID == "":
		return fmt.Errorf("%w: Outcome.TokenID: empty: want the ID of the token that was used", ErrRequest)
	case o.Latency < 0:
		return fmt.Errorf("%w: Outcome.Latency: %v: want 0 or more", ErrRequest, o.Latency)
	}
	if g.candidate != nil {
		defer g.candidate.report(ctx, o)
	}
	q.failing = normalID(o.TokenID)
	q.report.at = r.now
	if !o.Failure.IsZero() {
		q.report = g.report(o.Failure, r)
		q.failing = normalID(o.TokenID)
	}
	q.none = q.none || o.Limit > 0 && o.Remaining <= 0
	// A pause lasts for the Retry-After; when a window is full again says something of it only if nothing remains.
	if !o.ResetAt.IsZero() && (q.class != classify.RateLimited || q.until == 0 && q.none) {
		q.until = min(r.instant(o.ResetAt), r.now.plus(maxReset))
	}
	return g.reportOutcome(ctx, q, o, r)
}

// reportID tells one report from another.
type reportID struct {
	token, text string
	class       string
	at, until   instant
	none        bool
}

func idOf(p *report) reportID {
	return reportID{p.failing, p.text, p.class, p.at, p.until, p.none}
}

// counted reports whether this very report was counted before, and counts it.
func (g *Guard) counted(q *query) bool {
	seen, _ := g.reports.ContainsOrAdd(idOf(&q.report), struct{}{})
	return seen
}

func (g *Guard) personalRecord(id string) *record {
	if g.personal == nil {
		return nil
	}
	return g.personal.record(id)
}

// news reports whether the report changes what the document says. It also lets a failure of a known token wait for the
// predictor, once.
func (g *Guard) news(q *query, doc *document, r reading) bool {
	if q.class == "" {
		return false
	}
	// One that was counted may still be on its way into the document: only the document tells whether it is there.
	if rec := doc.Tokens[q.failing]; rec != nil && rec.Kind == anonymousKind && !g.counted(q) {
		g.outcome(q.failing, outcomeOf(&q.report, Outcome{}, r))
	}
	return doc.wouldChange(g.opt.policy, &q.report, q.scope, g.personalRecord(q.failing), r.now)
}

// submit commits a report. If the store fails, this process acts on it all the same, and stores it later.
func (g *Guard) submit(ctx context.Context, q *query) error {
	p := g.personalRecord(q.failing)
	rep := *q
	c := func(d *document, r reading) bool {
		var own *record
		if p != nil {
			copied := *p
			own = &copied
		}
		return d.report(g.opt.policy, &rep.report, rep.scope, own, r.now)
	}
	var r reading
	err := g.hangs() // or the report would wait with it
	if err == nil {
		r, err = g.commit(ctx, c)
	}
	if err != nil {
		r = g.keep(c, true)
	}
	g.tell(Event{At: r.wall, Kind: EventReported, Scope: q.scope, Caller: q.caller, TokenID: q.failing, Verdict: Verdict{Class: Class(q.class)}, Text: q.text})
	return err
}

// liftSuspicion drops the newest token's suspicion, if the predictor still says so on the newest document.
func (g *Guard) liftSuspicion(ctx context.Context, q *query) error {
	rep, unreadable := *q, g.unreadable() // a commit that was given up may still look at it
	_, err := g.commitOrKeep(ctx, func(d *document, r reading) bool {
		v := &view{doc: d, q: &rep, unreadable: unreadable}
		g.policyNow(v, r.now)
		if !v.decide(r.now).lifts {
			return false
		}
		newest := d.newest(q.scope)
		newest.lift()
		newest.Heard = 0 // the predictor answers whoever says it again
		return true
	})
	return err
}

// reportOutcome takes an Outcome in.
func (g *Guard) reportOutcome(ctx context.Context, q *query, o Outcome, r reading) error {
	st, _, err := g.look(ctx)
	if st == nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	rec, own := st.doc.Tokens[q.failing], g.personalRecord(q.failing)
	switch {
	case rec != nil:
		q.scope = rec.Scope
	case own != nil:
		q.scope = own.Scope
	default:
		return nil
	}
	due := false
	if rec != nil && rec.Kind == anonymousKind {
		if again := g.counted(q); again && !o.Failure.At.IsZero() {
			return nil
		}
		due = g.outcome(q.failing, outcomeOf(&q.report, o, r))
	}
	g.tally.outcome(Class(q.class))
	changes := st.doc.wouldChange(g.opt.policy, &q.report, q.scope, own, r.now)
	due = due && g.hangs() == nil
	switch {
	case changes && (q.class != "" || rec != nil && rec.Suspect != 0):
		err = g.submit(ctx, q)
	case changes:
		// A first success is worth remembering, but not a commit of its own.
		g.keep(func(d *document, r reading) bool { return d.report(g.opt.policy, &q.report, q.scope, nil, r.now) }, true)
		if due {
			err = g.flush(ctx)
		}
	case due:
		err = g.flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	g.warn(q.failing, r)
	return nil
}

// flush commits what waits, after the commits that are under way.
func (g *Guard) flush(ctx context.Context) error {
	g.shelf.mu.Lock()
	waits := len(g.shelf.pending) > 0 || len(g.shelf.unsaved) > 0 || g.shelf.committing
	g.shelf.mu.Unlock()
	if !waits {
		return nil
	}
	_, err := g.commit(ctx, func(*document, reading) bool { return true })
	return err
}
