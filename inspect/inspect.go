// Package inspect explains a guard's state to an operator, without changing it or disturbing the guards that use it.
package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/statefile"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Report is what File found in a state file, or Store in a store. It encodes to JSON and holds no token's value.
type Report struct {
	Path     string    `json:"path"`
	Exists   bool      `json:"exists"`
	Size     int64     `json:"size"` // in bytes
	Modified time.Time `json:"modified,omitzero"`
	Format   int       `json:"format"` // of the file; 0: not known
	Name     string    `json:"name,omitempty"`
	Revision uint64    `json:"revision"`
	Losses   int       `json:"losses"`           // of commits, as far as they were noticed
	LostAt   time.Time `json:"lost_at,omitzero"` // the last of them
	// Problem says why nothing, or not the newest, can be read from the file, and what becomes of it.
	Problem  string   `json:"problem,omitempty"`
	Locked   bool     `json:"locked"` // by a process, at this moment
	LockedBy int      `json:"locked_by,omitempty"`
	SetAside []string `json:"set_aside,omitempty"` // lost files that were kept beside it

	At time.Time `json:"at,omitzero"` // of the look; everything below is as of then
	// Clock is which clock moves the state's time: "machine", or "simulated" for one of WithClock or of a testing/synctest
	// bubble. Guards on the other kind refuse the state. Empty: an earlier version's, or the store's own.
	Clock string `json:"clock,omitempty"`
	// Limits are those of the guard that committed last.
	Limits string  `json:"limits,omitempty"`
	Closed []Limit `json:"closed_gates,omitempty"`
	// Pauses are those that operations reported, the one that ends last first.
	Pauses   []tokenguard.OperationPause `json:"pauses,omitempty"`
	Attempts []tokenguard.Attempt        `json:"attempts,omitempty"`
	Tokens   []Token                     `json:"tokens,omitempty"`
	Accounts []Account                   `json:"accounts,omitempty"` // that are, or were, renewed
	Failure  string                      `json:"last_failure,omitempty"`

	Starts    uint64              `json:"starts"` // since the state was made
	Successes uint64              `json:"successes"`
	Accuracy  tokenguard.Accuracy `json:"accuracy"` // of the quota forecasts
}

// Limit is a rule that keeps acquisitions from starting.
type Limit struct {
	Scope  string            `json:"scope,omitempty"` // empty: all, or the default scope
	Reason tokenguard.Reason `json:"reason"`
	Until  time.Time         `json:"until"`
	Detail string            `json:"detail"`
	Answer string            `json:"answer,omitempty"` // of the upstream, or the error, because of which it closed; masked
}

// Token is what is known of a token.
type Token struct {
	ID       string          `json:"id"`
	Kind     tokenguard.Kind `json:"kind"`
	Scope    string          `json:"scope,omitempty"`
	Acquired time.Time       `json:"acquired"`
	Expiry   time.Time       `json:"expiry,omitzero"`
	State    string          `json:"state"`
	Stored   string          `json:"stored"` // plain, sealed, elsewhere (in its process's memory) or no
	// Evidence is what each operation has said of it, the last word first.
	Evidence []tokenguard.OperationEvidence `json:"evidence,omitempty"`
}

// Account is one whose tokens are renewed.
type Account struct {
	ID       string    `json:"id"` // as Token.Identity
	Scope    string    `json:"scope,omitempty"`
	TokenID  string    `json:"token_id"` // of its newest value
	Since    time.Time `json:"since"`
	Renewals int       `json:"renewals"`
	Renewed  time.Time `json:"renewed,omitzero"` // last
	Expiry   time.Time `json:"expiry,omitzero"`  // of the refresh token
	State    string    `json:"state"`
}

