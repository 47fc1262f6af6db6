package decide

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestWalk(t *testing.T) {
	mine := Personal{Known: true, ID: "p", Usable: true, Taken: in(-hour)}
	for name, c := range map[string]struct {
		scene  func(*Input)
		step   Step
		answer Answer
		reason Reason
		token  string
	}{
		"nothing is there":      {func(*Input) {}, StepRequest, AnswerStart, ReasonAcquired, ""},
		"a token":               {func(i *Input) { i.token("a", hour) }, StepCache, AnswerServe, ReasonCached, "a"},
		"personal":              {func(i *Input) { i.token("a", hour); i.Request.Personal = mine }, StepCache, AnswerServe, ReasonPersonal, "p"},
		"personal is refused":   {func(i *Input) { i.Request.Personal = mine; i.failing(auth, "p") }, StepManager, AnswerRefuse, ReasonPersonalUsable, ""},
		"an older one was":      {func(i *Input) { i.Request.Personal = mine; i.failing(auth, "p"); i.Request.At = in(-2 * hour) }, StepCache, AnswerServe, ReasonPersonal, "p"},
		"personal alone":        {func(i *Input) { i.token("a", hour); i.Request.Kind = ledger.Personal }, StepCache, AnswerRefuse, ReasonPersonalUnavailable, ""},
		"the last stretch":      {func(i *Input) { i.token("a", day-second) }, StepRequest, AnswerStart, ReasonAcquired, ""},
		"if nothing may start":  {func(i *Input) { i.token("a", day-second); i.Doc.Pause.Until = in(hour) }, StepCache, AnswerServe, ReasonCached, "a"},
		"one refreshes already": {func(i *Input) { i.token("a", day-second); i.attempt(0, running("s")) }, StepCache, AnswerServe, ReasonCached, "a"},
		"one fetches already":   {func(i *Input) { i.attempt(0, running("s")) }, StepGate, AnswerWait, ReasonJoined, ""},
		"told to wait": {func(i *Input) {
			i.attempt(0, running("s"))
			i.Doc.ScopeFor("s").Pause.Until = in(hour)
			i.failing(classify.RateLimited, "")
		}, StepManager, AnswerRefuse, ReasonUpstreamRateLimited, ""},
		"a duplicate":            {func(i *Input) { i.duplicate() }, StepDedup, AnswerRefuse, ReasonDuplicate, ""},
		"a duplicate may wait":   {func(i *Input) { i.duplicate(); i.attempt(0, running("s")) }, StepGate, AnswerWait, ReasonJoined, ""},
		"but not for a place":    {func(i *Input) { i.duplicate(); i.attempt(0, running("x")); i.attempt(0, running("y")) }, StepDedup, AnswerRefuse, ReasonDuplicate, ""},
		"limits":                 {func(i *Input) { i.attempt(0) }, StepLimiter, AnswerRefuse, ReasonMinInterval, ""},
		"a last resort":          {func(i *Input) { i.token("a", 2*hour, refused("op", in(-hour), 2)); i.attempt(0) }, StepCache, AnswerServe, ReasonCached, "a"},
		"a start goes before it": {func(i *Input) { i.token("a", 2*hour, refused("op", in(-hour), 2)) }, StepRequest, AnswerStart, ReasonAcquired, ""},
		"not its start alone": {func(i *Input) {
			*i = *shared()
			i.Doc.Tokens["a"].By("op").Success, i.Doc.Tokens["a"].Acquired = 0, in(-2*minute)
			i.Doc.Tokens["a"].By("op").Refused, i.Doc.Tokens["a"].By("op").RefusedLast = t0, t0
			i.Doc.Scope("s").Lifted = t0
			i.attempt(2*hour, solo(true))
		}, StepManager, AnswerRefuse, ReasonForbidden, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			c.scene(i)
			d := i.Decide(t0)
			assert.Equal(t, c.step, d.Step)
			assert.Equal(t, c.answer, d.Answer)
			assert.Equal(t, c.reason, d.Reason)
			assert.Equal(t, c.token, d.TokenID)
			assert.Equal(t, name == "a last resort", d.LastResort())
			final, steps := i.Steps(t0)
			assert.Equal(t, d, final)
			assert.Len(t, steps, 7)
		})
	}
}

func (in *Input) duplicate() {
	in.Doc.Triggers = []ledger.Trigger{{Seq: 1, Start: t0 - timeline.Instant(minute), Scope: "s", Class: auth, Template: in.Request.Template.String()}}
	in.failing(auth, "gone")
}

