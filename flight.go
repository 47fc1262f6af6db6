package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 7. One acquisition: charged and durable before RequestFunc is called, shared by all who wait, and ended whatever
// RequestFunc does.

// maxTokenSize bounds a token's value in bytes. HTTP servers take headers of 8 to 64 KiB.
const maxTokenSize = 64 << 10

// flown is what a flight brought. Without ran, the newest document gave another answer than the one that led here.
type flown struct {
	ran   bool
	token Token
	err   error // *RequestError, or the store's
	event Event // to be told once the flight is over for Close
}

// fly starts an acquisition if the newest document still allows it, and sees it through. It runs apart from the caller
// that started it, on a context that keeps only that caller's values.
func (g *Guard) fly(ctx context.Context, q *decide.Request, req Request) flown {
	if !g.enter() {
		return flown{}
	}
	defer g.flights.Done()
	a, r, err := g.charge(ctx, q, nil)
	if err != nil {
		return flown{ran: true, err: err}
	}
	if a.ID == "" {
		return flown{}
	}
	g.replica.RememberAttempt(a, r.Now)

	// A process that was stopped after the charge must not ask once its lease may have passed to another.
	// The deadline is fixed before the meter is read: a stop in between must not move it.
	before := time.Now()
	left := g.opt.timeout - g.meter.Read().Now.Sub(a.Start)
	if left <= 0 {
		return g.landed(q, a, Token{}, fmt.Errorf("tokenguard: this process was stopped for longer than the request timeout of %v: %w", g.opt.timeout, context.DeadlineExceeded))
	}
	ctx, cancel := context.WithDeadline(ctx, before.Add(left))
	req.Kind, req.Scope, req.Caller, req.Failing = Kind(q.Kind), q.Scope, q.Caller, q.Failing

	answers := make(chan answer, 1)
	var gone atomic.Bool // the lease passed: nobody reads answers any more
	go func() {
		defer cancel()
		call("RequestFunc", func() (Token, error) {
			// Told here, where an observer that does not return is met as a RequestFunc that does not.
			g.tell(Event{At: r.Wall, Kind: EventStarted, Scope: q.Scope, Caller: q.Caller, Failing: q.Failing, Text: q.Text})
			g.warnBudget(r)
			if err := ctx.Err(); err != nil {
				return Token{}, err
			}
			return g.request(ctx, req)
		}, func(ans answer) {
			answers <- ans
			if !gone.Load() {
				return
			}
			select {
			case ans = <-answers:
				g.late(q, a, ans)
			default:
			}
		})
	}()
	patience := time.NewTimer(left + ledger.LeaseMargin/2)
	defer patience.Stop()
	var suspends <-chan time.Time
	if g.meter.Boots() {
		suspends = time.Tick(time.Second)
	}
	for waits := true; waits; {
		select {
		case ans := <-answers:
			return g.landed(q, a, ans.token, ans.err)
		case <-suspends: // Go's timers stand still in a suspend, the lease does not
			if g.meter.Read().Now.Sub(a.Start) >= g.opt.timeout {
				cancel()
			}
		case <-patience.C:
			waits = false
		}
	}
	gone.Store(true)
	select { // it may have answered in between
	case ans := <-answers:
		return g.landed(q, a, ans.token, ans.err)
	default:
	}
	return g.landed(q, a, Token{}, fmt.Errorf("tokenguard: RequestFunc did not return within %v of the end of its context: %w", ledger.LeaseMargin/2, context.DeadlineExceeded))
}

// charge enters a start into the newest document, if that still allows it; an attempt without ID: it does not. What
// the attempt brought is entered with it where then is given.
func (g *Guard) charge(ctx context.Context, q *decide.Request, then func(*replica.Draft, ledger.Attempt)) (ledger.Attempt, timeline.Reading, error) {
	id := g.attemptID()
	q2 := *q
	start := func(charged *atomic.Pointer[ledger.Attempt]) replica.Change {
		return func(d *replica.Draft) bool {
			charged.Store(nil)
			v := onDraft(d, &q2)
			if v.Decide(d.At.Now).Answer != decide.AnswerStart {
				return false
			}
			a := d.Doc.Charge(g.opt.policy, &ledger.Start{ID: id, Owner: g.owner, Scope: q2.Scope, Class: q2.Class, Template: q2.Template.String()}, d.At.Now)
			d.Doc.History.Started(int64(a.Start), int64(v.Limiter(d.At.Now).Until))
			if then != nil {
				then(d, a)
			}
			charged.Store(&a)
			return true
		}
	}
	var committed, kept atomic.Pointer[ledger.Attempt] // apart: a commit that was given up may still run
	charged := &committed
	r, err := g.replica.Commit(ctx, start(charged))
	if err != nil && g.replica.MayStart(g.replica.Newest()) {
		charged = &kept
		alone := start(charged)
		r, err = g.replica.ApplyLocally(func(d *replica.Draft) bool {
			ok := alone(d)
			if ok { // before a read can publish a revision without it
				g.replica.RememberAttempt(*kept.Load(), d.At.Now)
			}
			return ok
		}, false), nil
	}
	if a := charged.Load(); err == nil && a != nil {
		return *a, r, nil
	}
	return ledger.Attempt{}, r, err
}

