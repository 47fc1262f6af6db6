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
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// job is one call of a user-supplied function under a lease.
type job struct {
	name    string
	start   timeline.Instant // of its lease
	timeout time.Duration
	fetch   func(context.Context) (Token, error)
	finish  func(Token, error) result // enters its end
	late    func(answer)              // takes an answer that came after it
	began   timeline.Instant          // when fetch was called; set by perform
}

// perform calls the function, and sees the job to its end whatever the function does.
func (f *flights) perform(ctx context.Context, j *job) result {
	// A process that was stopped after the charge must not ask once its lease may have passed to another.
	// The deadline is fixed before the meter is read: a stop in between must not move it.
	before := time.Now()
	began := f.meter.Read()
	j.began = began.Least()
	left := j.timeout - began.Now.Sub(j.start)
	if left <= 0 {
		return j.finish(Token{}, fmt.Errorf("tokenguard: this process was stopped for longer than the timeout of %v: %w", j.timeout, context.DeadlineExceeded))
	}
	ctx, cancel := context.WithDeadline(runningIn(ctx, f), before.Add(left))

	answers := make(chan answer, 1)
	var gone atomic.Bool // the lease passed: nobody reads answers any more
	go func() {
		defer cancel()
		call(j.name, func() (Token, error) { return j.fetch(ctx) }, func(ans answer) {
			answers <- ans
			if !gone.Load() {
				return
			}
			select {
			case ans = <-answers:
				f.late(j, ans)
			default:
			}
		})
	}()
	patience := time.NewTimer(left + ledger.LeaseMargin/2)
	defer patience.Stop()
	var suspends <-chan time.Time
	if f.meter.CountsSuspends() {
		suspends = time.Tick(time.Second)
	}
	for waits := true; waits; {
		select {
		case ans := <-answers:
			return j.finish(ans.token, ans.err)
		case <-suspends: // Go's timers stand still in a suspend, the lease does not
			if f.meter.Read().Now.Sub(j.start) >= j.timeout {
				cancel()
			}
		case <-patience.C:
			waits = false
		}
	}
	gone.Store(true)
	select { // it may have answered in between
	case ans := <-answers:
		return j.finish(ans.token, ans.err)
	default:
	}
	return j.finish(Token{}, fmt.Errorf("tokenguard: %s did not return within %v of the end of its context: %w", j.name, ledger.LeaseMargin/2, context.DeadlineExceeded))
}

// late takes an answer that came after the lease. Nobody waits for that any more: a panic of a store, a classifier or an
// observer in it would end the process.
func (f *flights) late(j *job, ans answer) {
	run := func(do func(), failed func(error)) {
		panics.Call("a function that an acquisition calls", func() (struct{}, error) { do(); return struct{}{}, nil }, func(_ struct{}, err error) { failed(err) })
	}
	run(func() { j.late(ans) }, func(err error) {
		if err == nil {
			return
		}
		text := "an answer of " + j.name + " that came after its lease may be lost: " + f.reader.masked(err.Error())
		run(func() { f.events.notice(f.meter.Read().Wall, text) }, func(error) {})
	})
}