// accountState is what can be done with an account now.
func accountState(v *decide.Input, rec *ledger.Token, r timeline.Reading) string {
	i := rec.Identity
	a := v.Account(rec, r.Now)
	since := r.Time(a.Since).Format(time.RFC3339)
	switch a.State {
	case "ended":
		return "ended at " + since + ": " + i.Last.Summary()
	case "expired":
		return "its refresh token has expired"
	case "renewing":
		return "a renewal is in progress"
	case "closed":
		return "renewals are closed until " + r.Time(i.Closed.Until).Format(time.RFC3339) + ": " + i.Last.Summary()
	case "backing_off", "failing":
		if a.Failures == 1 {
			return fmt.Sprintf("a renewal failed at %s: %s", since, i.Last.Summary())
		}
		return fmt.Sprintf("%d renewals failed in a row, the last at %s: %s", a.Failures, since, i.Last.Summary())
	case "spent":
		return "its quota has been spent since " + since
	}
	return "in use"
}

// File explains the state file at path, without changing it or disturbing its users. A damaged file, or one of a newer
// version, is no error: Problem says so. The error means that it could not look.
func File(ctx context.Context, path string) (Report, error) {
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	f, err := statefile.Inspect(path)
	out := Report{Path: f.Path, Exists: f.Exists, Size: f.Size, Modified: f.ModTime, Format: f.Version, Name: f.Name, Losses: f.Losses,
		Revision: f.Snapshot.Rev, Locked: f.Locked, SetAside: f.SetAside}
	if err != nil {
		return out, err
	}
	if f.Locked {
		out.LockedBy = f.LockedBy
	}
	if f.Problem != nil {
		out.Problem = f.Problem.Error()
	}
	if then := losses[f.Lost]; then != "" {
		if out.Problem == "" {
			out.Problem = strings.ReplaceAll(string(f.Lost), "_", " ")
		}
		out.Problem += "; the next guard " + then + " and treats the hourly limit as used up"
	}
	out.read(f.Snapshot.Data, time.Time{})
	return out, nil
}

// losses are what the next guard does about each.
var losses = map[statefile.EventKind]string{
	statefile.EventDamaged:    "sets the file aside, begins anew",
	statefile.EventDeleted:    "begins anew",
	statefile.EventRolledBack: "goes on with this older state, keeps a copy of the file",
	statefile.EventReplaced:   "goes on with this other state, keeps a copy of the file",
}

// Store explains what a store holds under a guard's name, without changing it or disturbing its users; Path is the
// name. What File says of files holds no meaning here. The error means that it could not look.
func Store(ctx context.Context, store tokenguard.Store, name string) (Report, error) {
	snap, err := store.View(ctx, name)
	if err != nil {
		return Report{Path: name}, fmt.Errorf("%w: %w", tokenguard.ErrStore, err)
	}
	out := Report{Path: name, Name: name, Exists: snap.Rev > 0, Size: int64(len(snap.Data)), Revision: snap.Rev}
	if snap.Rev > 0 && len(snap.Data) == 0 {
		out.Problem = "what was committed is lost: the hourly limit is treated as used up"
	}
	out.read(snap.Data, snap.Now)
	return out, nil
}

// read explains a document as of the store's clock, or of this machine's if the store has none.
func (p *Report) read(data []byte, now time.Time) {
	if len(data) == 0 {
		return
	}
	doc, err := ledger.Decode(data)
	if err != nil {
		p.Problem = err.Error()
		return
	}
	m := meter.New(nil)
	if !now.IsZero() {
		m.Follow(now, m.Ticks())
	}
	m.Agree(doc.Clock)
	p.describe(doc, m.Read())
}