// shielded runs a flight so that a panic, Goexit or hang of a classifier, an observer or a logger in it ends that
// flight alone: singleflight would end the process, or never answer.
func (g *Guard) shielded(q *decide.Request, fly func() flown) flown {
	landed := make(chan flown, 2)
	fail := func(err error) {
		r := g.meter.Read()
		v, _ := g.viewOf(q, r.Now)
		f := ledger.Streak{Class: classify.Unknown, Text: g.masked(err.Error())}
		verdict := verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerFail, Reason: decide.ReasonRequestFailed, Failure: &f}, r, v.RetryAt(r.Now))
		landed <- flown{ran: true, err: &RequestError{Err: err, Class: Class(f.Class), RetryAt: verdict.RetryAt, Verdict: verdict}}
	}
	go call("a function that an acquisition calls", func() (Token, error) {
		f := fly()
		if f.event.Kind != "" {
			g.tell(f.event)
		}
		landed <- f
		return f.token, nil
	}, func(ans answer) {
		if ans.err != nil {
			fail(ans.err)
		}
	})
	patience := time.AfterFunc(g.opt.longest(), func() { fail(errHang) })
	defer patience.Stop()
	return <-landed
}

// longest is how long a flight takes whatever RequestFunc and the store do, if the user's other functions return.
func (o *options) longest() time.Duration { return o.policy.Lease() + 2*replica.StoreTimeout }

var errHang = errors.New("tokenguard: a function that an acquisition calls did not return")

type answer struct {
	token Token
	err   error
}

// call runs a user-supplied function that brings a token, whatever becomes of it.
func call(name string, fetch func() (Token, error), done func(answer)) {
	panics.Call(name, fetch, func(t Token, err error) { done(answer{t, foreignError(err)}) })
}

// landed takes the answer in and makes it everybody's.
func (g *Guard) landed(q *decide.Request, a ledger.Attempt, t Token, err error) flown {
	r := g.meter.Read()
	l, t, failure, err := g.landing(q, a, t, err, r)
	land := func(d *replica.Draft) bool { return d.Doc.Complete(g.opt.policy, l) }
	ended := a
	if ended.Running = false; l.End < a.End {
		ended.End = max(l.End, a.Start)
	} else {
		ended.End = l.End
	}
	g.replica.RememberAttempt(ended, l.End) // not as landed: should the store lose the attempt, its end is still to be taken in
	if err != nil {
		g.errs.Add(a.ID, err)
	}
	// The attempt is over for everybody in this process, whether or not the store takes it in.
	if _, cerr := g.replica.Commit(context.Background(), land); cerr != nil {
		g.tell(Event{At: r.Wall, Kind: EventState, Text: "the end of an acquisition could not be stored and waits: " + mask(cerr.Error())})
		g.replica.ApplyLocally(land, true)
	}
	if err == nil {
		if known, ok := g.known(t.ID()); ok {
			t = known
		}
		if st := g.replica.Newest(); st != nil && st.Doc.Tokens[t.ID()] != nil && st.Doc.Tokens[t.ID()].Rejected != 0 {
			return flown{ran: true} // rejected while it was fetched again: whoever waits looks again
		}
		v, _ := g.viewOf(q, r.Now)
		return flown{ran: true, token: t, event: Event{At: r.Wall, Kind: EventAcquired, Scope: q.Scope, Caller: q.Caller,
			TokenID: t.ID(), Source: SourceRequest, Verdict: acquired(v, t.ID(), r), Took: l.Took}}
	}
	v, _ := g.viewOf(q, r.Now)
	verdict := verdictOf(v, decide.Decision{Step: decide.StepRequest, Answer: decide.AnswerFail, Reason: decide.ReasonRequestFailed, Failure: &l.Failed}, r, v.RetryAt(r.Now))
	verdict.Class = Class(l.Failed.Class)
	return flown{
		ran: true, err: &RequestError{Err: err, Class: Class(l.Failed.Class), RetryAt: verdict.RetryAt, Verdict: verdict},
		event: Event{At: r.Wall, Kind: EventFailed, Scope: q.Scope, Caller: q.Caller, Verdict: verdict, Took: l.Took, Text: g.masked(failure.text())},
	}
}

