package tokenguard

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// PredictorConfig sets the quota predictor.
type PredictorConfig struct {
	// Confidence above which the predictor may veto the replacement of a token: above 0, below 1, default 0.7
	// (confidence).
	Confidence float64
	// SlowResponse is the mean response time above which the level is medium: up to 1 h, default 5 s (slow_response).
	SlowResponse time.Duration
}

// Level is the quota predictor's reading of a token.
type Level string

// The predictor's levels, over the calls of the last 5 minutes. The worst that fits counts; docs/prediction.md has them all.
const (
	LevelHigh      Level = "high"      // none of the others
	LevelMedium    Level = "medium"    // over 30 % failed, or the mean response took longer than PredictorConfig.SlowResponse
	LevelLow       Level = "low"       // over 70 % failed in any way
	LevelCritical  Level = "critical"  // over 20 % were refused for quota
	LevelExhausted Level = "exhausted" // over 50 % were, or the upstream said that nothing remains
	LevelUnknown   Level = "unknown"   // no call ended lately, and the upstream said nothing that still holds
)

// PredictorStats is the quota predictor on the newest token, of whichever scope. Without a token, or once it has expired
// or was rejected, there is nothing to forecast: Level is empty and Reason says why.
type PredictorStats struct {
	// TokenID, AcquiredAt and State (usable, suspect, spent, rejected or expired) are of the newest token; empty: none is
	// known.
	TokenID    string    `json:"token_id,omitempty"`
	AcquiredAt time.Time `json:"acquired_at,omitzero"`
	State      string    `json:"state,omitempty"`

	Level      Level   `json:"level"`
	Confidence float64 `json:"confidence"` // in [0,1]
	Reason     string  `json:"reason"`
	// Outcomes are the calls of the last 5 minutes that Level rests on; LastSuccess is when a call made with the token
	// last succeeded, however long ago.
	Outcomes    int64     `json:"outcomes"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Probability float64   `json:"refusal_probability"`   // that the next call is refused for quota
	UsesLeft    int64     `json:"uses_left"`             // -1: not known
	ExhaustedAt time.Time `json:"exhausted_at,omitzero"` // zero: no forecast, or it is used up already
	Forecast    string    `json:"forecast"`
	Accuracy    Accuracy  `json:"accuracy"`
}

// Accuracy is the predictor's account of itself: each forecast was made before its outcome was known.
type Accuracy struct {
	Count      int64   `json:"count"`
	ShareRight float64 `json:"share_right"`
	Brier      float64 `json:"brier"`      // mean squared error of the probability: 0 is perfect
	BaseBrier  float64 `json:"base_brier"` // of always forecasting the share refused so far
	Skill      float64 `json:"skill"`      // 1 - Brier/BaseBrier
}

// predictorStats speaks of the newest token of all keys.
func predictorStats(v *decide.Input, r timeline.Reading) PredictorStats {
	history := v.Doc.History.Clone()
	acc := history.Accuracy()
	out := PredictorStats{UsesLeft: -1, Accuracy: Accuracy{acc.Count, acc.ShareRight, acc.Brier, acc.BaseBrier, acc.Skill}}
	newest := v.Doc.Latest()
	if newest == nil {
		out.Reason = "no token is known"
		return out
	}
	out.TokenID, out.AcquiredAt, out.State = newest.ID, r.Time(newest.Acquired), v.TokenState(newest, r.Now)
	out.LastSuccess = r.Time(timeline.Instant(newest.Usage.Good))
	if out.State == "expired" || out.State == "rejected" {
		out.Reason = "the newest token is " + out.State
		return out
	}
	a := v.Policy.Assess(newest.Usage, 0, r.Now)
	f := history.Forecast(newest.Usage, int64(r.Now))
	out.Level, out.Confidence, out.Reason, out.Outcomes = Level(a.Level), a.Confidence, a.Reason, a.Points
	out.Probability, out.Forecast = f.Probability, f.Reason()
	if at := timeline.Instant(f.ExhaustedAt); at > r.Now {
		out.ExhaustedAt = r.Time(at)
	}
	if f.HasUses {
		out.UsesLeft = f.UsesLeft
	}
	return out
}

// reportsKept bounds the failures that are remembered to count each once.
const reportsKept = 4096

// reportID tells one report from another.
type reportID struct {
	token, text, operation string
	class                  string
	at, until              timeline.Instant
	none                   bool
}

func idOf(p *ledger.Report) reportID {
	return reportID{p.Failing, p.Text, p.Operation, p.Class, p.At, p.Until, p.None}
}

// Report says how a call made with a token ended. Failures for quota and auth are stored before it returns; the others
// ride on the next update. A token that the guard never served is ignored. The error is ErrRequest, ErrStore (this
// process acts on the report all the same, and stores it later) or ErrClosed.
func (g *Guard) Report(ctx context.Context, outcome Outcome) error {
	if g.successes.counted(&outcome) {
		return nil
	}
	o := outcome // apart, so that the line above allocates nothing
	if g.isClosed() {
		return ErrClosed
	}
	if canceled(o.Failure.Err) {
		return nil
	}
	came := g.meter.Mono()
	rev, at, err := g.replica.Look(ctx)
	heard, mono := at, g.meter.Mono()
	if g.opt.clock == nil { // a store that is slow makes no call begin later
		waited := mono - came
		heard = timeline.Reading{Now: at.Now - timeline.Instant(waited), Wall: at.Wall.Add(-waited)}
	}
	q, invalid := g.reader.outcome(&o, heard)
	switch {
	case invalid != nil:
		return invalid
	case rev == nil:
		return g.reader.storeError(err)
	}
	g.trial.report(ctx, o)
	rec := rev.Doc.Tokens[q.Failing]
	if rec == nil {
		rec = g.personal.record(q.Failing)
	}
	if rec == nil {
		return nil
	}
	q.Scope, q.Named = rec.Scope, rec.Scope
	g.counters.outcome(Class(q.Class))
	changes, failed := g.report(ctx, q, &o, rev.Doc, at)
	if failed != nil {
		return g.reader.storeError(failed)
	}
	if !changes && err == nil && g.trial == nil {
		g.successes.expect(&o, q, rev, at.Now, mono)
	}
	g.forecasts.warnToken(q.Failing, at)
	return nil
}

// report applies what a call says of a token: a Request's failure (o is nil) or an Outcome. It reports whether that
// changes the document. What decisions look at is committed before it returns; if the store fails, this process acts on
// it all the same and saves it later. The rest waits for the next commit.
func (g *Guard) report(ctx context.Context, q *decide.Request, o *Outcome, doc *ledger.Document, at timeline.Reading) (changes bool, err error) {
	if q.Class == "" && o == nil {
		return false, nil
	}
	rec, own := doc.Tokens[q.Failing], g.personal.record(q.Failing)
	due := false
	if rec != nil && rec.Kind == ledger.Anonymous {
		// The same report again is one observation, unless it is an Outcome that does not say when it was.
		again := false
		if q.Class != "" {
			again, _ = g.reports.ContainsOrAdd(idOf(&q.Report), struct{}{})
		}
		switch {
		case o == nil && !again:
			g.replica.AddOutcome(q.Failing, q.Operation, outcomeOf(&q.Report, Outcome{}, at), 0)
		case o != nil && again && !o.Failure.At.IsZero():
			return false, nil
		case o != nil:
			due = g.replica.AddOutcome(q.Failing, q.Operation, outcomeOf(&q.Report, *o, at), q.Began)
		}
	}
	// One that was counted may still be on its way into the document: only the document tells whether it is there.
	changes = doc.WouldChange(g.opt.policy, &q.Report, q.Scope, own, at.Now)
	away := g.replica.Hangs() // or the report would wait with the store
	switch {
	case changes && (q.Class != "" || rec != nil && (rec.Assumed || rec.By(q.Operation).Stands())):
		if err = away; err == nil {
			at, err = g.replica.Commit(ctx, hearing(g.opt.policy, q, own))
		}
		if err != nil {
			at = g.replica.ApplyReport(hearing(g.opt.policy, q, own), aboutOf(q))
		}
		g.events.emit(Event{At: at.Wall, Kind: EventReported, Scope: q.Named, Caller: q.Caller, TokenID: q.Failing, Verdict: Verdict{Class: Class(q.Class)}, Text: q.Text})
		if anonymous := rec == nil || rec.Kind == ledger.Anonymous; anonymous && Class(q.Class) != ClassAuthInvalid && q.Hints.HasRetryAfter && q.Until > q.At.Plus(ledger.MaxRetryAfter) {
			g.events.cut(at.Wall, q.Named)
		}
		return true, err
	case changes: // a first success is worth remembering, but not a commit of its own
		g.replica.ApplyReport(hearing(g.opt.policy, q, own), aboutOf(q))
	}
	if due && away == nil {
		err = g.replica.Flush(ctx)
	}
	return changes, err
}

// aboutOf is what a report speaks of.
func aboutOf(q *decide.Request) replica.About {
	return replica.About{Token: q.Failing, Operation: q.Operation, Scope: q.Scope, Class: q.Class, None: q.None}
}

// hearing is the change that a report makes. It may run again, and after the call that made it.
func hearing(policy *ledger.Policy, q *decide.Request, own *ledger.Token) replica.Change {
	rep, scope := q.Report, q.Scope
	return func(d *replica.Draft) bool {
		var copied *ledger.Token
		if own != nil {
			fresh := *own
			copied = &fresh
		}
		return d.Doc.Report(policy, &rep, scope, copied, d.At.Now)
	}
}

// liftSuspicion drops the newest token's suspicion, if the predictor still says so on the newest document.
func (g *Guard) liftSuspicion(ctx context.Context, q *decide.Request) error {
	own := *q // a commit that was given up may still look at it
	_, err := g.replica.CommitOrApply(ctx, func(d *replica.Draft) bool {
		if !onDraft(d, &own).Decide(d.At.Now).LiftsSuspicion {
			return false
		}
		newest := d.Doc.Edit(d.Doc.Newest(own.Scope))
		newest.ClearSuspicion()
		for i := range newest.Evidence {
			newest.Evidence[i].Known = 0 // the predictor answers a call that says it again
		}
		return true
	})
	return err
}

// forecasts warns ahead.
type forecasts struct {
	inputs *inputs
	events *emitter
	once   *onces
}

// warnToken warns once for each token that its end is near. It is asked when outcomes were stored.
func (f *forecasts) warnToken(id string, r timeline.Reading) {
	st := f.inputs.replica.Newest()
	rec := st.Doc.Tokens[id]
	if rec == nil || rec.Kind != ledger.Anonymous {
		return
	}
	if ahead := st.Doc.History.Forecast(rec.Usage, int64(r.Now)); ahead.Warn && f.once.first("token "+id) {
		f.events.emit(Event{At: r.Wall, Kind: EventWarning, Scope: rec.Scope, TokenID: id, Text: "the token's quota is forecast to run out: " + ahead.Reason()})
	}
}

// warnBudget warns once for each fill of a window, at the start that brings its end into sight.
func (f *forecasts) warnBudget(r timeline.Reading) {
	st := f.inputs.replica.Newest()
	v := f.inputs.on(&decide.Request{Kind: ledger.Anonymous}, st, r.Now)
	stats := acquisitionStats(v, r)
	for _, w := range [...]struct {
		name   string
		length time.Duration
		reason decide.Reason
		WindowStats
	}{{"hour", ledger.Hour, decide.ReasonHourLimit, stats.Hour}, {"day", ledger.Day, decide.ReasonDayLimit, stats.Day}} {
		if w.ExhaustedAt.IsZero() && w.Remaining > 0 {
			continue
		}
		if !f.once.first(fmt.Sprintf("%s %d", w.name, int64(r.Now)/int64(w.length))) {
			continue
		}
		text := fmt.Sprintf("the budget of the %s is forecast to run out at %s: %d of %d used", w.name, w.ExhaustedAt.Format(time.RFC3339), w.Used, w.Limit)
		if w.Remaining == 0 {
			text = fmt.Sprintf("the budget of the %s is used up: %d of %d", w.name, w.Used, w.Limit)
		}
		f.events.emit(Event{At: r.Wall, Kind: EventWarning, Text: text + " (" + decide.BudgetSettings[w.reason] + ")"})
	}
}

// oncesKept bounds the texts that are said once.
const oncesKept = 512

// onces remembers what was said.
type onces struct{ seen *lru.Cache[string, struct{}] }

// first reports whether this was not said before.
func (o *onces) first(what string) bool {
	seen, _ := o.seen.ContainsOrAdd(what, struct{}{})
	return !seen
}
