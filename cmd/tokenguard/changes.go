package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard"
)

// change is one thing that is other than at the look before.
type change struct {
	At      time.Time `json:"at"`
	Event   string    `json:"event"`
	Scope   string    `json:"scope,omitempty"`
	Attempt string    `json:"attempt,omitempty"`
	TokenID string    `json:"token_id,omitempty"`
	Reason  string    `json:"reason,omitempty"` // of a gate
	Until   time.Time `json:"until,omitzero"`
	Text    string    `json:"text"`
}

// now is what is known at the start.
func now(r inspected) []change {
	at := r.At
	if at.IsZero() {
		at = time.Now()
	}
	say := func(format string, args ...any) []change {
		return []change{{At: at, Event: "watching", Text: fmt.Sprintf(format, args...)}}
	}
	if !r.Exists {
		return say("there is no state yet")
	}
	s := short(r)
	gate := "acquisitions may start"
	if s.Closed != "" {
		gate = fmt.Sprintf("acquisitions are closed until %s by %s", s.Until.UTC().Format(time.RFC3339), s.Closed)
	}
	tokens := "tokens"
	if s.Usable == 1 {
		tokens = "token"
	}
	return say("revision %d: %d started in 24h, %d usable %s; %s", s.Revision, s.Starts, s.Usable, tokens, gate)
}

// compare lists what changed, starts before their ends and tokens before gates.
func compare(a, b inspected) (out []change) {
	if b.Problem != "" && b.Problem != a.Problem {
		return []change{{At: time.Now(), Event: "problem", Text: b.Problem}}
	}
	if b.Losses > a.Losses { // which a look in the middle of it may see before there is a document
		at := b.At
		if at.IsZero() {
			at = time.Now()
		}
		out = append(out, change{At: at, Event: "lost", Text: "the state was lost or set aside; the hourly limit is treated as used up"})
	}
	if b.At.IsZero() { // nothing can be read, or there is nothing yet
		if a.Exists && !b.Exists {
			out = append(out, change{At: time.Now(), Event: "lost", Text: "the state is gone"})
		}
		return out
	}
	out = append(out, compareAttempts(a, b)...)
	out = append(out, compareTokens(a, b)...)
	return append(out, compareGates(a, b)...)
}

func compareAttempts(a, b inspected) (out []change) {
	before := map[string]tokenguard.Attempt{}
	for _, x := range a.Attempts {
		before[x.ID] = x
	}
	for _, x := range b.Attempts {
		was, known := before[x.ID]
		if !known && x.State != tokenguard.AttemptAdopted {
			out = append(out, change{At: x.Start, Event: "started", Attempt: x.ID, Text: "an acquisition was charged and began"})
		}
		if x.State == was.State {
			continue
		}
		c := change{At: x.End, Attempt: x.ID}
		switch x.State {
		case tokenguard.AttemptSucceeded:
			c.Event, c.Text = "acquired", "it succeeded"
		case tokenguard.AttemptFailed:
			c.Event, c.Text = "failed", "it returned no token"
			if b.Failure != "" {
				c.Text += "; failures: " + b.Failure
			}
		case tokenguard.AttemptAdopted:
			c.Event, c.Text = "adopted", "a token that was fetched elsewhere was taken in"
		case tokenguard.AttemptKilled:
			c.Event, c.Text = "killed", "its process did not come back; it stays charged"
		default:
			continue
		}
		out = append(out, c)
	}
	return out
}

func compareTokens(a, b inspected) (out []change) {
	before := map[string]string{}
	for _, t := range a.Tokens {
		before[t.ID] = t.State
	}
	for _, t := range b.Tokens {
		was := before[t.ID]
		delete(before, t.ID)
		if t.State == was {
			continue
		}
		out = append(out, change{At: b.At, Event: t.State, Scope: t.Scope, TokenID: t.ID, Text: fmt.Sprintf("token %s%s", t.ID, ofScope(t.Scope))})
	}
	for _, t := range a.Tokens {
		if _, gone := before[t.ID]; gone {
			out = append(out, change{At: b.At, Event: "forgotten", Scope: t.Scope, TokenID: t.ID, Text: fmt.Sprintf("token %s%s left the state", t.ID, ofScope(t.Scope))})
		}
	}
	return out
}

// compareGates tells what closed and what opened. A scope can be closed twice for one reason: a ban closes the guard and the
// scope's own key.
func compareGates(a, b inspected) (out []change) {
	same := func(x, y inspectedLimit) bool { return x.Scope == y.Scope && x.Reason == y.Reason }
	running := slices.ContainsFunc(b.Attempts, func(x tokenguard.Attempt) bool { return x.State == tokenguard.AttemptInProgress })
	before := slices.Clone(a.Closed)
	for _, g := range b.Closed {
		// The clock is read anew at each look, so that an end moves a little.
		was := slices.IndexFunc(before, func(x inspectedLimit) bool { return same(x, g) && g.Until.Sub(x.Until).Abs() < time.Second })
		if was >= 0 {
			before = slices.Delete(before, was, was+1)
			continue
		}
		if running && g.Reason == tokenguard.ReasonMinInterval { // it begins when the acquisition ends
			continue
		}
		out = append(out, change{At: b.At, Event: "closed", Scope: g.Scope, Reason: string(g.Reason), Until: g.Until,
			Text: fmt.Sprintf("%s%s until %s: %s", g.Reason, ofScope(g.Scope), g.Until.UTC().Format(time.RFC3339), g.Detail)})
	}
	for i, g := range before {
		alike := func(x inspectedLimit) bool { return same(x, g) }
		if !slices.ContainsFunc(b.Closed, alike) && !slices.ContainsFunc(before[:i], alike) {
			out = append(out, change{At: b.At, Event: "open", Scope: g.Scope, Reason: string(g.Reason), Text: fmt.Sprintf("%s%s no longer refuses", g.Reason, ofScope(g.Scope))})
		}
	}
	return out
}