// describe asks the very functions that decide.
func (p *Report) describe(d *ledger.Document, r timeline.Reading) {
	policy := defaults()
	if n := len(d.Limits); n > 0 {
		l := d.Limits[n-1]
		policy.RateLimit.MaxRequestsPerHour, policy.RateLimit.MaxRequestsPerDay, policy.RateLimit.MinInterval = l.PerHour, l.PerDay, l.Interval
		p.Limits = fmt.Sprintf("%d/h, %d/day, %v apart", l.PerHour, l.PerDay, l.Interval)
	}
	p.At, p.LostAt, p.Clock = r.Wall, r.Time(d.Lost), string(d.Clock.Kind)
	p.Starts, p.Successes = d.Counts.Starts, d.Counts.Successes
	acc := d.History.Accuracy()
	p.Accuracy = tokenguard.Accuracy{Count: acc.Count, ShareRight: acc.ShareRight, Brier: acc.Brier, BaseBrier: acc.BaseBrier, Skill: acc.Skill}
	if d.Failures.Count > 0 {
		p.Failure = fmt.Sprintf("%d in a row, the last (%s) at %s: %s", d.Failures.Count, d.Failures.Class, r.Time(d.Failures.At).Format(time.RFC3339), d.Failures.Text)
	}

	v := &decide.Input{Doc: d, Policy: policy, Request: &decide.Request{Kind: ledger.Anonymous}}
	gate := func(scope string, rl decide.Decision) {
		if rl.Until > r.Now {
			l := Limit{Scope: scope, Reason: tokenguard.Reason(rl.Reason), Until: r.Time(rl.Until), Detail: v.RuleText(rl, r)}
			if rl.Failure != nil {
				l.Answer = rl.Failure.Text
			}
			p.Closed = append(p.Closed, l)
		}
	}
	for _, rl := range v.Limits(r.Now) {
		gate("", rl)
	}
	for scope, k := range d.Scopes {
		of := *v
		of.Request = &decide.Request{Kind: ledger.Anonymous, Scope: scope}
		gate(scope, of.Closing())
		gate(scope, decide.Decision{Reason: decide.ReasonUpstreamRateLimited, Until: k.Pause.Until, Since: k.Pause.From})
		for _, o := range k.Pauses {
			if o.Until > r.Now {
				p.Pauses = append(p.Pauses, tokenguard.OperationPause{Scope: scope, Operation: o.Operation, Since: r.Time(o.From), Until: r.Time(o.Until), Stated: o.Stated})
			}
		}
	}
	slices.SortFunc(p.Pauses, func(a, b tokenguard.OperationPause) int {
		return cmp.Or(b.Until.Compare(a.Until), strings.Compare(a.Scope, b.Scope), strings.Compare(a.Operation, b.Operation))
	})
	slices.SortFunc(p.Closed, func(a, b Limit) int { return a.Until.Compare(b.Until) })

	for _, a := range d.Attempts {
		p.Attempts = append(p.Attempts, tokenguard.Attempt{ID: a.ID, Scope: a.Scope, Operation: a.Operation, Start: r.Time(a.Start), End: r.Time(a.End), State: tokenguard.AttemptState(a.State(r.Now))})
	}
	for _, t := range d.Tokens {
		p.Tokens = append(p.Tokens, Token{t.ID, tokenguard.Kind(t.Kind), t.Scope, r.Time(t.Acquired), r.Time(t.Expiry), v.TokenState(t, r.Now), stored(t), evidence(v, t, r)})
	}
	for _, t := range d.Tokens {
		if i := t.Identity; i != nil {
			p.Accounts = append(p.Accounts, Account{i.ID, t.Scope, t.ID, r.Time(i.Since), i.Renewals, r.Time(i.Renewed), r.Time(i.Expiry), accountState(v, t, r)})
		}
	}
	slices.SortFunc(p.Accounts, func(a, b Account) int { return b.Since.Compare(a.Since) })
	slices.SortFunc(p.Tokens, func(a, b Token) int { return b.Acquired.Compare(a.Acquired) })
}

// evidence is what was said of a token, as Explain shows it.
func evidence(in *decide.Input, rec *ledger.Token, r timeline.Reading) (all []tokenguard.OperationEvidence) {
	of := *in
	of.Request = &decide.Request{Kind: ledger.Anonymous, Scope: rec.Scope}
	for i := range rec.Evidence {
		e := &rec.Evidence[i]
		all = append(all, tokenguard.OperationEvidence{
			TokenID: rec.ID, Operation: e.Operation, Success: r.Time(e.Success), Uses: e.Uses,
			Auth:  tokenguard.Refusals{First: r.Time(e.Refused), Last: r.Time(e.RefusedLast)},
			Quota: tokenguard.Refusals{First: r.Time(e.Quota), Last: r.Time(e.QuotaLast)},
			Count: e.Refusals, Early: e.Early, Spent: e.Spent, Reset: r.Time(e.Reset), Assumed: e.Assumed, LastWord: r.Time(e.Heard),
			Withheld: of.Withholds(rec, e.Operation, r.Now),
		})
	}
	slices.SortStableFunc(all, func(a, b tokenguard.OperationEvidence) int { return b.LastWord.Compare(a.LastWord) })
	return all
}