// late keeps the token of an answer that came after the lease.
func (g *Guard) late(q *decide.Request, a ledger.Attempt, ans answer) {
	r := g.meter.Read()
	l, _, _, err := g.landing(q, a, ans.token, ans.err, r)
	if err != nil {
		return // the attempt has been counted as failed
	}
	if _, err := g.replica.Commit(context.Background(), func(d *replica.Draft) bool {
		rec := *l.Token
		d.Doc.Insert(g.opt.policy, &rec)
		return true
	}); err == nil {
		g.tell(Event{At: r.Wall, Kind: EventAcquired, Scope: q.Scope, TokenID: l.Token.ID, Took: l.Took, Text: "after its lease: the token is kept, the attempt stays a failure"})
	}
}

// landing reads an answer: a usable token, or what its failure means.
func (g *Guard) landing(q *decide.Request, a ledger.Attempt, t Token, err error, r timeline.Reading) (*ledger.Completion, Token, Failure, error) {
	l := &ledger.Completion{Attempt: a, End: max(r.Now, a.Start), Took: r.Now.Sub(a.Start)}
	upstream := !errors.As(err, new(*PanicError)) && !errors.Is(err, panics.ErrGoexit)
	if err == nil {
		upstream = false
		var rec *ledger.Token
		if rec, t, err = g.take(t, q, a.Seq, r); err == nil {
			l.Token = rec
			return l, t, Failure{}, nil
		}
	}
	f := failureOf(err)
	in := g.report(f, r)
	if !upstream { // no answer of the upstream's: its words tell nothing
		in.Class, in.Until = classify.Unknown, 0
	}
	at := l.End
	if in.At >= a.Start && in.At < l.End {
		at = in.At
	}
	l.Failed = ledger.Streak{At: l.End, ID: a.ID, Class: in.Class, Status: f.StatusCode, Text: in.Text}
	if until := in.Until; until > at {
		if until > at.Plus(ledger.MaxRetryAfter) {
			until = at.Plus(ledger.MaxRetryAfter)
			g.tell(Event{At: r.Wall, Kind: EventState, Scope: q.Scope, Text: fmt.Sprintf("the upstream's Retry-After of more than %v was cut to it", ledger.MaxRetryAfter)})
		}
		l.Pause = ledger.Pause{From: at, Until: until}
	}
	return l, Token{}, f, err
}

// expiry is when a token that was just received ends, on the meter; 0: that was not stated.
func (t Token) expiry(r timeline.Reading) timeline.Instant {
	if t.lasts {
		return min(r.Now.Plus(max(t.lifetime, 0)), timeline.Never-1) // stated, however far away
	}
	return r.Instant(t.Expiry)
}

// take turns what RequestFunc or Adopt gave into a record, or says why it is not a usable token.
func (g *Guard) take(t Token, q *decide.Request, seq uint64, r timeline.Reading) (*ledger.Token, Token, error) {
	id, value := t.ID(), t.Value()
	rec := &ledger.Token{ID: id, Kind: ledger.Anonymous, Scope: q.Scope, Acquired: r.Now, Seq: seq, Used: r.Now}
	rec.Expiry = t.expiry(r)
	st := g.replica.Newest()
	var old *ledger.Token
	if st != nil {
		old = st.Doc.Tokens[id]
	}
	switch {
	case value == "":
		return nil, t, errors.New("tokenguard: the token is empty")
	case len(value) > maxTokenSize:
		return nil, t, fmt.Errorf("tokenguard: the token has %d bytes, at most %d are taken", len(value), maxTokenSize)
	case rec.Expiry != 0 && rec.Expiry <= r.Now:
		return nil, t, fmt.Errorf("tokenguard: the token %s has expired already (where the upstream states no expiry, NewToken with a zero one)", id)
	case old != nil && old.Rejected != 0:
		return nil, t, fmt.Errorf("tokenguard: the token %s is the one that was rejected", id)
	case old != nil && old.IsSpent(r.Now):
		return nil, t, fmt.Errorf("tokenguard: the token %s is the one whose quota is spent", id)
	case id == q.Failing && (q.Class == classify.AuthInvalid || q.Class == classify.QuotaExhausted):
		return nil, t, fmt.Errorf("tokenguard: the token %s is the one that failed", id)
	}
	g.keeper.Seal(rec, t.hidden())
	t.Kind, t.Scope, t.AcquiredAt, t.Expiry = Anonymous, q.Scope, r.Time(rec.Acquired), r.Time(rec.Expiry)
	return rec, t, nil
}
