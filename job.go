package tokenguard

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
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
	j.began = f.meter.Read().Now
	left := j.timeout - j.began.Sub(j.start)
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
				j.late(ans)
			default:
			}
		})
	}()
	patience := time.NewTimer(left + ledger.LeaseMargin/2)
	defer patience.Stop()
	var suspends <-chan time.Time
	if f.meter.Boots() {
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
