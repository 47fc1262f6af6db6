package tokenguard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// What the doors in tokenguard.go share: views on the newest state, answers, waiting.

func newOwner() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (g *Guard) attemptID() string {
	return g.owner + "-" + strconv.FormatUint(g.starts.Add(1), 36)
}

func (g *Guard) isClosed() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// enter counts an acquisition in, unless the guard is closed.
func (g *Guard) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.flights.Add(1)
	}
	return !g.closed
}

// viewFor is the view of this process on st, with the personal token fetched if it is due.
func (g *Guard) viewFor(ctx context.Context, q *query, st *state, r reading) (*view, error) {
	if st == nil {
		st = &state{doc: newDocument()}
	}
	if g.personal != nil {
		pv, due := g.personal.view(g.opt, st.doc, q.scope, r.now)
		if due {
			switch err := g.personal.refresh(ctx, g.opt.timeout, g.meter.read, g.ended); {
			case err != nil && ctx.Err() != nil:
				return nil, ctx.Err()
			case g.isClosed():
				return nil, ErrClosed
			}
			pv, _ = g.personal.view(g.opt, st.doc, q.scope, g.meter.read().now)
		}
		pv.note = g.hide(pv.note)
		q.personal = pv
	}
	q.waiting = int(g.waiting.Load())
	return g.viewOn(q, st), nil
}

// viewOn is a view on a state; what it can read was decided when the state was opened.
func (g *Guard) viewOn(q *query, st *state) *view {
	v := &view{doc: st.doc, opt: g.opt, q: q, readable: func(r *record) bool {
		_, ok := st.tokens[r.ID]
		return ok
	}}
	if r := st.doc.newest(q.scope); r != nil && (r.Suspect != 0 || r.Spent != 0) {
		v.pending = g.waits(r.ID)
	}
	return v
}

// viewOf is a view on the newest state that this process knows; the state is nil if it knows none.
func (g *Guard) viewOf(q *query) (*view, *state) {
	st := g.newest()
	if st == nil {
		return &view{doc: newDocument(), opt: g.opt, q: q, readable: func(*record) bool { return false }}, nil
	}
	return g.viewOn(q, st), st
}

func (g *Guard) serve(v *view, rl ruling, r reading, st *state, joined bool) (grant Grant, event Event) {
	if rl.reason == ReasonPersonal {
		g.tally.answered(ReasonPersonal)
		return Grant{Token: g.personal.current(), Source: SourcePersonal, Verdict: v.verdict(rl, r, 0)}, event
	}
	grant = Grant{Token: st.tokens[rl.token.ID], Source: SourceCache}
	first := g.hot.use(rl.token.ID, r.now)
	if joined {
		rl.step, rl.reason = StepGate, ReasonJoined
	}
	if first || joined {
		grant.Source = SourceShared
	}
	if first {
		g.rebuild() // from now on it is one of ours
	}
	grant.Verdict = v.verdict(rl, r, 0)
	g.tally.answered(rl.reason)
	g.hot.extend(g.shelf, st)
	if grant.Source == SourceShared || v.q.class != ClassNone {
		event = Event{At: r.wall, Kind: EventServed, Scope: v.q.scope, Caller: v.q.caller, TokenID: rl.token.ID, Source: grant.Source, Verdict: grant.Verdict, Text: v.q.text}
		g.tell(event)
	}
	return grant, event
}

func (g *Guard) refuse(v *view, rl ruling, r reading) (*RefusedError, Event) {
	err := &RefusedError{Verdict: v.verdict(rl, r, v.retryAt(r.now)), Cause: g.cause(v, rl, r)}
	return err, g.refused(v.q, r, err)
}

func (g *Guard) refused(q *query, r reading, err *RefusedError) Event {
	g.tally.answered(err.Verdict.Reason)
	e := Event{At: r.wall, Kind: EventRefused, Scope: q.scope, Caller: q.caller, TokenID: err.Verdict.Evidence.TokenID, Verdict: err.Verdict, Text: q.text}
	g.tell(e)
	return e
}

func (g *Guard) storeVerdict(q *query, err error) Verdict {
	detail := "the state store does not answer"
	if err != nil {
		detail = mask(err.Error())
	}
	return Verdict{Step: StepStore, Reason: ReasonStoreUnavailable, Answer: AnswerRefuse, Detail: detail, Class: q.class}
}

func (g *Guard) refuseStore(q *query, r reading, cause error) (Grant, error) {
	err := &RefusedError{Verdict: g.storeVerdict(q, cause), Cause: cause}
	g.refused(q, r, err)
	return Grant{}, err
}

func (g *Guard) refuseClosed(q *query) (Grant, error) {
	err := &RefusedError{Verdict: Verdict{Step: StepStore, Reason: ReasonClosed, Answer: AnswerRefuse, Detail: "Close was called", Class: q.class}}
	g.refused(q, g.meter.read(), err)
	return Grant{}, err
}

