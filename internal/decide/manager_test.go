package decide

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Every row of step 4, the bounds of each, and which of two that match comes first.
func TestManager(t *testing.T) {
	lasts := in(day - 40*minute - 10*second) // the expiry of a token 40 min old
	for name, c := range map[string]struct {
		scene  func(*Input)
		answer Answer
		reason Reason
		until  timeline.Instant
	}{
		"1 paused":     {func(i *Input) { i.Doc.ScopeFor("s").Pause.Until = t0 + 1 }, AnswerRefuse, ReasonUpstreamRateLimited, t0 + 1},
		"1 it is over": {func(i *Input) { i.Doc.ScopeFor("s").Pause.Until = t0 }, AnswerPass, ReasonNoToken, 0},
		"1 its own pause": {func(i *Input) {
			i.Doc.ScopeFor("s").Pauses = []ledger.OperationPause{{Operation: "op", Pause: ledger.Pause{Until: in(hour)}}}
		}, AnswerRefuse, ReasonUpstreamRateLimited, in(hour)},
		"1 another's pause": {func(i *Input) {
			i.Doc.ScopeFor("s").Pauses = []ledger.OperationPause{{Operation: "x", Pause: ledger.Pause{Until: in(hour)}}}
		}, AnswerPass, ReasonNoToken, 0},
		"1 before 2":           {func(i *Input) { i.Doc.ScopeFor("s").Pause.Until = t0 + 1; i.failing(classify.Forbidden, "") }, AnswerRefuse, ReasonUpstreamRateLimited, t0 + 1},
		"2 forbidden":          {func(i *Input) { i.failing(classify.Forbidden, "") }, AnswerRefuse, ReasonForbidden, timeline.Never},
		"2 before 3":           {func(i *Input) { i.failing(classify.Forbidden, ""); i.Request.Personal.Usable = true }, AnswerRefuse, ReasonForbidden, timeline.Never},
		"3 personal":           {func(i *Input) { i.Request.Personal.Usable = true }, AnswerRefuse, ReasonPersonalUsable, timeline.Never},
		"4 none":               {func(*Input) {}, AnswerPass, ReasonNoToken, 0},
		"4 expired":            {func(i *Input) { i.token("a", day-10*second) }, AnswerPass, ReasonExpired, 0},
		"4 not yet":            {func(i *Input) { i.token("a", day-10*second-1) }, AnswerRefuse, ReasonNotQuotaFailure, t0 + 1},
		"4 rejected":           {func(i *Input) { i.token("a", minute).Rejected = t0 }, AnswerPass, ReasonRejected, 0},
		"4 refused by it":      {func(i *Input) { i.token("a", minute, refused("op", t0, 1)) }, AnswerPass, ReasonRejected, 0},
		"4 refused by another": {func(i *Input) { i.token("a", 40*minute, refused("x", t0, 1)) }, AnswerRefuse, ReasonNotQuotaFailure, lasts},
		"4 unreadable":         {func(i *Input) { i.token("a", minute); i.Unreadable = map[string]bool{"a": true} }, AnswerPass, ReasonUnreadable, 0},
		"4 evicted":            {func(i *Input) { i.token("a", minute).DropValue() }, AnswerPass, ReasonUnreadable, 0},
		"4 evicted, suspected": {func(i *Input) { i.token("a", minute, doubtful("op", t0)).DropValue() }, AnswerRefuse, ReasonTokenTooNew, in(29 * minute)},
		"4 due for a refresh":  {func(i *Input) { i.token("a", day-minute); i.Policy.RefreshAhead = minute }, AnswerPass, ReasonExpiring, 0},
		"5 no failure":         {func(i *Input) { i.token("a", 40*minute) }, AnswerRefuse, ReasonNotQuotaFailure, lasts},
		"5 of a young one":     {func(i *Input) { i.token("a", 0) }, AnswerRefuse, ReasonNotQuotaFailure, in(day - 10*second)},
		"5 another failure":    {func(i *Input) { i.token("a", 40*minute); i.failing(classify.Transient, "a") }, AnswerRefuse, ReasonNotQuotaFailure, lasts},
		"6 too new":            {func(i *Input) { i.token("a", 30*minute-1, spent("op", in(-minute))) }, AnswerRefuse, ReasonTokenTooNew, t0 + 1},
		"6 old enough":         {func(i *Input) { i.token("a", 30*minute, spent("op", in(-minute))) }, AnswerPass, ReasonQuotaSpent, 0},
		"6 spent early": {func(i *Input) {
			i.token("a", minute, spent("op", in(-second)))
			i.Policy.Manager.ReplaceSpentEarly = true
		}, AnswerPass, ReasonQuotaSpent, 0},
		"6 suspected early": {func(i *Input) {
			i.token("a", minute, doubtful("op", in(-second)))
			i.Policy.Manager.ReplaceSpentEarly = true
		}, AnswerRefuse, ReasonTokenTooNew, in(59 * second)},
		"6 before 7": {func(i *Input) { i.token("a", minute, spent("op", t0)); i.Doc.ScopeFor("s").LastStart = t0 }, AnswerRefuse, ReasonTokenTooNew, in(29 * minute)},
		"7 started lately": {func(i *Input) {
			i.token("a", hour, spent("op", t0))
			i.Doc.ScopeFor("s").LastStart = in(-10*minute) + 1
		}, AnswerRefuse, ReasonRecentAcquisition, t0 + 1},
		"7 long ago":             {func(i *Input) { i.token("a", hour, spent("op", t0)); i.Doc.ScopeFor("s").LastStart = in(-10 * minute) }, AnswerPass, ReasonQuotaSpent, 0},
		"8 of no token":          {func(i *Input) { i.token("a", 40*minute); i.failing(quota, "gone") }, AnswerRefuse, ReasonNotQuotaFailure, lasts},
		"8 resets soon":          {func(i *Input) { e := spent("op", t0); e.Reset = in(30 * minute); i.token("a", hour, e) }, AnswerRefuse, ReasonResetsSoon, in(30 * minute)},
		"8 resets later":         {func(i *Input) { e := spent("op", t0); e.Reset = in(30*minute) + 1; i.token("a", hour, e) }, AnswerPass, ReasonQuotaSpent, 0},
		"8 unconfirmed":          {func(i *Input) { i.token("a", hour, doubtful("op", t0)) }, AnswerRefuse, ReasonUnconfirmed, in(minute)},
		"8 unconfirmed, unnamed": {func(i *Input) { i.token("a", hour, doubtful("", t0)); i.Request.Operation = "" }, AnswerPass, ReasonQuotaSpent, 0},
		"8 spent for another":    {func(i *Input) { i.token("a", 40*minute, spent("x", t0)) }, AnswerRefuse, ReasonNotQuotaFailure, lasts},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			c.scene(i)
			d := i.Manager(t0)
			assert.Equal(t, c.answer, d.Answer)
			assert.Equal(t, c.reason, d.Reason)
			assert.Equal(t, c.until, d.Until)
			if c.answer == AnswerPass { // the gates are open: the walk starts, or has something that still answers
				assert.Equal(t, StepManager, d.Step)
			}
		})
	}
}

