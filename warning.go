package tokenguard

import (
	"fmt"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Early warnings: that a token, or the budget of an hour or a day, is forecast to run out.

// warn tells once for each token that its end is near. It is asked when outcomes were stored.
func (g *Guard) warn(id string, r timeline.Reading) {
	st := g.replica.Newest()
	rec := st.Doc.Tokens[id]
	if rec == nil || rec.Kind != ledger.Anonymous {
		return
	}
	if f := st.Doc.History.Forecast(rec.Usage, int64(r.Now)); f.Warn && g.once("token "+id) {
		g.tell(Event{At: r.Wall, Kind: EventWarning, Scope: rec.Scope, TokenID: id, Text: "the token's quota is forecast to run out: " + f.Reason})
	}
}

// warnBudget tells once for each fill of a window that a start brought its end into sight.
func (g *Guard) warnBudget(r timeline.Reading) {
	st := g.replica.Newest()
	v := g.viewOn(&decide.Request{Kind: ledger.Anonymous}, st, r.Now)
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
		if !g.once(fmt.Sprintf("%s %d", w.name, int64(r.Now)/int64(w.length))) {
			continue
		}
		text := fmt.Sprintf("the budget of the %s is forecast to run out at %s: %d of %d used", w.name, w.ExhaustedAt.Format(time.RFC3339), w.Used, w.Limit)
		if w.Remaining == 0 {
			text = fmt.Sprintf("the budget of the %s is used up: %d of %d", w.name, w.Used, w.Limit)
		}
		g.tell(Event{At: r.Wall, Kind: EventWarning, Text: text + " (" + decide.BudgetSettings[w.reason] + ")"})
	}
}

// once reports whether this was not said before.
func (g *Guard) once(what string) bool {
	said, _ := g.said.ContainsOrAdd(what, struct{}{})
	return !said
}
