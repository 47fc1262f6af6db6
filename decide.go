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
	kind          Kind
	scope, caller string
	report                          // what the request says of a token
	template      template.Template // of caller and failure text
	personal      personalView
	waiting       int // callers that wait in this guard
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
	doc      *document
	opt      *options
	whole    instant // where opt is a share: when the undivided limits can hold again
	q        *query
	readable func(*record) bool // this process holds or can open the value
	pending  predict.Usage      // outcomes of the key's newest token that wait for a commit
	later    instant            // not 0: retryAt asks, at this instant, about later: the caller is then refused for quota again
}

// ruling is a step's verdict before it is put into words.
type ruling struct {
	step   Step
	answer Answer
	reason Reason
	until  instant // when this rule opens; never: waiting does not help

	token *record // AnswerServe from the cache
	place bool    // the gate waits for a place, not for this key
	owner string  // of the acquisition that the gate waits for

	count, limit int
	window       time.Duration
	since        instant
	tokenID      string
	similarity   float64
	level        Level
	confidence   float64
	lifts        bool      // the predictor does not share the suspicion of the key's newest token
	failure      *failures // behind a backoff or Retry-After
	scoped       bool      // the limiter speaks of this key alone
}

// decide walks the request through the steps and returns the ruling that answers it.
func (v *view) decide(now instant) ruling {
	// 1. Dedup filter: a duplicate can be answered by steps 2 and 3 alone.
	dup := v.dedup(now)

	// 2. Token cache. A token in its last stretch, or due for a refresh, answers if nothing may be started.
	token := v.cached(now)
	served := v.servedBy(token)
	switch {
	case v.personal(now):
		return ruling{step: StepCache, answer: AnswerServe, reason: ReasonPersonal, tokenID: v.q.personal.id}
	case v.q.kind == Personal:
		return ruling{step: StepCache, answer: AnswerRefuse, reason: ReasonPersonalUnavailable, until: never}
	case token != nil && now < v.opt.refreshAt(token):
		return served
	}

	// 3. In-progress gate. Whoever the upstream told to wait is not handed the next token instead.
	gate := v.gate(now)
	if gate.answer != AnswerPass && !v.paused(now) && !(gate.place && dup.answer == AnswerRefuse) {
		if token != nil {
			return served
		}
		return gate
	}

	refusal := dup
	if refusal.answer == AnswerPass {
		// 4. Decision manager.
		refusal = v.manager(now)
	}
	replacing := refusal.reason == ReasonQuotaSpent
	if refusal.answer == AnswerPass {
		// 5. Limiter.
		refusal = v.limiter(now)
	}
	if refusal.answer == AnswerPass && replacing {
		// 6. Quota predictor.
		refusal = v.predictor(now)
	}
	switch {
	case refusal.answer == AnswerPass: // 7. Request.
		return ruling{step: StepRequest, answer: AnswerStart, reason: ReasonAcquired}
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
	return ruling{step: StepCache, answer: AnswerServe, reason: ReasonCached, token: r, tokenID: r.ID, since: r.Acquired}
}

// retryAt is when this caller could next have a token: the earlier of the latest opening among all closed gates and
// the next instant at which a known token becomes usable. never: waiting alone changes nothing.
func (v *view) retryAt(now instant) instant {
	at := v.reopens(now)
	if v.opt.undivided != nil {
		all := *v
		all.opt = v.opt.undivided
		at = min(at, max(v.whole, all.reopens(v.whole)))
	}
	return at
}

// reopens is retryAt under the options that hold now.
func (v *view) reopens(now instant) instant {
	usable := v.nextUsable(now)
	if v.q.kind == Personal {
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
		if g.answer == AnswerRefuse {
			latest = max(latest, g.until)
		}
	}
	if m.reason == ReasonQuotaSpent {
		if p := v.predictor(t); p.answer == AnswerRefuse && !v.servesLifted(t) {
			latest = max(latest, p.until)
		}
	}
	return latest
}
