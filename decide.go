package tokenguard

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/template"
)

// The decision: a pure function of the document, the options, the request and the instant. No clock, no lock, no
// I/O below this line; the doors (tokenguard.go) read the clock and the store and carry out what is decided here.

// query is a request, prepared for deciding: classified, masked, its instants on the meter.
type query struct {
	kind          string
	scope, caller string
	report                          // what the request says of a token
	template      template.Template // of caller and failure text
	personal      personalView
}

// personalView is what this process knows of the personal token.
type personalView struct {
	known   bool // a function is set
	id      string
	taken   instant // when it was fetched
	reset   instant // when its quota is full again, as far as that was stated
	usable  bool    // it may go to somebody
	until   instant // when it is due to be fetched again, if usable
	again   instant // when it may be usable again; 0: not known
	note    string  // why it is not usable
	fetches uint64  // how many had ended
}

// view is everything a step looks at. Steps take the instant as a parameter of its own, so that they can be asked
// about a later one.
type view struct {
	doc        *document
	policy     *Policy
	full       *Policy // set where policy is a share: what it is the share of
	fullFrom   instant // and when that can hold again
	q          *query
	unreadable map[string]bool // tokens whose value this process cannot open, by ID
	outage     outage
	waiters    int           // callers that wait in this guard
	pending    predict.Usage // outcomes of the key's newest token that wait for a commit
	later      instant       // not 0: retryAt asks, at this instant, about later: the caller is then refused for quota again
}

// ruling is a step's verdict before it is put into words.
type ruling struct {
	step   stepName
	answer answerKind
	reason reasonName
	until  instant // when this rule opens; never: waiting does not help

	token *record // dAnswerServe from the cache
	place bool    // the gate waits for a place, not for this key
	owner string  // of the acquisition that the gate waits for

	count, limit int
	window       time.Duration
	since        instant
	tokenID      string
	similarity   float64
	level        predict.Level
	confidence   float64
	lifts        bool      // the predictor does not share the suspicion of the key's newest token
	failure      *failures // behind a backoff or Retry-After
	scoped       bool      // the limiter speaks of this key alone
}

// outage says how far the store can be relied on.
type outage struct {
	Away     bool // it could not be read or written just now
	MayStart bool // acquisitions may start all the same, within this process' share
}

// readable reports whether this process can read the token's value.
func (v *view) readable(r *record) bool { return r.held() && !v.unreadable[r.ID] }

// decide walks the request through the steps and returns the ruling that answers it. Without the store a cached token
// still serves, also one that is about to be replaced, and nothing else happens.
func (v *view) decide(now instant) ruling {
	d := v.walk(now)
	if !v.outage.Away || v.outage.MayStart || d.answer == dAnswerServe {
		return d
	}
	if token := v.cached(now); token != nil {
		return v.servedBy(token)
	}
	return ruling{step: dStepStore, answer: dAnswerRefuse, reason: dReasonStoreUnavailable, until: never}
}

func (v *view) walk(now instant) ruling {
	// 1. Dedup filter: a duplicate can be answered by steps 2 and 3 alone.
	dup := v.dedup(now)

	// 2. Token cache. A token in its last stretch, or due for a refresh, answers if nothing may be started.
	token := v.cached(now)
	served := v.servedBy(token)
	switch {
	case v.personal(now):
		return ruling{step: dStepCache, answer: dAnswerServe, reason: dReasonPersonal, tokenID: v.q.personal.id}
	case v.q.kind == personalKind:
		return ruling{step: dStepCache, answer: dAnswerRefuse, reason: dReasonPersonalUnavailable, until: never}
	case token != nil && now < v.policy.refreshAt(token):
		return served
	}

	// 3. In-progress gate. Whoever the upstream told to wait is not handed the next token instead.
	gate := v.gate(now)
	if gate.answer != dAnswerPass && !v.paused(now) && !(gate.place && dup.answer == dAnswerRefuse) {
		if token != nil {
			return served
		}
		return gate
	}

	refusal := dup
	if refusal.answer == dAnswerPass {
		// 4. Decision manager.
		refusal = v.manager(now)
	}
	replacing := refusal.reason == dReasonQuotaSpent
	if refusal.answer == dAnswerPass {
		// 5. Limiter.
		refusal = v.limiter(now)
	}
	if refusal.answer == dAnswerPass && replacing {
		// 6. Quota predictor.
		refusal = v.predictor(now)
	}
	switch {
	case refusal.answer == dAnswerPass: // 7. Request.
		return ruling{step: dStepRequest, answer: dAnswerStart, reason: dReasonAcquired}
	case refusal.lifts && v.servesLifted(now): // who reported nothing of it has the token
		served = v.servedBy(v.doc.newest(v.q.scope))
		served.lifts = true
		return served
	case token != nil:
		served.lifts = refusal.lifts
		return served
	}
	return refusal
}

// servesLifted reports whether this caller has the key's newest token once its suspicion is lifted.
func (v *view) servesLifted(t instant) bool {
	r := *v.doc.newest(v.q.scope)
	r.lift()
	return v.serves(&r, t) && !v.dead(r.ID, 0, t)
}

func (v *view) servedBy(r *record) ruling {
	if r == nil {
		return ruling{}
	}
	return ruling{step: dStepCache, answer: dAnswerServe, reason: dReasonCached, token: r, tokenID: r.ID, since: r.Acquired}
}

// retryAt is when this caller could next have a token: the earlier of the latest opening among all closed gates and
// the next instant at which a known token becomes usable. never: waiting alone changes nothing.
func (v *view) retryAt(now instant) instant {
	at := v.reopens(now)
	if v.full != nil {
		all := *v
		all.policy = v.full
		at = min(at, max(v.fullFrom, all.reopens(v.fullFrom)))
	}
	return at
}

// reopens is retryAt under the options that hold now.
func (v *view) reopens(now instant) instant {
	usable := v.nextUsable(now)
	if v.q.kind == personalKind {
		return usable
	}
	ask := *v
	ask.later = now
	// When the last of today's gates opens another may have closed, such as resets_soon: ask again from there.
	const rounds = 8
	at := now
	for range rounds {
		next := ask.opening(at)
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

// opening is the latest opening among the gates that are closed at t; t if none is.
func (v *view) opening(t instant) instant {
	latest := t
	m := v.manager(t)
	for _, g := range [...]ruling{v.dedup(t), v.gate(t), m, v.limiter(t)} {
		if g.answer == dAnswerRefuse {
			latest = max(latest, g.until)
		}
	}
	if m.reason == dReasonQuotaSpent {
		if p := v.predictor(t); p.answer == dAnswerRefuse && !v.servesLifted(t) {
			latest = max(latest, p.until)
		}
	}
	return latest
}