// left ends the call of a caller that does not wait any longer.
func (g *Guard) left(q *query, err error) (Grant, error) {
	if errors.Is(err, ErrClosed) {
		return g.refuseClosed(q)
	}
	g.tally.left.Add(1)
	return Grant{}, err
}

// await sleeps until something may have changed.
func (g *Guard) await(ctx context.Context) error {
	g.waiting.Add(1)
	g.mu.Lock()
	changed := g.changed
	g.awaiting++
	if !g.polling {
		g.polling = true
		go g.poll()
	}
	g.mu.Unlock()
	defer func() {
		g.waiting.Add(-1)
		g.mu.Lock()
		g.awaiting--
		g.mu.Unlock()
	}()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ended:
		return ErrClosed
	}
}

// Bounds of the pause between two looks at the store while callers wait for another process.
const (
	pollLeast = 10 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// poll looks at the store for all who wait, and has them look at the clock again. It ends at the first look for which
// nobody waits: not sooner, because those whom it wakes are mostly back before the next one, and a new poll would begin
// with the least pause and subscribe anew.
func (g *Guard) poll() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var hints <-chan struct{}
	if w, ok := g.store.(Watcher); ok {
		hints = w.Watch(ctx, g.opt.name)
	}
	for pause := pollLeast; ; pause = min(2*pause, pollMost) {
		timer := time.NewTimer(pause/2 + g.jitter(pause))
		select {
		case <-timer.C:
		case _, ok := <-hints:
			if !ok {
				hints = nil
			}
		case <-g.ended:
			timer.Stop()
			return
		}
		timer.Stop()
		g.mu.Lock()
		g.polling = g.awaiting > 0
		polling := g.polling
		g.mu.Unlock()
		if !polling {
			return
		}
		_, _, _ = g.reload(ctx, g.newest()) // whoever waits meets the error itself
		g.wake()
	}
}

// wake lets every waiter look again.
func (g *Guard) wake() {
	g.mu.Lock()
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
}

// sleeper is a Clock that can sleep, too.
type sleeper interface {
	Sleep(ctx context.Context, d time.Duration) error
}

// Bounds of one sleep of Wait: others may bring a token earlier, and a clock of the user's may run faster than time.
const (
	sleepMost   = 15 * time.Second
	sleepManual = 5 * time.Millisecond
)

