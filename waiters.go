package tokenguard

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// waiters are the callers that sleep in Wait, and those in Acquire that wait for an acquisition of another process or for a
// place. A change of the document wakes those whom it helps.
//
//	commit ──> Wake ──> changed ──> sweep: decide each question once ──> wake who would be answered otherwise, or sooner
//
// A sweep asks no store, runs nothing user-supplied and takes no lock for long. What it cannot foresee, because a call would
// read the store first, or because the clock is a user's, wakes all.
type waiters struct {
	inputs   *inputs
	cache    *tokenCache
	replica  *replica.Replica
	personal *personal // nil: there is none
	flights  *flights
	all      bool // each change wakes all

	changes atomic.Uint64 // how often Wake ran; it grows under mu

	mu       sync.Mutex // guards what follows
	asleep   map[*waiter]struct{}
	sweeping bool
}

// waiter is one sleep of a call. It does not change.
type waiter struct {
	q      *decide.Request
	until  timeline.Instant // when it asks again without being woken
	woken  chan struct{}    // closed when it has to ask
	gate   *decide.Decision // of a call in Acquire, that it waits; nil: it is in Wait
	placed bool             // it has waited for a place
	always bool             // any change wakes it
}

// mark is how many changes there were. A waiter takes it before it decides, so as not to sleep over one that came meanwhile.
func (w *waiters) mark() uint64 { return w.changes.Load() }

// changed has a sweep find out whom the change helps.
func (w *waiters) changed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes.Add(1)
	if len(w.asleep) > 0 && !w.sweeping {
		w.sweeping = true
		go w.sweep()
	}
}

// enter has a caller sleep that was refused until retryAt. It returns nil if something changed since the mark: then it asks
// again.
func (w *waiters) enter(q *decide.Request, retryAt time.Time, since uint64) *waiter {
	v := w.view()
	s := &waiter{q: q, until: timeline.Never, woken: make(chan struct{})} // what is not foreseen as it was answered, any change may help
	if o := v.outlook(s); !o.helps && v.at.Time(o.retryAt).Sub(retryAt).Abs() < time.Millisecond {
		s.until = o.retryAt
	}
	return w.add(s, since)
}

// enterGate has a call of Acquire sleep, which waits by the decision. It returns nil if something changed since the mark. What
// a change does to a call that was decided without the store, or that waits for an acquisition of this process, is not foreseen.
func (w *waiters) enterGate(c *acquireCall, d *decide.Decision) *waiter {
	if w.replica.Newest() != c.rev { // it came between the look and the mark
		return nil
	}
	return w.add(&waiter{q: c.q, until: d.Until, woken: make(chan struct{}), gate: d, placed: c.placed,
		always: c.away != nil || !d.Place && d.Owner == w.flights.owner}, c.since)
}

func (w *waiters) add(s *waiter, since uint64) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changes.Load() != since {
		return nil
	}
	w.asleep[s] = struct{}{}
	return s
}

func (w *waiters) leave(s *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asleep, s)
}

// sweep wakes those whom the changes so far help, until there are no more. The others are due as before.
func (w *waiters) sweep() {
	if due := w.wake(); due != timeline.Never {
		w.replica.LookAt(due)
	}
}

// wake is sweep up to when the first of those is due that sleep on in Acquire.
func (w *waiters) wake() (due timeline.Instant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for swept := uint64(0); swept != w.changes.Load() && len(w.asleep) > 0; {
		swept = w.changes.Load()
		asleep := slices.Collect(maps.Keys(w.asleep))
		w.mu.Unlock()
		woken := w.view().helped(asleep)
		w.mu.Lock()
		for _, s := range woken {
			if _, sleeps := w.asleep[s]; sleeps {
				delete(w.asleep, s)
				close(s.woken)
			}
		}
	}
	w.sweeping = false
	due = timeline.Never
	for s := range w.asleep {
		if s.gate != nil {
			due = min(due, s.until)
		}
	}
	return due
}

// waitersView is what the questions of waiters are decided on.
type waitersView struct {
	*waiters
	rev   *replica.Revision
	at    timeline.Reading
	doc   *ledger.Document // that of rev, with what waits for a commit
	exact bool             // a call would be decided on it
	waits bool             // something does wait for a commit
	known map[plainQuestion]outlook
}

// plainQuestion is what a request asks that reports nothing: many callers ask the same.
type plainQuestion struct {
	kind, scope, operation string
	gate, placed           bool // of the waiter
}

// outlook is what a waiter that asked would learn.
type outlook struct {
	helps   bool             // for one in Wait: it would not be refused, or that is not foreseen
	retryAt timeline.Instant // else when it could have a token; Never: it would return
	gate    decide.Decision  // for one in Acquire, what it would get; zero: that is not foreseen
}

// wakes reports whether the waiter has to ask again, at an instant.
func (o *outlook) wakes(s *waiter, now timeline.Instant) bool {
	if s.gate == nil {
		return o.helps || o.retryAt < s.until || o.retryAt == timeline.Never
	}
	return s.always || s.gate.Outdated(&o.gate, now)
}