func TestPredictor(t *testing.T) {
	good := func(n int, failed bool) (u predict.Usage) {
		for k := range n {
			u.Add(predict.Outcome{At: int64(in(-minute)) + int64(k)*int64(second), Quota: failed, Failed: failed})
		}
		return u
	}
	scene := func(u predict.Usage) *Input {
		i := asked()
		i.token("a", hour, spent("op", in(-2*minute))).Usage = u
		return i.failing(quota, "a")
	}
	i := scene(good(50, false))
	d := i.predictor(t0)
	assert.Equal(t, ReasonQuotaSufficient, d.Reason)
	assert.True(t, d.LiftsSuspicion)
	assert.Equal(t, i.Policy.RefreshAt(i.Doc.Newest("s")), d.Until)
	final := i.Decide(t0)
	assert.Equal(t, StepPredictor, final.Step, "this caller has just been refused with it")

	i.Policy.Predictor.Confidence = 0.9999
	assert.Equal(t, AnswerPass, i.predictor(t0).Answer, "it is not that sure")
	assert.Equal(t, AnswerStart, i.Decide(t0).Answer)
	assert.Equal(t, AnswerPass, scene(predict.Usage{}).predictor(t0).Answer, "it has seen nothing")
	bad := scene(good(50, true)).predictor(t0)
	assert.Greater(t, bad.Confidence, 0.7)
	assert.Contains(t, []predict.Level{predict.Critical, predict.Exhausted}, bad.Level)
	assert.Equal(t, AnswerPass, bad.Answer, "it agrees")

	i = scene(predict.Usage{})
	i.Pending = good(50, false)
	assert.Equal(t, AnswerRefuse, i.predictor(t0).Answer, "what waits for a commit counts")

	i = scene(good(50, false))
	i.failing("", "").Unreadable = map[string]bool{"a": true}
	assert.Equal(t, AnswerPass, i.predictor(t0).Answer, "a veto would leave this caller with nothing")
}