// nextChange is closed when the next revision is known.
func (g *Guard) nextChange() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// sleepUntil sleeps until at, until changed or Close, or for a bounded time.
func (g *Guard) sleepUntil(ctx context.Context, at time.Time, changed <-chan struct{}) error {
	if s, ok := g.opt.clock.(sleeper); ok {
		return g.sleepOn(ctx, s, at.Sub(g.opt.clock.Now()), changed)
	}
	for {
		d := at.Sub(g.meter.read().wall)
		if d <= 0 {
			return nil
		}
		most := d
		switch {
		case g.opt.clock != nil:
			most = sleepManual
		case g.shared:
			most = sleepMost
		}
		timer := time.NewTimer(min(d, most))
		select {
		case <-timer.C:
			if g.opt.clock == nil {
				return nil
			}
			_, _, _ = g.look(ctx) // what another process brought closes changed
		case <-changed:
			timer.Stop()
			return nil
		case <-g.ended:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// sleepOn sleeps with the clock's own Sleep, which a change or Close ends early.
func (g *Guard) sleepOn(ctx context.Context, s sleeper, d time.Duration, changed <-chan struct{}) error {
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
		case <-g.ended:
		case <-sctx.Done():
		}
		cancel()
	}()
	err := s.Sleep(sctx, d)
	if ctx.Err() == nil && sctx.Err() != nil {
		return nil
	}
	return err
}

// explain asks every step, also those behind the deciding one.
func (g *Guard) explain(q *query, st *state, r reading) Explanation {
	if g.personal != nil {
		q.personal, _ = g.personal.view(g.opt, st.doc, q.scope, r.now)
	}
	q.failing = normalID(q.failing)
	v := g.viewOn(q, &state{doc: st.doc.clone(), tokens: st.tokens})
	if q.class != ClassNone {
		v.doc.report(g.opt, q, g.personalRecord(q.failing), r.now)
	}
	retry := v.retryAt(r.now)
	word := func(rl ruling) Verdict {
		at := instant(0)
		if rl.answer == AnswerRefuse {
			at = retry
		}
		return v.verdict(rl, r, at)
	}
	final := v.decide(r.now)
	out := Explanation{At: r.wall, Verdict: word(final)}
	cache := ruling{step: StepCache, answer: AnswerPass}
	if final.step == StepCache {
		cache = final
	} else if t := v.cached(r.now); t != nil {
		cache = v.servedBy(t)
	}
	manager := v.manager(r.now)
	predictor := ruling{step: StepPredictor, answer: AnswerPass}
	if manager.reason == ReasonQuotaSpent {
		predictor = v.predictor(r.now)
	}
	for _, rl := range []ruling{v.dedup(r.now), cache, v.gate(r.now), manager, v.limiter(r.now), predictor} {
		out.Steps = append(out.Steps, word(rl))
	}
	request := ruling{step: StepRequest, answer: AnswerPass}
	if final.answer == AnswerStart {
		request.answer = AnswerStart
	}
	out.Steps = append(out.Steps, word(request))
	return out
}

// reportID tells one report from another.
type reportID struct {
	token, text string
	class       Class
	at, until   instant
	none        bool
}

// counted reports whether this very report was counted before, and counts it.
func (g *Guard) counted(q *query) bool {
	seen, _ := g.reports.ContainsOrAdd(reportID{q.failing, q.text, q.class, q.at, q.until, q.none}, struct{}{})
	return seen
}

// report takes in what a request or outcome reports; p is the personal token's record if it speaks of that one.
func (d *document) report(o *options, q *query, p *record, now instant) bool {
	if p != nil && d.Tokens[p.ID] == nil {
		d.Tokens[p.ID] = p
	}
	return d.apply(o, &q.report, q.scope, now)
}

func (g *Guard) personalRecord(id string) *record {
	if g.personal == nil {
		return nil
	}
	return g.personal.record(id)
}

// news reports whether the report changes what the document says. It also lets a failure of a known token wait for the
// predictor, once.
func (g *Guard) news(q *query, doc *document, r reading) bool {
	if q.class == ClassNone {
		return false
	}
	// One that was counted may still be on its way into the document: only the document tells whether it is there.
	if rec := doc.Tokens[q.failing]; rec != nil && rec.Kind == Anonymous && !g.counted(q) {
		g.outcome(q.failing, outcomeOf(&q.report, Outcome{}, r))
	}
	return doc.wouldChange(g.opt, q, g.personalRecord(q.failing), r.now)
}

// wouldChange applies the report to copies of what it touches.
func (d *document) wouldChange(o *options, q *query, p *record, now instant) bool {
	switch q.class {
	case ClassQuotaExhausted, ClassAuthInvalid, ClassRateLimited, ClassNone:
	default:
		return false
	}
	probe := newDocument()
	if k := d.Keys[q.scope]; k != nil {
		copied := *k
		probe.Keys[q.scope] = &copied
	}
	if r := d.Tokens[q.failing]; r != nil {
		copied := *r
		probe.Tokens[q.failing] = &copied
	}
	return probe.report(o, q, p, now)
}

// submit commits a report. If the store fails, this process acts on it all the same, and stores it later.
func (g *Guard) submit(ctx context.Context, q *query) error {
	p := g.personalRecord(q.failing)
	rep := *q
	c := func(d *document, r reading) bool {
		var own *record
		if p != nil {
			copied := *p
			own = &copied
		}
		return d.report(g.opt, &rep, own, r.now)
	}
	r, err := g.commit(ctx, c)
	if err != nil {
		r = g.keep(c, true)
	}
	g.tell(Event{At: r.wall, Kind: EventReported, Scope: q.scope, Caller: q.caller, TokenID: q.failing, Verdict: Verdict{Class: q.class}, Text: q.text})
	return err
}

// liftSuspicion drops the newest token's suspicion, if the predictor still says so on the newest document.
func (g *Guard) liftSuspicion(ctx context.Context, q *query) error {
	_, err := g.commit(ctx, func(d *document, r reading) bool {
		v := &view{doc: d, opt: g.opt, q: q, readable: g.readable}
		if !v.decide(r.now).lifts {
			return false
		}
		newest := d.newest(q.scope)
		newest.lift()
		newest.Heard = 0 // the predictor answers whoever says it again
		return true
	})
	return err
}

// reportOutcome takes an Outcome in.
func (g *Guard) reportOutcome(ctx context.Context, q *query, o Outcome, r reading) error {
	st, _, err := g.look(ctx)
	if st == nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	rec := st.doc.Tokens[q.failing]
	if rec == nil && g.personalRecord(q.failing) == nil {
		return nil
	}
	if rec != nil {
		q.scope = rec.Scope
	}
	due := false
	if rec != nil && rec.Kind == Anonymous {
		if again := g.counted(q); again && !o.Failure.At.IsZero() {
			return nil
		}
		due = g.outcome(q.failing, outcomeOf(&q.report, o, r))
	}
	g.tally.outcome(q.class)
	changes := st.doc.wouldChange(g.opt, q, g.personalRecord(q.failing), r.now)
	switch {
	case changes && (q.class != ClassNone || rec != nil && rec.Suspect != 0):
		err = g.submit(ctx, q)
	case changes:
		// A first success is worth remembering, but not a commit of its own.
		g.keep(func(d *document, r reading) bool { return d.report(g.opt, q, nil, r.now) }, true)
		if due {
			err = g.flush(ctx)
		}
	case due:
		err = g.flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	g.warn(q.failing, r)
	return nil
}

// flush commits what waits.
func (g *Guard) flush(ctx context.Context) error {
	g.shelf.mu.Lock()
	waits := len(g.shelf.pending) > 0 || len(g.shelf.unsaved) > 0
	g.shelf.mu.Unlock()
	if !waits {
		return nil
	}
	_, err := g.commit(ctx, func(*document, reading) bool { return true })
	return err
}
