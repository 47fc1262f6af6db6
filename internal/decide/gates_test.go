package decide

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestWindows(t *testing.T) {
	i := asked()
	for n := range 5 {
		i.attempt(hour - 1 - time.Duration(n)*minute)
	}
	d := i.Limiter(t0)
	assert.Equal(t, ReasonHourLimit, d.Reason)
	assert.Equal(t, t0+1, d.Until)
	assert.Equal(t, 5, d.Count)
	assert.Equal(t, AnswerPass, i.Limiter(t0+1).Answer)
	i.attempt(-hour) // one that ends in the future, after a step back
	assert.Equal(t, in(minute)+1, i.Limiter(t0).gate(i, ReasonHourLimit).Until, "all but the last four have to leave")

	i = asked()
	for n := range 20 {
		i.attempt(day - 1 - time.Duration(n)*hour)
	}
	d = i.Limiter(t0)
	assert.Equal(t, ReasonDayLimit, d.Reason)
	assert.Equal(t, t0+1, d.Until)
	assert.Equal(t, 20, d.Limit)
	assert.Equal(t, AnswerPass, i.Limiter(t0+1).Answer)
}

// gate is one of the limiter's at t0.
func (Decision) gate(i *Input, reason Reason) Decision {
	for _, g := range i.Limits(t0) {
		if g.Reason == reason {
			return g
		}
	}
	return Decision{}
}

func TestWindowsAfterALoss(t *testing.T) {
	i := asked()
	i.Doc.Lost = in(-minute)
	d := i.Limiter(t0)
	assert.Equal(t, ReasonDayLimit, d.Reason)
	assert.Equal(t, in(71*minute), d.Until, "the day opens at the pace of one start in 72 min")
	assert.Equal(t, in(59*minute), d.gate(i, ReasonHourLimit).Until, "an hour after the loss")
	i.attempt(30 * second)
	assert.Equal(t, in(143*minute), i.Limiter(t0).Until, "each start since takes one more part of the day")
	i.attempt(2 * minute)
	assert.Equal(t, in(143*minute), i.Limiter(t0).Until)
}

func TestSpacing(t *testing.T) {
	i := asked()
	i.attempt(minute - 1)
	d := i.Limiter(t0)
	assert.Equal(t, ReasonMinInterval, d.Reason)
	assert.Equal(t, t0+1, d.Until)
	i = asked()
	i.attempt(0, running("x"))
	assert.Equal(t, in(90*second), i.Limiter(t0).Until, "from the end of an attempt, which may be its lease's")
	i.Policy.RateLimit.MinInterval = second - 1
	assert.Equal(t, in(second)-1, i.Limiter(t0).Until, "a short interval lets attempts overlap")
	i.Policy.RateLimit.MinInterval = second
	assert.Equal(t, in(31*second), i.Limiter(t0).Until)
}

func TestBackoff(t *testing.T) {
	i := asked()
	for n, want := range []time.Duration{0, minute, 2 * minute, 4 * minute, 8 * minute, 16 * minute, 32 * minute, hour, hour} {
		i.Doc.Failures = ledger.Streak{Count: n, At: t0}
		d := i.Limiter(t0)
		if n == 0 {
			assert.Equal(t, AnswerPass, d.Answer)
			continue
		}
		assert.Equal(t, ReasonBackoff, d.Reason)
		assert.Equal(t, in(want), d.Until)
		assert.Same(t, &i.Doc.Failures, i.Failure(d, t0))
	}
}

func TestLimiterNamesTheLastToOpen(t *testing.T) {
	i := asked()
	i.Doc.Pause = ledger.Pause{From: t0, Until: in(2 * minute)}
	assert.Equal(t, ReasonRetryAfter, i.Limiter(t0).Reason)
	i.Doc.ScopeFor("s").Closed = ledger.Pause{From: t0, Until: in(hour)}
	d := i.Limiter(t0)
	assert.Equal(t, ReasonBackoff, d.Reason)
	assert.True(t, d.scoped)
	i.attempt(30 * second)
	assert.Equal(t, in(hour), i.Limiter(t0).Until)
	i.Request.Scope = "x"
	assert.Equal(t, in(2*minute), i.Limiter(t0).Until, "a closing is its scope's alone")
}

func TestGate(t *testing.T) {
	i := asked()
	assert.Equal(t, AnswerPass, i.Gate(t0).Answer)
	i.attempt(0, running("x"))
	assert.Equal(t, AnswerPass, i.Gate(t0).Answer)
	i.attempt(-second, running("y"))
	d := i.Gate(t0)
	assert.Equal(t, AnswerWait, d.Answer)
	assert.True(t, d.Place, "two of other scopes take both places")
	assert.Equal(t, in(30*second), d.Until)
	assert.Equal(t, AnswerPass, i.Gate(in(30*second)).Answer, "a lease has passed")
	i.attempt(-2*second, running("s"))
	d = i.Gate(t0)
	assert.False(t, d.Place)
	assert.Equal(t, in(32*second), d.Until)
	i.Waiters = i.Policy.Dedup.MaxWaiters - 1
	assert.Equal(t, AnswerWait, i.Gate(t0).Answer)
	i.Waiters = i.Policy.Dedup.MaxWaiters
	assert.Equal(t, ReasonTooManyWaiters, i.Gate(t0).Reason)
}

func TestDedup(t *testing.T) {
	dup := func(change func(*Input)) Decision {
		i := asked()
		i.token("old", hour)
		i.Doc.Triggers = []ledger.Trigger{{Seq: 2, Start: in(-5*minute) + 1, Scope: "s", Class: auth, Template: i.Request.Template.String()}}
		i.failing(auth, "old")
		change(i)
		return i.dedup(t0)
	}
	d := dup(func(*Input) {})
	assert.Equal(t, ReasonDuplicate, d.Reason)
	assert.Equal(t, t0+1, d.Until)
	assert.InDelta(t, 1, d.Similarity, 1e-9)
	for name, change := range map[string]func(*Input){
		"another class": func(i *Input) { i.Request.Class = quota },
		"no failure":    func(i *Input) { i.failing("", "") },
		"another scope": func(i *Input) { i.Request.Scope = "x" },
		"too long ago":  func(i *Input) { i.Doc.Triggers[0].Start-- },
		"another text": func(i *Input) {
			i.Request.Template = template.Of("op\nfailure of quite another sort in another place")
		},
		"the token that it brought": func(i *Input) { i.token("new", 0); i.Request.Failing = "new" },
		"a later one":               func(i *Input) { i.Doc.Seq = 5; i.token("new", 0); i.Request.Failing = "new" },
	} {
		assert.Equal(t, AnswerPass, dup(change).Answer, name)
	}
}

func TestOutage(t *testing.T) {
	i := asked()
	i.Outage.Away = true
	d := i.Decide(t0)
	assert.Equal(t, ReasonStoreUnavailable, d.Reason)
	assert.Equal(t, timeline.Never, d.Until)
	i.Outage.MayStart = true
	assert.Equal(t, AnswerStart, i.Decide(t0).Answer)
	i.Outage.MayStart = false
	i.token("a", day-second) // it is in its last stretch
	d = i.Decide(t0)
	assert.Equal(t, AnswerServe, d.Answer)
	assert.Equal(t, "a", d.TokenID)
	i = asked()
	i.Outage.Away = true
	i.token("a", 2*hour, refused("op", in(-hour), 1)).Evidence[0].Refusals = 2
	assert.Equal(t, "a", i.Decide(t0).TokenID, "a last resort needs no store")
}