func TestLastResortSaysWhy(t *testing.T) {
	i := asked()
	i.token("a", 2*hour, refused("op", in(-hour), 2))
	d := i.Decide(t0)
	assert.False(t, d.LastResort())
	i.attempt(0)
	d = i.Decide(t0)
	assert.True(t, d.LastResort())
	assert.Equal(t, ReasonMinInterval, d.insteadOf)
}

func TestAFreedPlaceIsWaitedFor(t *testing.T) {
	i := asked()
	i.Policy.RateLimit.MinInterval = second / 2
	i.attempt(0)
	assert.Equal(t, AnswerRefuse, i.Decide(t0).Answer)
	i.Placed = true
	d := i.Decide(t0)
	assert.Equal(t, AnswerWait, d.Answer)
	assert.True(t, d.Place)
	i.Policy.RateLimit.MinInterval = second
	assert.Equal(t, AnswerRefuse, i.Decide(t0).Answer)
}

func TestPersonalQuota(t *testing.T) {
	i := asked()
	i.Request.Personal = Personal{Known: true, ID: "p", Usable: true, Taken: in(-hour), Reset: in(hour)}
	i.failing(quota, "p")
	assert.False(t, i.servesPersonal(in(hour)-1))
	assert.True(t, i.servesPersonal(in(hour)))
	i.Request.At = in(hour)
	assert.False(t, i.servesPersonal(in(2*hour)), "this report is of after the reset")
	assert.Equal(t, in(hour), func() timeline.Instant { i.Request.At = t0; return i.RetryAt(t0) }())
}

// RetryAt is exact: a nanosecond before, the caller has nothing; then it has a token or may start.
func TestRetryAt(t *testing.T) {
	for name, c := range map[string]struct {
		scene func(*Input)
		want  timeline.Instant
	}{
		"now":              {func(*Input) {}, t0},
		"the interval":     {func(i *Input) { i.attempt(20 * second) }, in(40 * second)},
		"the later of two": {func(i *Input) { i.attempt(20 * second); i.Doc.Pause.Until = in(hour) }, in(hour)},
		"a pause":          {func(i *Input) { i.attempt(20 * second); i.Doc.ScopeFor("s").Pause.Until = in(30 * second) }, in(40 * second)},
		"a duplicate":      {func(i *Input) { i.duplicate() }, in(4 * minute)},
		"a last resort":    {func(i *Input) { i.token("a", 2*hour, refused("op", in(-minute), 2)); i.Doc.Pause.Until = in(hour) }, in(minute)},
		"a reset":          {func(i *Input) { e := spent("op", in(-minute)); e.Reset = in(5 * minute); i.token("a", 2*hour, e) }, in(5 * minute)},
		"one gate, then the next": {func(i *Input) { // it is too new until 10 min from now, and then its reset is near
			e := spent("op", in(-minute))
			e.Reset = in(35 * minute)
			i.token("a", 20*minute, e)
		}, in(35 * minute)},
		"never":       {func(i *Input) { i.failing(classify.Forbidden, "") }, timeline.Never},
		"the closing": {func(i *Input) { i.Doc.ScopeFor("s").Closed.Until = in(3 * hour) }, in(3 * hour)},
		"the share's limit": {func(i *Input) {
			i.attempt(minute)
			i.Full, i.FullFrom = i.Policy, in(minute)
			i.Policy = i.Policy.Divided(5)
		}, in(minute)},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			c.scene(i)
			assert.Equal(t, c.want, i.RetryAt(t0))
			if c.want == t0 || c.want == timeline.Never || i.Full != nil {
				return
			}
			assert.Contains(t, []Answer{AnswerRefuse, AnswerWait}, i.Decide(c.want-1).Answer)
			assert.Contains(t, []Answer{AnswerServe, AnswerStart}, i.Decide(c.want).Answer)
		})
	}
}

func TestStableUntil(t *testing.T) {
	r := timeline.Reading{Now: t0, Wall: time.Unix(0, int64(t0))}
	i := asked()
	assert.Equal(t, timeline.Never, i.StableUntil(i.Decide(t0), r))
	i.attempt(20 * second)
	assert.Equal(t, in(40*second), i.StableUntil(i.Decide(t0), r), "until the gate opens")
	i.token("a", day-minute)
	assert.Equal(t, in(50*second), i.StableUntil(i.Decide(t0), r), "until the token counts as expired")
	i.Policy.RefreshAhead = 30 * second
	assert.Equal(t, in(20*second), i.StableUntil(i.Decide(t0), r), "until it is due for a refresh")
	i.Doc.ScopeFor("s").Pause.Until = in(second)
	assert.Equal(t, in(second), i.StableUntil(i.Decide(t0), r), "until a pause ends")
}
