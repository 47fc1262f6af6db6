package tokenguard

import (
	"slices"
	"time"
)

// Step 5. The limits on started attempts: true sliding windows over a log of their ends, because the upstream may have
// seen an attempt at any instant between its start and its end.

// limiter names the closed gate that opens last.
func (v *view) limiter(t instant) ruling {
	worst := ruling{step: dStepLimiter, answer: dAnswerPass}
	gates := [6]ruling{v.closing()}
	shared := v.limits(t)
	copy(gates[1:], shared[:])
	for _, g := range gates {
		if g.until > t && (worst.answer == dAnswerPass || g.until > worst.until) {
			g.step, g.answer = dStepLimiter, dAnswerRefuse
			worst = g
		}
	}
	return worst
}

// limits are the gates that all keys share.
func (v *view) limits(t instant) [5]ruling {
	return [...]ruling{
		v.window(t, dReasonHourLimit, hour, v.policy.RateLimit.MaxRequestsPerHour),
		v.window(t, dReasonDayLimit, day, v.policy.RateLimit.MaxRequestsPerDay),
		v.spacing(t),
		v.backoff(),
		v.guardPause(),
	}
}

// window counts the attempts whose end lies in the length before t, those that end in the future included: an
// unfinished one ends at its lease, and after a step back of the clock nothing is free. Attempts are sorted by end.
func (v *view) window(t instant, reason reasonName, length time.Duration, limit int) ruling {
	all := v.doc.Attempts
	first, _ := slices.BinarySearchFunc(all, t-instant(length), func(a attempt, edge instant) int {
		if a.End <= edge {
			return -1
		}
		return 1
	})
	out := ruling{reason: reason, limit: limit, window: length, count: len(all) - first}
	if out.count >= limit {
		out.until = all[len(all)-limit].End.plus(length)
	}
	if until := v.afterLoss(length, limit); until > max(t, out.until) {
		out.until, out.since, out.count = until, v.doc.Lost, max(out.count, limit)
	}
	return out
}

// afterLoss is when a window opens of which nobody knows how full it was: the hour after an hour, the day at its even
// pace of one start in each limit-th part of it.
func (v *view) afterLoss(length time.Duration, limit int) instant {
	lost := v.doc.Lost
	switch {
	case lost == 0:
		return 0
	case length < day:
		return lost.plus(length)
	}
	since := 1
	for i := range v.doc.Attempts {
		if v.doc.Attempts[i].End > lost {
			since++
		}
	}
	return lost.plus(min(time.Duration(since)*(day/time.Duration(limit)), day))
}

// overlapping is the MinInterval below which acquisitions of different keys may run at the same time: who asks for
// less has no use for an interval that reaches past an unfinished attempt's lease.
const overlapping = time.Second

func (v *view) spacing(t instant) ruling {
	out := ruling{reason: dReasonMinInterval, window: v.policy.RateLimit.MinInterval}
	for i := range v.doc.Attempts {
		a := &v.doc.Attempts[i]
		end := a.End
		if out.window < overlapping && a.inProgress(t) {
			end = a.Start
		}
		if until := end.plus(out.window); until > out.until {
			out.until, out.since = until, end
		}
	}
	return out
}

// backoff closes the guard after n consecutive failures for min(base * 2^(n-1), max).
func (v *view) backoff() ruling {
	f := &v.doc.Failures
	out := ruling{reason: dReasonBackoff, count: f.Count, since: f.At, failure: f}
	if f.Count > 0 {
		out.window = doubled(v.policy.RateLimit.FailureBackoffBase, f.Count, v.policy.RateLimit.MaxBackoff)
		out.until = f.At.plus(out.window)
	}
	return out
}

func (v *view) closing() ruling {
	k := v.doc.key(v.q.scope)
	return ruling{reason: dReasonBackoff, count: k.Refusals, since: k.Closed.From, until: k.Closed.Until,
		window: k.Closed.Until.sub(k.Closed.From), failure: &k.Last, scoped: true}
}

func (v *view) guardPause() ruling {
	p := v.doc.Pause
	return ruling{reason: dReasonRetryAfter, since: p.From, until: p.Until, window: p.Until.sub(p.From)}
}
