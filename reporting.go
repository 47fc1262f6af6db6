package tokenguard

import (
	"context"
	"fmt"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// How reports get into the document: those of a request before it is decided, and outcomes.

// Report says how a call made with a token ended. Failures for quota and auth are stored before it returns; the others
// ride on the next update. A token that the guard never served is ignored. The error is ErrRequest, ErrStore (this
// process acts on the report all the same, and stores it later) or ErrClosed.
func (g *Guard) Report(ctx context.Context, o Outcome) error {
	if g.isClosed() {
		return ErrClosed
	}
	r := g.meter.Read()
	q := &decide.Request{Kind: ledger.Anonymous}
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
	q.Failing = normalID(o.TokenID)
	q.Report.At = r.Now
	if !o.Failure.IsZero() {
		q.Report = g.report(o.Failure, r)
		q.Failing = normalID(o.TokenID)
	}
	q.None = q.None || o.Limit > 0 && o.Remaining <= 0
	// A pause lasts for the Retry-After; when a window is full again says something of it only if nothing remains.
	if !o.ResetAt.IsZero() && (q.Class != classify.RateLimited || q.Until == 0 && q.None) {
		q.Until = min(r.Instant(o.ResetAt), r.Now.Plus(maxReset))
	}
	return g.reportOutcome(ctx, q, o, r)
}

// reportID tells one report from another.
type reportID struct {
	token, text string
	class       string
	at, until   timeline.Instant
	none        bool
}

func idOf(p *ledger.Report) reportID {
	return reportID{p.Failing, p.Text, p.Class, p.At, p.Until, p.None}
}

// counted reports whether this very report was counted before, and counts it.
func (g *Guard) counted(q *decide.Request) bool {
	seen, _ := g.reports.ContainsOrAdd(idOf(&q.Report), struct{}{})
	return seen
}

func (g *Guard) personalRecord(id string) *ledger.Token {
	if g.personal == nil {
		return nil
	}
	return g.personal.record(id)
}

// news reports whether the report changes what the document says. It also lets a failure of a known token wait for the
// predictor, once.
func (g *Guard) news(q *decide.Request, doc *ledger.Document, r timeline.Reading) bool {
	if q.Class == "" {
		return false
	}
	// One that was counted may still be on its way into the document: only the document tells whether it is there.
	if rec := doc.Tokens[q.Failing]; rec != nil && rec.Kind == ledger.Anonymous && !g.counted(q) {
		g.replica.AddOutcome(q.Failing, outcomeOf(&q.Report, Outcome{}, r))
	}
	return doc.WouldChange(g.opt.policy, &q.Report, q.Scope, g.personalRecord(q.Failing), r.Now)
}

// submit commits a report. If the store fails, this process acts on it all the same, and stores it later.
func (g *Guard) submit(ctx context.Context, q *decide.Request) error {
	p := g.personalRecord(q.Failing)
	rep := *q
	c := func(d *replica.Draft) bool {
		var own *ledger.Token
		if p != nil {
			copied := *p
			own = &copied
		}
		return d.Doc.Report(g.opt.policy, &rep.Report, rep.Scope, own, d.At.Now)
	}
	var r timeline.Reading
	err := g.replica.Hangs() // or the report would wait with it
	if err == nil {
		r, err = g.replica.Commit(ctx, c)
	}
	if err != nil {
		r = g.replica.ApplyLocally(c, true)
	}
	g.tell(Event{At: r.Wall, Kind: EventReported, Scope: q.Scope, Caller: q.Caller, TokenID: q.Failing, Verdict: Verdict{Class: Class(q.Class)}, Text: q.Text})
	return err
}

// liftSuspicion drops the newest token's suspicion, if the predictor still says so on the newest document.
func (g *Guard) liftSuspicion(ctx context.Context, q *decide.Request) error {
	rep := *q // a commit that was given up may still look at it
	_, err := g.replica.CommitOrApply(ctx, func(d *replica.Draft) bool {
		v := onDraft(d, &rep)
		if !v.Decide(d.At.Now).LiftsSuspicion {
			return false
		}
		newest := d.Doc.Newest(q.Scope)
		newest.ClearSuspicion()
		newest.Heard = 0 // the predictor answers whoever says it again
		return true
	})
	return err
}

// reportOutcome takes an Outcome in.
func (g *Guard) reportOutcome(ctx context.Context, q *decide.Request, o Outcome, r timeline.Reading) error {
	st, _, err := g.replica.Look(ctx)
	if st == nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	rec, own := st.Doc.Tokens[q.Failing], g.personalRecord(q.Failing)
	switch {
	case rec != nil:
		q.Scope = rec.Scope
	case own != nil:
		q.Scope = own.Scope
	default:
		return nil
	}
	due := false
	if rec != nil && rec.Kind == ledger.Anonymous {
		if again := g.counted(q); again && !o.Failure.At.IsZero() {
			return nil
		}
		due = g.replica.AddOutcome(q.Failing, outcomeOf(&q.Report, o, r))
	}
	g.tally.outcome(Class(q.Class))
	changes := st.Doc.WouldChange(g.opt.policy, &q.Report, q.Scope, own, r.Now)
	due = due && g.replica.Hangs() == nil
	switch {
	case changes && (q.Class != "" || rec != nil && rec.Suspect != 0):
		err = g.submit(ctx, q)
	case changes:
		// A first success is worth remembering, but not a commit of its own.
		g.replica.ApplyLocally(func(d *replica.Draft) bool {
			return d.Doc.Report(g.opt.policy, &q.Report, q.Scope, nil, d.At.Now)
		}, true)
		if due {
			err = g.replica.Flush(ctx)
		}
	case due:
		err = g.replica.Flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	g.warn(q.Failing, r)
	return nil
}
