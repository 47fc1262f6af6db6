package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A candidate is an ordinary guard with a RequestFunc of its own, which asks no upstream: it answers at once, as the
// last real acquisition ended.
//
//	a call and its answer    -> the candidate's walk over its own document -> counts, and an event where they differ
//	a report about a token   -> the same report about the token that the candidate had in its place
//
// Nothing that goes wrong here reaches a caller.

const (
	candidateSuffix = ".candidate" // of its document's name
	evaluateTimeout = time.Second  // what a store that hangs can cost a call here
	pairsKept       = 256          // real tokens that are remembered with the candidate's
)

type candidate struct {
	*Guard                                  // its own state, counters and cache
	real         *Guard                     // the one beside it
	shadow       *shadow                    // that of the real one, or nil
	pairs        *lru.Cache[string, string] // real token ID to the candidate's
	gained, lost atomic.Int64
	renewed      atomic.Uint64 // to name the values that it would have had

	turn  chan struct{} // serialises seed: the one that holds it has put something in
	begun atomic.Bool   // its state exists
}

// CandidateStats is a candidate configuration (WithCandidate) beside the one in force, on the same calls of this
// process. Calls that a personal token answered, that were left by their caller or met an unavailable store are not
// among them.
type CandidateStats struct {
	Config Config `json:"config"`
	// Gained are calls that the candidate served and the settings in force did not; Lost are the reverse.
	Gained int64 `json:"gained"`
	Lost   int64 `json:"lost"`
	// Stats are the candidate's own: what it would have answered, and the acquisitions that it would have started.
	Stats Stats `json:"stats"`
}

// completeCandidate lays the candidate over what the options set.
func (o *options) completeCandidate() {
	if o.candidate == nil {
		return
	}
	c := o.Config
	mistakes := configFields.Overlay(&c, *o.candidate)
	mistakes = append(mistakes, c.backoffMistakes()...)
	for _, m := range mistakes {
		m.Field = "WithCandidate: " + m.Field
		o.mistakes(m)
	}
	if most := maxName - len(candidateSuffix); len(o.name) > most && validName(o.name) {
		o.mistake("WithName", o.name, fmt.Sprintf("at most %d letters beside WithCandidate", most))
	}
	o.candidate = &c
}

func newCandidate(real *Guard, shadow *shadow) (*candidate, error) {
	c := &candidate{real: real, shadow: shadow, turn: make(chan struct{}, 1)}
	c.pairs, _ = lru.New[string, string](pairsKept)
	o := *real.opt
	o.Config, o.candidate = *o.candidate, nil
	o.policy = o.rules()
	o.name += candidateSuffix
	if o.statePath != "" {
		o.statePath += candidateSuffix
	}
	o.personal, o.observers, o.shadow = nil, nil, false
	if o.renewal != nil {
		o.renewal = c.simulateRenewal
	}
	o.processes, o.sharing = 0, false
	o.logger = slog.New(slog.DiscardHandler)
	o.classifier = simulatedClass(o.classifier)
	var err error
	if c.Guard, err = newGuard(c.simulate, &o); err != nil {
		return nil, fmt.Errorf("WithCandidate: %w", err)
	}
	return c, nil
}

// compare evaluates the candidate on a call that the guard has answered.
func (c *candidate) compare(ctx context.Context, req Request, grant Grant, err error) {
	reason := grant.Verdict().Reason
	refused, failed := &RefusedError{}, &RequestError{}
	switch {
	case err == nil:
	case errors.As(err, &failed): // its RequestFunc may hold the refusal of another guard
	case errors.As(err, &refused):
		reason = refused.Verdict.Reason
	default:
		return
	}
	switch {
	case req.Kind == Personal, reason == ReasonPersonal, reason == ReasonStoreUnavailable, reason == ReasonClosed:
		return
	}
	own := c.evaluate(ctx, req, err == nil && grant.Source != SourceShadow)
	if id := grant.Token.ID(); id != "" && own != "" {
		c.pairs.ContainsOrAdd(id, own)
	}
}

// evaluate walks the call through the candidate's steps and returns the ID of the token that it would have served.
func (c *candidate) evaluate(ctx context.Context, req Request, served bool) (id string) {
	if req.Failure.none() {
		if e := c.cache.lookup(req.Scope, req.Caller); e != nil {
			c.score(&req, served, e.grant, nil)
			return e.grant.Token.ID()
		}
	}
	if !c.begun.Load() {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, evaluateTimeout)
	defer cancel()
	own := req
	own.Failing, own.Failure = c.counterpart(req.Failing, ledger.ScopeKey(req.Scope)), c.redacted(req.Failure, req.Failing)
	own.Caller = c.real.flights.keeper.Hide(trim(req.Caller, maxCaller))
	grant, err := c.enforce(ctx, &own, nil)
	c.score(&req, served, grant, err)
	return grant.Token.ID()
}

// score counts a call, and reports where the two differ.
func (c *candidate) score(req *Request, served bool, grant Grant, err error) {
	verdict := grant.Verdict()
	switch err := err.(type) {
	case nil:
	case *RefusedError:
		verdict = err.Verdict
	case *RequestError:
		verdict = err.Verdict
	default:
		return // its store was too slow
	}
	switch {
	case served == (err == nil), verdict.Step == StepStore:
		return
	case served:
		c.lost.Add(1)
	default:
		c.gained.Add(1)
	}
	c.real.events.emit(Event{At: c.real.meter.Read().Wall, Kind: EventCandidate, Scope: req.Scope, Caller: trim(req.Caller, maxCaller),
		Failing: normalID(req.Failing), Verdict: verdict, Text: c.real.reader.masked(c.redacted(req.Failure, req.Failing).text())})
}