func (w *waiters) view() *waitersView {
	v := &waitersView{waiters: w, known: map[plainQuestion]outlook{}}
	if w.all {
		return v
	}
	if v.rev, v.at, v.exact = w.replica.Settled(); !v.exact {
		return v
	}
	v.doc = v.rev.Doc
	if v.waits = w.replica.SuccessesWait() || w.cache.tells(w.inputs.policy, v.doc, v.at.Now); v.waits {
		v.doc = w.cache.uncommitted(v.doc, v.at.Now)
	}
	return v
}

// helped are those who would have another answer, or a wait that ends sooner. If there is something to save one of the others
// is among them, since only a call saves.
func (v *waitersView) helped(asleep []*waiter) []*waiter {
	if !v.exact {
		return asleep
	}
	woken := asleep[:0:0]
	for _, s := range asleep {
		if o := v.outlook(s); o.wakes(s, v.at.Now) {
			woken = append(woken, s)
		}
	}
	if len(woken) == 0 && v.rev.Dirty {
		woken = asleep[:1]
	}
	return woken
}

func (v *waitersView) outlook(s *waiter) outlook {
	q := s.q
	if !v.exact {
		return outlook{helps: true}
	}
	if q.Class != "" || q.Failing != "" {
		return v.decide(s)
	}
	key := plainQuestion{q.Kind, q.Scope, q.Operation, s.gate != nil, s.placed}
	o, known := v.known[key]
	if !known {
		o = v.decide(s)
		v.known[key] = o
	}
	return o
}

func (v *waitersView) decide(s *waiter) outlook {
	q := s.q
	in, ok := v.input(q)
	if !ok || q.Class != "" && v.doc.WouldChange(v.inputs.policy, &q.Report, q.Scope, v.personal.record(q.Failing), v.at.Now) {
		return outlook{helps: true}
	}
	if s.gate != nil {
		in.Placed = s.placed
		in.Waiters-- // it counts itself
		return outlook{gate: in.Decide(v.at.Now)}
	}
	if d := in.Decide(v.at.Now); d.Answer != decide.AnswerRefuse || d.LiftsSuspicion {
		return outlook{helps: true}
	}
	return outlook{retryAt: in.RetryAt(v.at.Now)}
}

// input is what a call with this question would be decided on; ok is false if it would first fetch the personal token.
func (v *waitersView) input(q *decide.Request) (in *decide.Input, ok bool) {
	own := *q
	if v.personal != nil {
		var due bool
		if own.Personal, due = v.personal.view(v.doc, own.Scope, v.at.Now); due {
			return nil, false
		}
	}
	in = v.inputs.on(&own, v.rev, v.at.Now)
	if v.waits {
		in.Doc, in.Pending = v.doc, predict.Usage{}
	}
	return in, true
}

// refusal is the one that a caller with this question would get now, if that can be told without asking; nil: it cannot.
func (w *waiters) refusal(q *decide.Request) *RefusedError {
	v := w.view()
	if !v.exact {
		return nil
	}
	in, ok := v.input(q)
	if !ok {
		return nil
	}
	d := in.Decide(v.at.Now)
	if d.Answer != decide.AnswerRefuse || d.LiftsSuspicion {
		return nil
	}
	return &RefusedError{Verdict: verdictOf(in, d, v.at, in.RetryAt(v.at.Now)), Cause: w.flights.cause(in, d, v.at)}
}

// sleeper is a Clock that can sleep, too.
type sleeper interface {
	Sleep(ctx context.Context, d time.Duration) error
}

// Bounds of one sleep of Wait: others may bring a token earlier, and a user-supplied clock may run faster than time.
const (
	sleepMost   = 15 * time.Second
	sleepManual = 5 * time.Millisecond
)

// sleepUntil sleeps until at on the clock, until changed or ended is closed, or for a bounded time.
func sleepUntil(ctx context.Context, clock Clock, r *replica.Replica, at time.Time, changed, ended <-chan struct{}) error {
	if s, ok := clock.(sleeper); ok {
		return sleepOn(ctx, s, at.Sub(clock.Now()), changed, ended)
	}
	for {
		d := at.Sub(r.Meter.Read().Wall)
		if d <= 0 {
			return nil
		}
		most := d
		switch {
		case clock != nil:
			most = sleepManual
		case r.Shared():
			most = sleepMost
		}
		timer := time.NewTimer(min(d, most))
		select {
		case <-timer.C:
			if clock == nil {
				return nil
			}
			_, _, _ = r.Look(ctx) // what another process brought closes changed
		case <-changed:
			timer.Stop()
			return nil
		case <-ended:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// sleepOn sleeps with the clock's own Sleep, which a change or Close ends early.
func sleepOn(ctx context.Context, s sleeper, d time.Duration, changed, ended <-chan struct{}) error {
	sctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-changed:
		case <-ended:
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
