package decide

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// Opening is the one answer to whether an acquisition could start: by every rule, and while a token serves as if there
// was none.
func TestOpening(t *testing.T) {
	for name, c := range map[string]struct {
		scene  func(*Input)
		answer Answer
		reason Reason
		at     timeline.Instant
	}{
		"nothing closed":                   {func(*Input) {}, AnswerPass, "", t0},
		"the interval":                     {func(i *Input) { i.attempt(20 * second) }, AnswerRefuse, ReasonMinInterval, in(40 * second)},
		"the later of two":                 {func(i *Input) { i.attempt(20 * second); i.Doc.Pause.Until = in(hour) }, AnswerRefuse, ReasonRetryAfter, in(hour)},
		"its age opens last":               {func(i *Input) { i.token("a", 20*minute, spent("op", in(-minute))); i.Doc.Pause.Until = in(minute) }, AnswerRefuse, ReasonTokenTooNew, in(10 * minute)},
		"the limits open last":             {func(i *Input) { i.token("a", 20*minute, spent("op", in(-minute))); i.Doc.Pause.Until = in(hour) }, AnswerRefuse, ReasonRetryAfter, in(29 * minute)}, // when the token is tried again as a last resort
		"spent and old":                    {func(i *Input) { i.token("a", hour, spent("op", in(-2*minute))) }, AnswerPass, "", t0},
		"served":                           {func(i *Input) { i.token("a", minute) }, AnswerPass, "", t0},
		"served, the interval":             {func(i *Input) { i.token("a", minute); i.attempt(20 * second) }, AnswerRefuse, ReasonMinInterval, in(40 * second)},
		"served, the key is paused":        {func(i *Input) { i.token("a", minute); i.Doc.ScopeFor("s").Pause.Until = in(hour) }, AnswerRefuse, ReasonUpstreamRateLimited, in(hour)},
		"served by the personal one":       {func(i *Input) { i.Request.Personal = Personal{Known: true, ID: "p", Usable: true, Until: in(hour)} }, AnswerPass, "", t0},
		"in progress":                      {func(i *Input) { i.attempt(10*second, running("s")) }, AnswerWait, ReasonJoined, in(20 * second)},
		"forbidden":                        {func(i *Input) { i.failing("forbidden", "") }, AnswerRefuse, ReasonForbidden, timeline.Never},
		"the store away":                   {func(i *Input) { i.Outage.Away = true }, AnswerRefuse, ReasonStoreUnavailable, timeline.Never},
		"the store away, with a token":     {func(i *Input) { i.token("a", minute); i.Outage.Away = true }, AnswerRefuse, ReasonStoreUnavailable, timeline.Never},
		"the store away, within the share": {func(i *Input) { i.Outage = Outage{Away: true, MayStart: true} }, AnswerPass, "", t0},
		"one gate, then the next": {func(i *Input) {
			e := spent("op", in(-minute))
			e.Reset = in(35 * minute)
			i.token("a", 20*minute, e)
		}, AnswerRefuse, ReasonTokenTooNew, in(35 * minute)},
		"the share's limit": {func(i *Input) {
			i.attempt(minute)
			i.Full, i.FullFrom = i.Policy, in(minute)
			i.Policy = i.Policy.Divided(5)
		}, AnswerRefuse, ReasonHourLimit, in(minute)},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			c.scene(i)
			before := len(i.Doc.ByScope.Of("s"))
			d, at := i.Opening(t0)
			assert.Equal(t, c.answer, d.Answer)
			assert.Equal(t, c.reason, d.Reason)
			assert.Equal(t, c.at, at)
			assert.Len(t, i.Doc.ByScope.Of("s"), before, "asking changes nothing")
		})
	}
}