// seed makes the candidate's first document before the first call: a copy of the real one, so that both start with the
// same budget. Names stand for the tokens, nothing is in progress, and nothing is counted yet.
func (c *candidate) seed(ctx context.Context) {
	if c.begun.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, evaluateTimeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return
	}
	if c.begun.Load() {
		return
	}
	real, _, err := c.real.replica.Look(ctx)
	if err != nil {
		return
	}
	c.meter.Agree(real.Doc.Clock)
	_, err = c.replica.Commit(ctx, func(draft *replica.Draft) bool {
		d := draft.Doc
		if d.Seq != 0 || real.Doc.Seq == 0 {
			return false
		}
		from := real.Doc.Clone()
		d.Seq, d.Attempts, d.Failures, d.Pause, d.Scopes = from.Seq, from.Attempts, from.Failures, from.Pause, from.Scopes
		d.Triggers, d.History, d.Lost, d.Folded, d.Renewals = from.Triggers, from.History, from.Lost, from.Folded, from.Renewals
		for i := range d.Attempts {
			d.Attempts[i].Running = false
		}
		for id, rec := range from.Tokens {
			if rec.Kind != ledger.Anonymous {
				continue
			}
			rec = from.Edit(rec)
			named := *NewToken(nameFor(id), time.Time{}).read().secret
			had := rec.HasValue()
			rec.ID, rec.Successor = named.ID, ""
			rec.Value, rec.Bytes, rec.Sealed, rec.Private, rec.Dropped, rec.Parts = "", nil, nil, false, false, ledger.Parts{}
			if rec.Identity != nil {
				named.Refresh = "the account of " + nameFor(id)
				account := *rec.Identity
				account.Hash, account.Lease, account.Spare, account.SpareHash = secrets.Hash("refresh", named.Refresh), ledger.Lease{}, ledger.Parts{}, ""
				rec.Identity = &account
			}
			if real.Secrets[id] != nil {
				c.flights.keeper.Seal(rec, &named)
				if !had {
					rec.DropValue()
				}
			}
			d.Tokens[rec.ID] = rec
		}
		d.Index()
		return true
	})
	c.begun.Store(err == nil)
}

// begins reports whether there is a candidate's document, which it makes if this is the first that the process does.
func (c *candidate) begins(ctx context.Context) bool {
	c.seed(ctx)
	return c.begun.Load()
}

// counterpart returns the ID of the token that the candidate had in place of a real one.
func (c *candidate) counterpart(failing, scope string) string {
	id := normalID(failing)
	if id == "" {
		return ""
	}
	if own, ok := c.pairs.Get(id); ok {
		return own
	}
	own := TokenID(nameFor(id))
	real, st := c.real.replica.Newest(), c.replica.Newest()
	switch {
	case st == nil || st.Doc.Tokens[own] != nil:
	case real != nil && real.Doc.Tokens[id] != nil, c.shadow != nil && c.shadow.tokens.Contains(id):
		if rec := st.Doc.Newest(scope); rec != nil {
			own = rec.ID
			c.pairs.Add(id, own)
		}
	}
	return own // of a token that the guard does not know, the candidate does not know it either
}

// redacted takes the real tokens out of a failure's text: the candidate does not know them as such, nor the value of the
// token that failed.
func (c *candidate) redacted(f Failure, failing string) Failure {
	if f.none() {
		return f
	}
	text := trim(f.text(), 2*maxText)
	clean := c.real.flights.keeper.Hide(text)
	if !secrets.IsID(failing) {
		clean = secrets.Without(clean, failing, TokenID(failing))
	}
	if clean != text {
		f.Message = clean
	}
	return f
}

// report applies what was reported of a real token.
func (c *candidate) report(ctx context.Context, o Outcome) {
	if !c.begins(ctx) || c.real.personal.record(normalID(o.TokenID)) != nil {
		return
	}
	scope := ""
	if st := c.real.replica.Newest(); st != nil {
		if rec := st.Doc.Tokens[normalID(o.TokenID)]; rec != nil {
			scope = rec.Scope
		}
	}
	ctx, cancel := context.WithTimeout(ctx, evaluateTimeout)
	defer cancel()
	o.TokenID, o.Failure = c.counterpart(o.TokenID, scope), c.redacted(o.Failure, o.TokenID)
	_ = c.Report(ctx, o)
}

// adopt stores what was adopted.
func (c *candidate) adopt(ctx context.Context, t Token) {
	if !c.begins(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, evaluateTimeout)
	defer cancel()
	named := *t.read()
	named.secret = secrets.New(nameFor(t.ID()))
	_ = c.Adopt(ctx, named.token())
}

// clear lifts what an operator lifted.
func (c *candidate) clear(ctx context.Context, what Clear) {
	if !c.begins(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, evaluateTimeout)
	defer cancel()
	if what.Suspicion != "" && what.Suspicion != "*" {
		what.Suspicion = c.counterpart(what.Suspicion, "")
	}
	_ = c.Clear(ctx, what)
}

func (c *candidate) stats() *CandidateStats {
	return &CandidateStats{Config: c.Config(), Gained: c.gained.Load(), Lost: c.lost.Load(), Stats: c.Stats()}
}