// completion reads an answer to a fetch that began at began: a usable token, or what its failure means. It calls
// nothing user-supplied that could keep the end from being stored.
func (f *flights) completion(q *decide.Request, a ledger.Attempt, began timeline.Instant, t Token, err error, r timeline.Reading) (*ledger.Completion, Token, Failure, error) {
	c := &ledger.Completion{Attempt: a, End: max(r.Now, a.Start), Took: r.Now.Sub(a.Start)}
	upstream := !errors.As(err, new(*PanicError)) && !errors.Is(err, panics.ErrGoexit)
	if err == nil {
		upstream = false
		var rec *ledger.Token
		if rec, t, err = f.accept(t, q, a.Seq, began, r); err == nil {
			c.Token = rec
			return c, t, Failure{}, nil
		}
	}
	failure := answerOf(err, a.Start, r)
	var in ledger.Report
	if upstream {
		in = f.reader.answer(failure, r)
	} else { // no answer of the upstream: its words tell nothing
		in = f.reader.classified(failure, ClassUnknown, r)
		in.Until = 0
	}
	at := c.End
	if in.At >= a.Start && in.At < c.End {
		at = in.At
	}
	c.Failed = ledger.Streak{At: c.End, ID: a.ID, Class: in.Class, Status: failure.StatusCode, Text: in.Text}
	c.Banned = upstream && in.Class == classify.Forbidden && classify.Bans(classify.Input{StatusCode: failure.StatusCode, Header: failure.Header, Text: failure.text()}) != ""
	if until := in.Until; until > at {
		if until > at.Plus(ledger.MaxRetryAfter) {
			until, c.Cut = at.Plus(ledger.MaxRetryAfter), true
		}
		c.Pause = ledger.Pause{From: at, Until: until}
	}
	return c, Token{}, failure, err
}

// answerOf is what an error says of an answer to a question of that start. No answer is older than its question: the clock that
// says so is another.
func answerOf(err error, start timeline.Instant, r timeline.Reading) Failure {
	failure := failureOf(err)
	if !failure.At.IsZero() && r.Instant(failure.At) < start {
		failure.At = time.Time{}
	}
	return failure
}

// accept turns what RequestFunc or Adopt gave into a record, or says why it is not a usable token.
func (f *flights) accept(t Token, q *decide.Request, seq uint64, began timeline.Instant, r timeline.Reading) (*ledger.Token, Token, error) {
	b := t.read()
	ends := t.ends(began, r)
	if err := t.fault(ends, r); err != nil && !(errors.Is(err, errEmptyToken) && b.secret.Refresh != "" && f.renewer != nil) {
		return nil, t, err
	}
	id := b.secret.Key()
	rec := &ledger.Token{ID: id, Kind: ledger.Anonymous, Scope: q.Scope, Acquired: r.Now, Doubt: r.Doubt, Seq: seq, Used: r.Now, Expiry: ends.meter, WallExpiry: ends.wall}
	var old *ledger.Token
	if rev := f.replica.Newest(); rev != nil {
		old = rev.Doc.Tokens[id]
	}
	switch {
	case old != nil && (old.Rejected != 0 || old.By(q.Operation) != nil && old.By(q.Operation).Refused != 0 || old.Doubts(q.Operation, r.Now) > 0 && old.By(q.Operation) == nil):
		return nil, t, fmt.Errorf("tokenguard: the token %s is the one that was rejected", id)
	case old != nil && (old.IsSpent(r.Now) || old.By(q.Operation).Refuses(r.Now)):
		return nil, t, fmt.Errorf("tokenguard: the token %s is the one whose quota is spent", id)
	case id == q.Failing && (q.Class == classify.AuthInvalid || q.Class == classify.QuotaExhausted):
		return nil, t, fmt.Errorf("tokenguard: the token %s is the one that failed", id)
	}
	if b.secret.Refresh != "" {
		rec.Identity = &ledger.Identity{ID: t.Identity(), Account: b.account, Since: r.Now, Hash: secrets.Hash("refresh", b.secret.Refresh), Expiry: t.refreshEnds(began, r)}
	}
	f.keeper.Seal(rec, b.secret)
	return rec, t.received(Anonymous, q.Named, r.Time(rec.Acquired), r.Time(rec.Expiry)), nil
}

// cause is the failure behind a refusal: as it was, if this process met it, else rebuilt from the document. During a
// backoff that is the failed acquisition, whichever rule the verdict names.
func (f *flights) cause(in *decide.Input, d decide.Decision, r timeline.Reading) error {
	streak := in.Failure(d, r.Now)
	if streak == nil || streak.Class == "" {
		return nil
	}
	if err, ok := f.errs.Peek(streak.ID); ok && streak.ID != "" {
		return err
	}
	return Failed(Failure{StatusCode: streak.Status, Message: streak.Message(), At: r.Time(streak.At)})
}
