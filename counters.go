package tokenguard

import "sync/atomic"

// counters counts this process' calls.
type counters struct {
	answers  answerCounts                   // by index of answerKeys
	outcomes [len(classes) + 1]atomic.Int64 // the last: successes
	left     atomic.Int64
	own      atomic.Int64 // answered calls that started an acquisition
	minutes  minuteLog
}

// sums are the calls that were served, refused, and failed.
func (c *counters) sums() (out [3]int64) {
	for i, k := range answerKeys {
		out[kindOf(k.reason)] += c.answers.sum(i)
	}
	return out
}

// What an answer is to the caller.
const (
	answerServed = iota
	answerRefused
	answerFailed
)

func kindOf(reason Reason) int {
	switch reason {
	case ReasonCached, ReasonPersonal, ReasonJoined, ReasonAcquired, ReasonRenewed:
		return answerServed
	case ReasonRequestFailed:
		return answerFailed
	}
	return answerRefused
}

// answerKeys are the answers that end a call.
var answerKeys = [...]struct {
	step   Step
	reason Reason
}{
	{StepDedup, ReasonDuplicate},
	{StepCache, ReasonCached}, {StepCache, ReasonPersonal}, {StepCache, ReasonPersonalUnavailable},
	{StepGate, ReasonJoined}, {StepGate, ReasonTooManyWaiters},
	{StepManager, ReasonUpstreamRateLimited}, {StepManager, ReasonForbidden}, {StepManager, ReasonPersonalUsable},
	{StepManager, ReasonNotQuotaFailure}, {StepManager, ReasonTokenTooNew}, {StepManager, ReasonRecentAcquisition}, {StepManager, ReasonResetsSoon}, {StepManager, ReasonUnconfirmed}, {StepManager, ReasonNotShared}, {StepManager, ReasonKeptBack},
	{StepLimiter, ReasonHourLimit}, {StepLimiter, ReasonDayLimit}, {StepLimiter, ReasonMinInterval}, {StepLimiter, ReasonBackoff}, {StepLimiter, ReasonRetryAfter},
	{StepPredictor, ReasonQuotaSufficient},
	{StepRequest, ReasonAcquired}, {StepRequest, ReasonRequestFailed},
	{StepRenewal, ReasonRenewed}, {StepRenewal, ReasonRenewalLimit}, {StepRenewal, ReasonRenewalBackoff}, {StepRenewal, ReasonRenewalElsewhere},
	{StepStore, ReasonStoreUnavailable}, {StepStore, ReasonClosed},
}

var answerIndex = func() map[Reason]int {
	m := make(map[Reason]int, len(answerKeys))
	for i, k := range answerKeys {
		m[k.reason] = i
	}
	return m
}()

func (c *counters) answered(reason Reason) { c.answers.add(answerIndex[reason]) }

func (c *counters) outcome(class Class) {
	i := len(classes)
	for j, known := range classes {
		if known == class {
			i = j
		}
	}
	c.outcomes[i].Add(1)
}

// calls sums up.
func (c *counters) calls() CallStats {
	out := CallStats{Left: c.left.Load(), Answers: map[Step]map[Reason]int64{}, Outcomes: map[string]int64{}}
	for i, k := range answerKeys {
		n := c.answers.sum(i)
		if out.Answers[k.step] == nil {
			out.Answers[k.step] = map[Reason]int64{}
		}
		out.Answers[k.step][k.reason] = n
		switch kindOf(k.reason) {
		case answerServed:
			out.Served += n
		case answerFailed:
			out.Failed += n
		default:
			out.Refused += n
		}
	}
	for i, class := range classes {
		out.Outcomes[string(class)] = c.outcomes[i].Load()
	}
	out.Outcomes["success"] = c.outcomes[len(classes)].Load()
	out.Total = out.Served + out.Refused + out.Failed + out.Left
	if answered := out.Served + out.Refused + out.Failed; answered > 0 {
		out.FilterRate = 1 - float64(c.own.Load())/float64(answered)
	}
	if out.Served > 0 {
		out.SavedRate = 1 - float64(out.Answers[StepRequest][ReasonAcquired])/float64(out.Served)
	}
	return out
}
