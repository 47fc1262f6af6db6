package decide

import (
	"math"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Step 5. The limits on started attempts: true sliding windows over a log of their ends, because the upstream may have
// seen an attempt at any instant between its start and its end.

// Limiter names the closed gate that opens last.
func (in *Input) Limiter(t timeline.Instant) Decision {
	worst := Decision{Step: StepLimiter, Answer: AnswerPass}
	gates := [7]Decision{in.Closing(), in.Unfit(t)}
	shared := in.Limits(t)
	copy(gates[2:], shared[:])
	for _, g := range gates {
		if g.Until > t && (worst.Answer == AnswerPass || g.Until > worst.Until) {
			g.Step, g.Answer = StepLimiter, AnswerRefuse
			worst = g
		}
	}
	return worst
}

// Limits are the gates that all keys share.
func (in *Input) Limits(t timeline.Instant) [5]Decision {
	return [...]Decision{
		in.Window(t, ReasonHourLimit, ledger.Hour, in.Policy.RateLimit.MaxRequestsPerHour),
		in.Window(t, ReasonDayLimit, ledger.Day, in.Policy.RateLimit.MaxRequestsPerDay),
		in.spacing(t),
		in.Backoff(),
		in.GuardPause(),
	}
}

// Window counts the attempts whose end is in the length before t, those that end in the future included: an
// unfinished one ends at its lease, and after a step back of the clock nothing is free.
func (in *Input) Window(t timeline.Instant, reason Reason, length time.Duration, limit int) Decision {
	out := Decision{Reason: reason, Limit: limit, Window: length}
	var last timeline.Instant // whose end makes the window full
	if out.Count, last = in.Doc.Ended(t-timeline.Instant(length), limit); out.Count >= limit {
		out.Until = last.Plus(length)
	}
	if until := in.afterLoss(length, limit); until > max(t, out.Until) {
		out.Until, out.Since, out.Count = until, in.Doc.Lost, max(out.Count, limit)
	}
	return out
}

// afterLoss is when a window opens of which nobody knows how full it was: the hour after an hour, the day at its even
// pace of one start in each limit-th part of it.
func (in *Input) afterLoss(length time.Duration, limit int) timeline.Instant {
	lost := in.Doc.Lost
	switch {
	case lost == 0:
		return 0
	case length < ledger.Day:
		return lost.Plus(length)
	}
	since, _ := in.Doc.Ended(lost, math.MaxInt)
	return lost.Plus(min(time.Duration(since+1)*(ledger.Day/time.Duration(limit)), ledger.Day))
}

// Overlapping is the MinInterval below which acquisitions of different keys may run at the same time: who asks for
// less has no use for an interval that reaches past an unfinished attempt's lease.
const Overlapping = time.Second

func (in *Input) spacing(t timeline.Instant) Decision {
	out := Decision{Reason: ReasonMinInterval, Window: in.Policy.RateLimit.MinInterval}
	for i := range in.Doc.Attempts {
		a := &in.Doc.Attempts[i]
		end := a.End
		if out.Window < Overlapping && a.InProgress(t) {
			end = a.Start
		}
		if until := end.Plus(out.Window); until > out.Until {
			out.Until, out.Since = until, end
		}
	}
	return out
}

// Backoff closes the guard after n consecutive failures for min(base * 2^(n-1), max).
func (in *Input) Backoff() Decision {
	f := &in.Doc.Failures
	out := Decision{Reason: ReasonBackoff, Count: f.Count, Since: f.At, Failure: f}
	if f.Count > 0 {
		out.Window = ledger.Doubled(in.Policy.RateLimit.FailureBackoffBase, f.Count, in.Policy.RateLimit.MaxBackoff)
		if f.Banned > 0 { // as long as the scope that met it is closed
			out.Window = max(out.Window, in.Policy.RateLimit.KeyBackoff(f.Banned))
		}
		out.Until = f.At.Plus(out.Window)
	}
	return out
}

func (in *Input) Closing() Decision {
	k := in.Doc.Scope(in.Request.Scope)
	return Decision{Reason: ReasonBackoff, Count: k.Refusals, Since: k.Closed.From, Until: k.Closed.Until,
		Window: k.Closed.Until.Sub(k.Closed.From), Failure: &k.Last, scoped: true}
}

func (in *Input) GuardPause() Decision {
	p := in.Doc.Pause
	return Decision{Reason: ReasonRetryAfter, Since: p.From, Until: p.Until, Window: p.Until.Sub(p.From)}
}

// Failure is the failed acquisition behind a refusal, whichever rule it names; nil: there is none.
func (in *Input) Failure(d Decision, now timeline.Instant) *ledger.Streak {
	f := d.Failure
	if d.Reason == ReasonRetryAfter {
		f = in.Doc.LastFailure()
	}
	for _, limit := range [...]Decision{in.Backoff(), in.Closing()} {
		if f == nil && limit.Until > now {
			f = limit.Failure
		}
	}
	return f
}
