package tokenguard

import (
	"context"
	"errors"
	"time"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
)

// DedupConfig sets the dedup filter and the in-progress gate.
type DedupConfig struct {
	// Window is how long a started acquisition answers for the failures that look the same: up to 24 h, default 300 s
	// (dedup_window).
	Window time.Duration
	// Similarity of masked texts from which two failures count as the same: above 0 up to 1, default 0.8
	// (similarity_threshold).
	Similarity float64
	// MaxConcurrent is how many acquisitions of different keys may run at once over the store: 1 to 100, default 3
	// (max_concurrent_requests).
	MaxConcurrent int
	// MaxWaiters is how many callers may wait in one guard for acquisitions and renewals, those that started them included:
	// 1 to 1048576, default 131072 (max_waiters). A caller beyond is refused at once (too_many_waiters).
	MaxWaiters int
}

// DedupStats is the dedup filter.
type DedupStats struct {
	Duplicates int64 `json:"duplicates"` // calls of this process that were refused as duplicates
	Records    int   `json:"records"`    // of the last starts, against which requests are compared
}

// ErrReentrant is a call that a user-supplied function (RequestFunc or RenewalFunc) makes to the guard that runs
// it, on the context that it was given, and that only an acquisition could answer. It comes at once. Calls that a cached
// token or a refusal answers are answered, but Wait does not sleep in such a function: its error is ErrReentrant and the
// refusal. A call to another guard is like any other.
var ErrReentrant = errors.New("tokenguard: the function that fetches a token asked its own guard for one")

// runningFor is who runs the function that a context was given to, and those whose functions led to it.
type runningFor struct {
	owner any // *flights or *personal
	outer *runningFor
}

type runningKey struct{}

// runningIn is the context of a user-supplied function that owner runs.
func runningIn(ctx context.Context, owner any) context.Context {
	outer, _ := ctx.Value(runningKey{}).(*runningFor)
	return context.WithValue(ctx, runningKey{}, &runningFor{owner, outer})
}

// runs reports whether the call comes from a function that owner runs.
func runs(ctx context.Context, owner any) bool {
	r, _ := ctx.Value(runningKey{}).(*runningFor)
	for ; r != nil; r = r.outer {
		if r.owner == owner {
			return true
		}
	}
	return false
}

// join waits for the flight of the request's key, and starts it if none is in progress. leader: this caller started it.
// A caller that leaves disturbs nobody. renews: it is a renewal.
func (f *flights) join(ctx context.Context, ended <-chan struct{}, q *decide.Request, req *Request, renews bool) (res result, leader bool, err error) {
	started := false // written before the result is sent, read after
	key, fly := q.Scope, func() result { return f.run(context.WithoutCancel(ctx), q, *req) }
	if renews {
		key, fly = "renewal of "+q.Scope, func() result { return f.renew(context.WithoutCancel(ctx), q) }
	}
	ch := f.joining.DoChan(key, func() (any, error) {
		started = true
		return f.protected(q, fly), nil
	})
	select {
	case r := <-ch:
		return r.Val.(result), started, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-ended:
		err = ErrClosed
	}
	select { // a flight that has finished by now wins over the end of the wait
	case r := <-ch:
		return r.Val.(result), started, nil
	default:
		return result{}, false, err
	}
}

// begin counts an acquisition in, unless the guard is closed.
func (f *flights) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.running.Add(1)
	}
	return !f.closed
}

// longest is how long a flight takes whatever RequestFunc and the store do, if the other user-supplied functions return.
func (f *flights) longest() time.Duration {
	longest := f.policy.Lease() + 2*replica.StoreTimeout
	if f.renewer != nil { // a first value is renewed in the flight of its account
		longest += f.policy.RenewalLease() + 2*replica.StoreTimeout
	}
	return longest
}

// close lets no further acquisition begin, and waits for those in progress.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	over := make(chan struct{})
	go func() { f.running.Wait(); close(over) }()
	patience := time.NewTimer(f.longest())
	defer patience.Stop()
	select {
	case <-over:
	case <-patience.C: // a store or an observer does not return; that observer may be the one that called Close
	}
}

// protected runs a flight so that a panic, Goexit or hang of a classifier, an observer or a logger in it ends that
// flight alone: singleflight would end the process, or never answer.
func (f *flights) protected(q *decide.Request, fly func() result) result {
	done := make(chan result, 2)
	fail := func(err error) {
		r := f.meter.Read()
		streak := ledger.Streak{Class: classify.Unknown, Text: f.reader.masked(err.Error())}
		verdict := failedVerdict(f.inputs.newest(q, r.Now), decide.StepRequest, &streak, r)
		done <- result{ran: true, err: &RequestError{Err: err, Class: Class(streak.Class), RetryAt: verdict.RetryAt, Verdict: verdict}}
	}
	go call("a function that an acquisition calls", func() (Token, error) {
		res := fly()
		if res.event.Kind != "" {
			f.events.emit(res.event)
		}
		done <- res
		return res.token, nil
	}, func(ans answer) {
		if ans.err != nil {
			fail(ans.err)
		}
	})
	patience := time.AfterFunc(f.longest(), func() { fail(errHang) })
	defer patience.Stop()
	return <-done
}
