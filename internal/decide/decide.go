package decide

import (
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// The decision: a pure function of the document, the options, the request and the instant. No clock, no lock, no
// I/O below this line: the public methods read the clock and the store, and carry out what is decided here.

// Request is a request, prepared for deciding: classified, masked, its instants on the meter.
type Request struct {
	Kind          string
	Scope, Caller string            // Scope as documents keep it
	Named         string            // the scope as callers know it
	ledger.Report                   // what the request says of a token
	Template      template.Template // of caller and failure text
	Personal      Personal
}

// Personal is what this process knows of the personal token.
type Personal struct {
	Known   bool // a function is set
	ID      string
	Taken   timeline.Instant // when it was fetched
	Reset   timeline.Instant // when its quota is full again, as far as that was stated
	Usable  bool             // it may go to somebody
	Until   timeline.Instant // when it is due to be fetched again, if usable
	Again   timeline.Instant // when it may be usable again; 0: not known
	Note    string           // why it is not usable
	Due     bool             // usable to try whether its quota is full again, see ledger.Token.Due
	Fetches uint64           // how many had ended
}

// Input is everything a step looks at. Steps take the instant as a parameter of its own, so that they can be asked
// about a later one.
type Input struct {
	Doc        *ledger.Document
	Policy     *ledger.Policy
	Full       *ledger.Policy   // set where policy is a share: what it is the share of
	FullFrom   timeline.Instant // and when that can hold again
	Request    *Request
	Unreadable map[string]bool // tokens whose value this process cannot open, by ID
	Outage     Outage
	Placed     bool             // this caller has waited for a place
	Waiters    int              // callers that wait in this guard
	Pending    predict.Usage    // outcomes of the key's newest token that wait for a commit
	later      timeline.Instant // not 0: RetryAt asks, at this instant, about later: the caller is then refused for quota again
}

// Decision is a step's verdict before it is put into words.
type Decision struct {
	Step   Step
	Answer Answer
	Reason Reason
	Until  timeline.Instant // when this rule opens; Never: waiting does not help

	Token *ledger.Token // that AnswerServe hands out, if it is from the cache
	Place bool          // the gate waits for a place, not for this key
	Owner string        // of the acquisition that the gate waits for

	Count, Limit   int
	Window         time.Duration
	Since          timeline.Instant
	TokenID        string
	Similarity     float64
	Level          predict.Level
	Confidence     float64
	LiftsSuspicion bool           // the predictor does not share the suspicion of the key's newest token
	Failure        *ledger.Streak // behind a backoff or Retry-After
	scoped         bool           // the limiter speaks of this key alone
	unfit          bool           // because its fresh tokens never worked
	insteadOf      Reason         // the refusal in whose place a last resort is served
	Tries          bool           // to see whether the quota of the token is full again: one call at a time, see ledger.Token.Try
	late           bool           // the token is about to be replaced, and served because nothing may be started
	operation      string         // another one, for which a token works
	fineUntil      timeline.Instant
}

// LastResort reports whether the token is served only because nothing may be started.
func (d *Decision) LastResort() bool { return d.insteadOf != "" }

// Late reports whether the token is served only because nothing may be started yet, although it is due to be replaced.
func (d *Decision) Late() bool { return d.late || d.LastResort() }

// Outage says how far the store can be relied on.
type Outage struct {
	Away     bool // it could not be read or written just now
	MayStart bool // acquisitions may start all the same, within this process' share
}

// Readable reports whether this process can read the token's value.
func (in *Input) Readable(r *ledger.Token) bool { return r.HasValue() && !in.Unreadable[r.ID] }

// Decide walks the request through the steps and returns the decision that answers it. Without the store a cached token
// still serves, also one that is about to be replaced, and nothing else happens.
func (in *Input) Decide(now timeline.Instant) Decision {
	d := in.decide(now)
	d.Tries = d.Answer == AnswerServe && (d.Token != nil && d.Token.By(in.Request.Operation).Due(now) || d.Reason == ReasonPersonal && in.Request.Personal.Due)
	return d
}

func (in *Input) decide(now timeline.Instant) Decision {
	d := in.walk(now)
	if !in.Outage.Away || in.Outage.MayStart && d.Step != StepRenewal || d.Answer == AnswerServe {
		return d
	}
	token := in.Pick(now)
	if token == nil {
		token = in.lastResort(now)
	}
	if token != nil {
		return in.ServedBy(token)
	}
	return Decision{Step: StepStore, Answer: AnswerRefuse, Reason: ReasonStoreUnavailable, Until: timeline.Never}
}

func (in *Input) walk(now timeline.Instant) Decision {
	// 1. Dedup filter: a duplicate can be answered by steps 2 and 3 alone.
	dup := in.dedup(now)

	// 2. Token cache. A token in its last stretch, or due for a refresh, answers if nothing may be started.
	token := in.Pick(now)
	served := in.ServedBy(token)
	switch {
	case in.servesPersonal(now):
		return Decision{Step: StepCache, Answer: AnswerServe, Reason: ReasonPersonal, TokenID: in.Request.Personal.ID}
	case in.Request.Kind == ledger.Personal:
		return Decision{Step: StepCache, Answer: AnswerRefuse, Reason: ReasonPersonalUnavailable, Until: timeline.Never}
	case token != nil && now < in.DueAt(token, now):
		return served
	}

	// A value that can be renewed is, in place of all that follows.
	switch d := in.Renewal(now); {
	case d.Answer == AnswerPass:
	case d.Answer == AnswerRenew, token == nil && d.Answer == AnswerWait:
		return d
	case token != nil:
		served.late = true
		return served
	default:
		if resort := in.lastResort(now); resort != nil {
			served = in.ServedBy(resort)
			served.insteadOf = d.Reason
			return served
		}
		return d
	}

	// 3. In-progress gate. A caller that the upstream told to wait is not handed the next token instead.
	gate := in.Gate(now)
	if gate.Answer != AnswerPass && !in.paused(now) && !(gate.Place && dup.Answer == AnswerRefuse) {
		if token != nil {
			return served
		}
		return gate
	}

	refusal := dup
	if refusal.Answer == AnswerPass {
		// 4. Decision manager.
		refusal = in.Manager(now)
	}
	replacing := refusal.Reason == ReasonQuotaSpent
	if refusal.Answer == AnswerPass {
		// 5. Limiter.
		refusal = in.Limiter(now)
	}
	if token == nil && in.Placed && refusal.Reason == ReasonMinInterval && refusal.Window < Overlapping {
		// A slot was just freed; its interval ends within Overlapping, so wait instead of refusing.
		refusal.Answer, refusal.Place = AnswerWait, true
		return refusal
	}
	if refusal.Answer == AnswerPass && replacing {
		// 6. Quota predictor.
		refusal = in.predictor(now)
	}
	if refusal.Answer == AnswerPass {
		refusal = in.sharing(now)
	}
	switch {
	case refusal.Answer == AnswerPass: // 7. Request.
		return Decision{Step: StepRequest, Answer: AnswerStart, Reason: ReasonAcquired}
	case refusal.LiftsSuspicion && in.servesLifted(now): // who reported nothing of it has the token
		served = in.ServedBy(in.Doc.Newest(in.Request.Scope))
		served.LiftsSuspicion = true
		return served
	case token != nil:
		served.LiftsSuspicion, served.late = refusal.LiftsSuspicion, true
		return served
	}
	if resort := in.lastResort(now); resort != nil && !refusal.LiftsSuspicion {
		served = in.ServedBy(resort)
		served.insteadOf = refusal.Reason
		return served
	}
	return refusal
}

// servesLifted reports whether this caller has the key's newest token once its suspicion is lifted.
func (in *Input) servesLifted(t timeline.Instant) bool {
	r := *in.Doc.Newest(in.Request.Scope)
	r.Evidence = slices.Clone(r.Evidence)
	r.ClearSuspicion()
	return in.Usable(&r, t) && !r.By(in.Request.Operation).Refuses(t) && !in.reportedDead(&r, t)
}

func (in *Input) ServedBy(r *ledger.Token) Decision {
	if r == nil {
		return Decision{}
	}
	return Decision{Step: StepCache, Answer: AnswerServe, Reason: ReasonCached, Token: r, TokenID: r.ID, Since: r.Acquired}
}

// RetryAt is when this caller could next have a token: the earlier of the latest opening among all closed gates and
// the next instant at which a known token becomes usable. Never: waiting alone changes nothing.
func (in *Input) RetryAt(now timeline.Instant) timeline.Instant {
	at := in.retryAtUnder(now)
	if in.Full != nil {
		all := *in
		all.Policy = in.Full
		at = min(at, max(in.FullFrom, all.retryAtUnder(in.FullFrom)))
	}
	return at
}

// retryAtUnder is RetryAt under the policy that holds now.
func (in *Input) retryAtUnder(now timeline.Instant) timeline.Instant {
	usable := in.nextUsable(now)
	if in.Request.Kind == ledger.Personal {
		return usable
	}
	return in.openingBefore(now, usable)
}

// openingBefore is when the gates that are closed now, and those that close meanwhile, are open; at most usable.
func (in *Input) openingBefore(now, usable timeline.Instant) timeline.Instant {
	ask := *in
	ask.later = now
	// When the last of today's gates opens another may have closed, such as resets_soon: ask again from there.
	const rounds = 8
	at := now
	for range rounds {
		next := max(at, ask.closedLast(at).Until)
		if next <= at {
			return min(at, usable)
		}
		at = next
		if at >= usable {
			return usable
		}
	}
	return min(at, usable)
}

// closedLast is the gate that opens last among those that are closed at t; of those that open together the first step's.
// Its Answer is AnswerRefuse if there is one.
func (in *Input) closedLast(t timeline.Instant) (last Decision) {
	consider := func(d Decision) {
		if d.Answer == AnswerRefuse && (last.Answer != AnswerRefuse || d.Until > last.Until) {
			last = d
		}
	}
	if d := in.Renewal(t); d.Answer != AnswerPass {
		consider(d)
		return last
	}
	m := in.Manager(t)
	for _, g := range [...]Decision{in.dedup(t), in.Gate(t), m, in.Limiter(t)} {
		consider(g)
	}
	if m.Reason == ReasonQuotaSpent {
		if p := in.predictor(t); p.Answer == AnswerRefuse && !in.servesLifted(t) {
			consider(p)
		}
	}
	if m.Answer == AnswerPass {
		consider(in.sharing(t))
	}
	return last
}
