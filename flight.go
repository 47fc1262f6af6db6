package tokenguard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 7. One acquisition: charged and durable before RequestFunc is called, shared by all callers that wait for it, and
// ended whatever RequestFunc does.

const (
	maxTokenSize = 64 << 10 // bytes of a token's value: HTTP servers take headers of 8 to 64 KiB
	errorsKept   = 32       // errors of RequestFunc, of any size, that are kept as they are
)

// flights runs the acquisitions of one guard.
type flights struct {
	fetch    RequestFunc
	renewer  RenewalFunc // nil: this process renews nothing
	timeout  time.Duration
	policy   *ledger.Policy
	owner    string // names this process in the document
	meter    *meter.Meter
	keeper   *secrets.Keeper
	replica  *replica.Replica
	reader   *reader
	events   *emitter
	inputs   *inputs
	starting func(timeline.Reading) // runs before RequestFunc, within its time
	renewing func(timeline.Reading) // the same for RenewalFunc
	usage    *usage

	joining singleflight.Group        // by scope
	errs    *lru.Cache[string, error] // what RequestFunc returned, by attempt
	starts  atomic.Uint64

	mu      sync.Mutex // guards what follows
	closed  bool
	running sync.WaitGroup // Add under mu
}

func newFlights(fetch RequestFunc, o *options, owner string, m *meter.Meter, keeper *secrets.Keeper, r *replica.Replica, rd *reader, events *emitter, in *inputs) *flights {
	f := &flights{fetch: fetch, renewer: o.renewal, timeout: o.timeout, policy: o.policy, owner: owner, meter: m, keeper: keeper, replica: r, reader: rd, events: events, inputs: in}
	f.errs, _ = lru.New[string, error](errorsKept)
	return f
}

// newOwner names a process: 12 random hex digits.
func newOwner() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (f *flights) attemptID() string {
	return f.owner + "-" + strconv.FormatUint(f.starts.Add(1), 36)
}

// result is the outcome of a flight. If ran is false, the newest document no longer allowed a start.
type result struct {
	ran     bool
	renewal bool // it was one: what failed is then decided again
	token   Token
	err     error // *RequestError, or the store's
	event   Event // to be emitted once the flight is over for Close
}

var errHang = errors.New("tokenguard: a function that an acquisition calls did not return")

type answer struct {
	token Token
	err   error
}

// call runs a user-supplied function that returns a token, whatever becomes of it. An error that panics when it is read,
// such as a nil pointer, is a panic of the function: it would otherwise break those that read it later.
func call(name string, fetch func() (Token, error), done func(answer)) {
	panics.Call(name, func() (Token, error) {
		t, err := fetch()
		if err != nil {
			_ = failureOf(err).text()
		}
		return t, err
	}, func(t Token, err error) { done(answer{t, foreignError(err)}) })
}

// run starts an acquisition if the newest document still allows it, and sees it through. It runs apart from the caller
// that started it, on a context that keeps only that caller's values.
func (f *flights) run(ctx context.Context, q *decide.Request, req Request) result {
	if !f.begin() {
		return result{}
	}
	defer f.running.Done()
	a, r, err := f.charge(ctx, q)
	if err != nil {
		return result{ran: true, err: err}
	}
	if a.ID == "" {
		return result{}
	}
	f.replica.RememberAttempt(a, r.Now)

	req.Kind, req.Scope, req.Caller, req.Failing = Kind(q.Kind), q.Named, q.Caller, q.Failing
	j := &job{
		name: "RequestFunc", start: a.Start, timeout: f.timeout,
		fetch: func(ctx context.Context) (Token, error) {
			// Emit inside the timed goroutine: a blocked observer is then bounded by the request timeout.
			f.events.emit(Event{At: r.Wall, Kind: EventStarted, Scope: q.Named, Caller: q.Caller, Failing: q.Failing, Text: q.Text})
			f.starting(r)
			if err := ctx.Err(); err != nil {
				return Token{}, err
			}
			return f.fetch(ctx, req)
		},
	}
	j.finish = func(t Token, err error) result {
		res := f.finish(q, a, j.began, t, err)
		if res.err == nil && !res.token.isZero() && res.token.Value() == "" { // an account whose first value is still to be had
			f.events.emit(res.event)
			return f.renewal(ctx, q)
		}
		return res
	}
	j.late = func(ans answer) { f.keepLate(q, a, j.began, ans) }
	return f.perform(ctx, j)
}

