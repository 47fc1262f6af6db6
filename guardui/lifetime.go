package guardui

import (
	"fmt"
	"time"
)

// lifetimes are tokens and accounts as bars over time.
type lifetimes struct {
	Axis axis
	Now  float64
	Rows []lifetime
	More int // older tokens that are not drawn
}

// lifetime is the bar of a token or of an account.
type lifetime struct {
	ID, Scope, State string
	Account          bool
	Uses             string // that are left, in words
	Fill             int    // of what it had, in thousandths; -1: not known
	Bar              mark

	begins, ends time.Time
}

const (
	lifetimesDrawn = 12
	lifetimesPast  = 24 * time.Hour // and as much to come
)

// moods are the colours of the states of tokens and accounts.
var moods = map[string]string{"usable": "good", "suspect": "warn", "spent": "warn", "rejected": "bad", "expired": "gone"}

// newLifetimes draws what lived in the last day; nil if nothing did.
func newLifetimes(v *view) *lifetimes {
	from, to := v.At, v.At.Add(10*time.Minute)
	reach := func(begins, ends time.Time) {
		if begins.Before(from) {
			from = begins
		}
		if ends.After(to) {
			to = ends
		}
	}
	oldest, latest := v.At.Add(-lifetimesPast), v.At.Add(lifetimesPast)
	var out lifetimes
	for _, t := range v.Cache.Tokens {
		if t.EndsAt.Before(oldest) || len(out.Rows) == lifetimesDrawn {
			out.More++
			continue
		}
		reach(t.AcquiredAt, t.EndsAt)
		l := lifetime{ID: t.ID, Scope: t.Scope, State: t.State, Fill: -1, Uses: "not known", begins: t.AcquiredAt, ends: t.EndsAt}
		switch {
		case t.State != "usable" && t.State != "suspect":
			l.Uses = "none"
			l.Fill = 0
		case t.UsesLeft >= 0:
			l.Uses = fmt.Sprintf("about %d", t.UsesLeft)
			l.Fill = int(1000 * t.UsesLeft / max(t.UsesLeft+t.Calls, 1))
		}
		l.Bar = mark{Class: "life-" + moods[t.State], Title: fmt.Sprintf("%s: acquired %s, ends %s; %s; calls reported: %d; uses left: %s", t.ID, stamp(t.AcquiredAt), stamp(t.EndsAt), t.State, t.Calls, l.Uses)}
		out.Rows = append(out.Rows, l)
	}
	var all []lifetime
	for _, a := range v.Accounts {
		ends, until := v.At, "it can still be renewed"
		switch {
		case a.Dead:
			ends, until = a.StateSince, "it ended "+stamp(a.StateSince)
		case !a.RefreshExpiry.IsZero():
			ends, until = a.RefreshExpiry, "its refresh token ends "+stamp(a.RefreshExpiry)
		case a.Expiry.After(ends):
			ends = a.Expiry
		}
		if ends.Before(oldest) || len(all) == lifetimesDrawn {
			continue
		}
		reach(a.Since, ends)
		l := lifetime{ID: a.ID, Scope: a.Scope, State: a.Word, Account: true, Fill: -1, begins: a.Since, ends: ends}
		l.Bar = mark{Class: "life-" + a.Mood, Title: fmt.Sprintf("%s: acquired %s; %s; renewals: %d; %s", a.ID, stamp(a.Since), a.Word, a.Renewals, until)}
		all = append(all, l)
	}
	if len(out.Rows)+len(all) == 0 {
		return nil
	}
	if from.Before(oldest) {
		from = oldest
	}
	if to.After(latest) {
		to = latest
	}
	out.Axis = newAxis(from.Truncate(time.Minute), to.Truncate(time.Minute).Add(time.Minute))
	out.Now = out.Axis.x(v.At)
	out.Rows = append(all, out.Rows...)
	for i := range out.Rows {
		m, l := &out.Rows[i].Bar, &out.Rows[i]
		m.X = out.Axis.x(l.begins)
		m.W = max(hundredth(out.Axis.x(l.ends)-m.X), .4)
		m.X, m.Y, m.H = min(m.X, hundredth(100-m.W)), 5, 14
	}
	return &out
}