func stored(r *ledger.Token) string {
	switch {
	case r.Plain() != "":
		return "plain"
	case r.Sealed != nil:
		return "sealed"
	case r.Private:
		return "elsewhere"
	}
	return "no"
}

// String explains the report to a person.
func (p Report) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", p.Path)
	if !p.Exists && p.Problem == "" {
		line("  there is no state yet")
		return b.String()
	}
	if p.Format == 0 { // of a store, or no state file
		line("  revision %d, %d bytes", p.Revision, p.Size)
	} else {
		losses := fmt.Sprint(p.Losses, " losses")
		if p.Losses == 1 {
			losses = "1 loss"
		}
		line("  format %d, name %q, revision %d, %d bytes, %s", p.Format, p.Name, p.Revision, p.Size, losses)
	}
	if p.Problem != "" {
		line("  PROBLEM: %s", p.Problem)
	}
	for _, name := range p.SetAside {
		line("  set aside: %s", name)
	}
	if p.Locked {
		line("  locked by process %d", p.LockedBy)
	}
	if p.At.IsZero() {
		return b.String()
	}
	line("  %d started, %d succeeded; limits %s", p.Starts, p.Successes, p.Limits)
	if p.Clock == string(ledger.SimulatedClock) {
		line("  of guards with a clock of their own: guards on the machine's clock refuse it")
	}
	if p.Failure != "" {
		line("  failures: %s", p.Failure)
	}
	for _, l := range p.Closed {
		line("  closed until %s%s, %s: %s", l.Until.Format(time.RFC3339), ofScope(l.Scope), l.Reason, l.Detail)
		if !strings.HasSuffix(p.Failure, l.Answer) {
			line("    because of: %s", l.Answer)
		}
	}
	if len(p.Closed) == 0 {
		line("  no limit is closed")
	}
	for _, o := range p.Pauses {
		length := "as the upstream stated"
		if !o.Stated {
			length = "assumed: the upstream stated no wait"
		}
		line("  operation %q%s pauses from %s to %s, %s", o.Operation, ofScope(o.Scope), o.Since.Format(time.RFC3339), o.Until.Format(time.RFC3339), length)
	}
	for _, a := range p.Attempts {
		line("  attempt %s %s to %s: %s", a.ID, a.Start.Format(time.RFC3339), a.End.Format(time.RFC3339), a.State)
	}
	for _, t := range p.Tokens {
		line("  token %s %s%s of %s: %s, stored: %s", t.ID, t.Kind, ofScope(t.Scope), t.Acquired.Format(time.RFC3339), t.State, t.Stored)
		for _, e := range t.Evidence {
			line("    %s", e)
		}
	}
	for _, a := range p.Accounts {
		line("  account %s%s of %s, renewed %d times: %s", a.ID, ofScope(a.Scope), a.Since.Format(time.RFC3339), a.Renewals, a.State)
	}
	return b.String()
}

func ofScope(scope string) string {
	if scope == "" {
		return ""
	}
	return fmt.Sprintf(" for scope %q", scope)
}

// defaults are the rules of a guard without options; the document knows the limits of the one that committed last.
func defaults() *ledger.Policy {
	c := tokenguard.Conservative()
	return &ledger.Policy{
		RateLimit: ledger.LimitPolicy(c.RateLimit), Cache: ledger.CachePolicy(c.Cache), Dedup: ledger.DedupPolicy(c.Dedup),
		Manager:   ledger.ManagerPolicy{MinTokenAge: c.Manager.MinTokenAge, RecentWindow: c.Manager.RecentWindow, Confirmation: c.Manager.Confirmation},
		Predictor: ledger.PredictorPolicy(c.Predictor),
		Renewal:   ledger.DefaultRenewals(),
	}
}