// charge enters a start into the newest document, if that still allows it; an attempt without ID: it does not.
func (f *flights) charge(ctx context.Context, q *decide.Request) (ledger.Attempt, timeline.Reading, error) {
	id := f.attemptID()
	own := *q
	start := func(charged *atomic.Pointer[ledger.Attempt]) replica.Change {
		return func(d *replica.Draft) bool {
			charged.Store(nil)
			in := onDraft(d, &own)
			if in.Decide(d.At.Now).Answer != decide.AnswerStart {
				return false
			}
			solo, unproven := in.Solo(d.At.Now)
			a := d.Doc.Charge(f.policy, &ledger.Start{ID: id, Owner: f.owner, Scope: own.Scope, Class: own.Class, Template: own.Template.String(),
				Operation: own.Operation, Solo: solo, Contested: solo && in.Contested(d.At.Now), New: unproven, Replaces: in.Replaces(d.At.Now)}, d.At.Now)
			d.Doc.History.Started(int64(a.Start), int64(in.Limiter(d.At.Now).Until))
			charged.Store(&a)
			return true
		}
	}
	var committed, local atomic.Pointer[ledger.Attempt] // apart: a commit that was given up may still run
	charged := &committed
	r, err := f.replica.Commit(ctx, start(charged))
	if err != nil && f.replica.MayStart(f.replica.Newest()) {
		charged = &local
		alone := start(charged)
		r, err = f.replica.ApplyLocally(func(d *replica.Draft) bool {
			ok := alone(d)
			if ok { // before a read can publish a revision without it
				f.replica.RememberAttempt(*local.Load(), d.At.Now)
			}
			return ok
		}, replica.NotSaved), nil
	}
	if a := charged.Load(); err == nil && a != nil {
		return *a, r, nil
	}
	return ledger.Attempt{}, r, err
}

// finish records the outcome of the attempt and publishes it to all waiters.
func (f *flights) finish(q *decide.Request, a ledger.Attempt, began timeline.Instant, t Token, err error) result {
	r := f.meter.Read()
	c, t, failure, err := f.completion(q, a, began, t, err, r)
	complete := func(d *replica.Draft) bool { return d.Doc.Complete(f.policy, c) }
	ended := a
	if ended.Running = false; c.End < a.End {
		ended.End = max(c.End, a.Start)
	} else {
		ended.End = c.End
	}
	f.replica.RememberAttempt(ended, c.End) // as not stored: should the store lose the attempt, its end is still to be applied
	if err != nil {
		f.errs.Add(a.ID, err)
	}
	// The attempt is over for everybody in this process, whether or not the store takes it.
	if _, cerr := f.replica.Commit(context.Background(), complete); cerr != nil {
		f.replica.ApplyLocally(complete, replica.ForEnd)
		f.events.notice(r.Wall, "the end of an acquisition could not be stored and waits: "+f.reader.masked(cerr.Error()))
	}
	if c.Cut { // told once the end is stored, whatever an observer does
		f.events.cut(r.Wall, q.Named)
	}
	in := f.inputs.newest(q, r.Now)
	if err == nil {
		rev := f.replica.Newest()
		if rec := rev.Doc.Tokens[t.ID()]; rec != nil && (rec.Rejected != 0 || rec.By(q.Operation).Refuses(r.Now)) {
			return result{ran: true} // rejected while it was fetched again: callers that wait look again
		}
		if known, ok := tokenIn(rev, t.ID(), q.Named); ok {
			t = known
		}
		return result{ran: true, token: t, event: Event{At: r.Wall, Kind: EventAcquired, Scope: q.Named, Caller: q.Caller,
			TokenID: t.ID(), Source: SourceRequest, Verdict: acquired(in, t.ID(), r), Took: c.Took}}
	}
	verdict := failedVerdict(in, decide.StepRequest, &c.Failed, r)
	verdict.Class = Class(c.Failed.Class)
	return result{
		ran: true, err: &RequestError{Err: err, Class: verdict.Class, RetryAt: verdict.RetryAt, Verdict: verdict},
		event: Event{At: r.Wall, Kind: EventFailed, Scope: q.Named, Caller: q.Caller, Verdict: verdict, Took: c.Took, Text: f.reader.masked(failure.text())},
	}
}

// keepLate takes an answer that came after the lease: a token is kept, and a wait or a refusal is honoured. Neither frees
// anything.
func (f *flights) keepLate(q *decide.Request, a ledger.Attempt, began timeline.Instant, ans answer) {
	r := f.meter.Read()
	c, _, _, err := f.completion(q, a, began, ans.token, ans.err, r)
	var told atomic.Bool
	enter := func(d *replica.Draft) bool {
		if err != nil {
			told.Store(d.Doc.FailLate(f.policy, c))
			return told.Load()
		}
		rec := *c.Token
		if slices.ContainsFunc(d.Doc.ByScope.Of(rec.Scope), func(r *ledger.Token) bool { return r.Seq == rec.Seq }) {
			return false // it was entered, and may have been renewed since
		}
		d.Doc.Insert(f.policy, &rec)
		return true
	}
	if err != nil {
		f.errs.Add(a.ID, err)
	}
	if _, away := f.replica.Commit(context.Background(), enter); away != nil {
		f.replica.ApplyLocally(enter, replica.ForEnd)
	}
	if c.Cut {
		f.events.cut(r.Wall, q.Named)
	}
	if told.Load() {
		f.events.late(r.Wall, q.Named, "acquisition", &c.Failed)
	}
	if err == nil {
		f.events.emit(Event{At: r.Wall, Kind: EventAcquired, Scope: q.Named, TokenID: c.Token.ID, Took: c.Took, Text: "after its lease: the token is kept, the attempt stays a failure"})
	}
}
