package tokenguard

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/template"
)

// t0 is the instant of these decisions; at is some minutes before or after it.
const t0 = instant(1_800_000_000_000_000_000)

func at(minutes float64) instant { return t0.plus(time.Duration(minutes * float64(time.Minute))) }

// scene is a document, a request and this process' personal token, decided on at t0.
type scene struct {
	opts     []Option
	token    *record // the newest, readable
	pause    instant
	last     instant // start of an acquisition of this key
	class    Class
	failing  bool // the failure names the token
	personal personalView
	kind     Kind
	more     func(*document)
}

func (s scene) view(t *testing.T) *view {
	t.Helper()
	o, err := newOptions(s.opts)
	require.NoError(t, err)
	d := newDocument()
	q := &query{kind: anonymousKind, personal: s.personal, report: report{class: string(s.class), at: t0}, template: template.Of("c\nfailure")}
	if s.kind != "" {
		q.kind = string(s.kind)
	}
	if s.token != nil {
		r := *s.token
		r.ID, r.Kind, r.Seq = "tk_0000000000000001", anonymousKind, 1
		if r.Value == "" {
			r.Value = "v"
		}
		d.Tokens[r.ID] = &r
		if s.failing {
			q.failing = r.ID
		}
	}
	if s.pause != 0 {
		d.keyFor("").Pause = pause{From: at(-1), Until: s.pause}
	}
	if s.last != 0 {
		d.keyFor("").LastStart = s.last
	}
	if s.more != nil {
		s.more(d)
	}
	d.index()
	return &view{doc: d, policy: o.policy, q: q, unreadable: unread(d)}
}

func aged(acquired float64, change func(*record)) *record {
	r := &record{Acquired: at(acquired), Expiry: at(24 * 60)}
	if change != nil {
		change(r)
	}
	return r
}

func suspect(since float64) func(*record) { return func(r *record) { r.Suspect = at(since) } }
func spent(since float64) func(*record) {
	return func(r *record) { r.Suspect, r.Spent = at(since-1), at(since) }
}

// Every row of the table of step 4, and which of two rows that match comes first.
func TestDecisionTable(t *testing.T) {
	early := WithManager(ManagerConfig{ReplaceSpentEarly: true})
	mine := personalView{known: true, id: "tk_00000000000000aa", usable: true}
	none := func(r *record) { r.Value = "another's" }
	for name, c := range map[string]struct {
		scene
		answer answerKind
		reason reasonName
		until  instant
	}{
		"1 paused":                    {scene{token: aged(-40, spent(-5)), pause: at(2)}, dAnswerRefuse, dReasonUpstreamRateLimited, at(2)},
		"1 its last nanosecond":       {scene{pause: t0 + 1}, dAnswerRefuse, dReasonUpstreamRateLimited, t0 + 1},
		"1 it is over":                {scene{pause: t0}, dAnswerPass, dReasonNoToken, 0},
		"1 before 2":                  {scene{pause: at(2), class: ClassForbidden}, dAnswerRefuse, dReasonUpstreamRateLimited, at(2)},
		"1 before 3":                  {scene{pause: at(2), personal: mine}, dAnswerRefuse, dReasonUpstreamRateLimited, at(2)},
		"1 before 4":                  {scene{pause: at(2)}, dAnswerRefuse, dReasonUpstreamRateLimited, at(2)},
		"2 forbidden":                 {scene{token: aged(-40, spent(-5)), class: ClassForbidden}, dAnswerRefuse, dReasonForbidden, never},
		"2 before 3":                  {scene{class: ClassForbidden, personal: mine}, dAnswerRefuse, dReasonForbidden, never},
		"2 before 4":                  {scene{class: ClassForbidden}, dAnswerRefuse, dReasonForbidden, never},
		"3 personal":                  {scene{token: aged(-40, spent(-5)), personal: mine}, dAnswerRefuse, dReasonPersonalUsable, never},
		"3 before 4":                  {scene{personal: mine}, dAnswerRefuse, dReasonPersonalUsable, never},
		"4 no token":                  {scene{}, dAnswerPass, dReasonNoToken, 0},
		"4 whatever failed":           {scene{class: ClassTransient}, dAnswerPass, dReasonNoToken, 0},
		"4 expired":                   {scene{token: &record{Acquired: at(-60)}}, dAnswerPass, dReasonExpired, 0},
		"4 not yet":                   {scene{token: &record{Acquired: at(-60) + 1}}, dAnswerRefuse, dReasonNotQuotaFailure, t0 + 1},
		"4 stated expiry":             {scene{token: aged(-120, func(r *record) { r.Expiry = t0.plus(10 * time.Second) })}, dAnswerPass, dReasonExpired, 0},
		"4 rejected":                  {scene{token: aged(-1, func(r *record) { r.Rejected = at(-0.5) })}, dAnswerPass, dReasonRejected, 0},
		"4 unreadable":                {scene{token: aged(-1, none)}, dAnswerPass, dReasonUnreadable, 0},
		"4 before 5 to 7":             {scene{token: aged(-1, func(r *record) { r.Rejected = at(-0.5) }), last: at(-1)}, dAnswerPass, dReasonRejected, 0},
		"5 in good standing":          {scene{token: aged(-40, nil)}, dAnswerRefuse, dReasonNotQuotaFailure, at(24*60) - instant(10*time.Second)},
		"5 transient":                 {scene{token: aged(-40, nil), class: ClassTransient, failing: true}, dAnswerRefuse, dReasonNotQuotaFailure, at(24*60) - instant(10*time.Second)},
		"5 unknown":                   {scene{token: aged(-40, nil), class: ClassUnknown, failing: true}, dAnswerRefuse, dReasonNotQuotaFailure, at(24*60) - instant(10*time.Second)},
		"5 before 6 and 7":            {scene{token: aged(-1, nil), last: at(-1)}, dAnswerRefuse, dReasonNotQuotaFailure, at(24*60) - instant(10*time.Second)},
		"6 young and suspect":         {scene{token: aged(-29, suspect(-5)), class: ClassQuotaExhausted, failing: true}, dAnswerRefuse, dReasonTokenTooNew, at(1)},
		"6 young and spent":           {scene{token: aged(-29, spent(-5))}, dAnswerRefuse, dReasonTokenTooNew, at(1)},
		"6 its last nanosecond":       {scene{token: &record{Acquired: at(-30) + 1, Spent: at(-5), Suspect: at(-6)}}, dAnswerRefuse, dReasonTokenTooNew, t0 + 1},
		"6 it is over":                {scene{token: aged(-30, spent(-5))}, dAnswerPass, dReasonQuotaSpent, 0},
		"6 before 7":                  {scene{token: aged(-2, spent(-1)), last: at(-2)}, dAnswerRefuse, dReasonTokenTooNew, at(28)},
		"6 before 8":                  {scene{token: aged(-20, func(r *record) { spent(-5)(r); r.Reset = at(5) })}, dAnswerRefuse, dReasonTokenTooNew, at(10)},
		"6 early, suspect":            {scene{opts: []Option{early}, token: aged(-10, suspect(-0.5)), class: ClassQuotaExhausted, failing: true}, dAnswerRefuse, dReasonTokenTooNew, at(0.5)},
		"6 early, suspect, confirmed": {scene{opts: []Option{early}, token: aged(-29.8, suspect(-0.5)), class: ClassQuotaExhausted, failing: true}, dAnswerRefuse, dReasonTokenTooNew, at(0.2)},
		"6 early, spent":              {scene{opts: []Option{early}, token: aged(-10, spent(-5))}, dAnswerPass, dReasonQuotaSpent, 0},
		"7 recent":                    {scene{token: aged(-40, spent(-5)), last: at(-4)}, dAnswerRefuse, dReasonRecentAcquisition, at(1)},
		"7 its last nanosecond":       {scene{token: aged(-40, spent(-5)), last: at(-5) + 1}, dAnswerRefuse, dReasonRecentAcquisition, t0 + 1},
		"7 it is over":                {scene{token: aged(-40, spent(-5)), last: at(-5)}, dAnswerPass, dReasonQuotaSpent, 0},
		"7 before 8":                  {scene{token: aged(-40, func(r *record) { spent(-5)(r); r.Reset = at(5) }), last: at(-4)}, dAnswerRefuse, dReasonRecentAcquisition, at(1)},
		"8 suspect":                   {scene{token: aged(-40, suspect(-5)), class: ClassQuotaExhausted, failing: true}, dAnswerPass, dReasonQuotaSpent, 0},
		"8 reset in 30 min":           {scene{token: aged(-40, func(r *record) { spent(-5)(r); r.Reset = at(30) })}, dAnswerRefuse, dReasonResetsSoon, at(30)},
		"8 reset in more":             {scene{token: aged(-40, func(r *record) { spent(-5)(r); r.Reset = at(30) + 1 })}, dAnswerPass, dReasonQuotaSpent, 0},
		"8 reset is over":             {scene{token: aged(-40, func(r *record) { spent(-5)(r); r.Reset = t0 })}, dAnswerRefuse, dReasonNotQuotaFailure, at(24*60) - instant(10*time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.view(t).manager(t0)
			assert.Equal(t, c.answer, got.answer)
			assert.Equal(t, c.reason, got.reason)
			assert.Equal(t, c.until, got.until)
			assert.Equal(t, dStepManager, got.step)
		})
	}
}

// A token that leaves the cache stays known: asking again without the failure is still row 6.
func TestEvictedTokenStaysKnown(t *testing.T) {
	v := scene{token: aged(-10, spent(-5))}.view(t)
	for _, r := range v.doc.Tokens {
		r.drop()
	}
	assert.Equal(t, dReasonTokenTooNew, v.manager(t0).reason)
}

// Each refusal of the walk: its reason, when its own gate opens, and when the caller could have a token.
func TestRetryAt(t *testing.T) {
	attempts := func(ends ...float64) func(*document) {
		return func(d *document) {
			for i, e := range ends {
				d.log(attempt{ID: fmt.Sprint(i), Seq: uint64(i + 1), Start: at(e), End: at(e)})
			}
		}
	}
	for name, c := range map[string]struct {
		scene
		reason       reasonName
		until, retry instant
	}{
		"hour and interval":        {scene{more: attempts(-50, -20, -1)}, dReasonHourLimit, at(10), at(10)},
		"interval opens last":      {scene{more: attempts(-58, -20, -1)}, dReasonMinInterval, at(4), at(4)},
		"day":                      {scene{opts: []Option{WithRateLimits(RateLimits{MaxRequestsPerDay: 2})}, more: attempts(-60*23, -61)}, dReasonDayLimit, at(60), at(60)},
		"backoff of three":         {scene{more: func(d *document) { d.Failures = failures{Count: 3, At: at(-10), Class: classify.Transient} }}, dReasonBackoff, at(30), at(30)},
		"backoff at its most":      {scene{more: func(d *document) { d.Failures = failures{Count: 99, At: at(-10), Class: classify.Transient} }}, dReasonBackoff, at(50), at(50)},
		"retry after":              {scene{more: func(d *document) { d.Pause = pause{at(-1), at(90)} }}, dReasonRetryAfter, at(90), at(90)},
		"its key is closed":        {scene{more: func(d *document) { d.keyFor("").Closed = pause{at(-1), at(59)} }}, dReasonBackoff, at(59), at(59)},
		"another key is closed":    {scene{more: func(d *document) { d.keyFor("b").Closed = pause{at(-1), at(59)}; attempts(-1)(d) }}, dReasonMinInterval, at(4), at(4)},
		"manager, then limiter":    {scene{token: aged(-20, spent(-5)), more: attempts(-50, -49, 0)}, dReasonTokenTooNew, at(10), at(11 - 1)},
		"reset before the limiter": {scene{token: aged(-40, func(r *record) { spent(-5)(r); r.Reset = at(20) }), more: attempts(-20, -10, -6)}, dReasonResetsSoon, at(20), at(20)},
		"forbidden":                {scene{class: ClassForbidden}, dReasonForbidden, never, never},
		"forbidden, with a reset":  {scene{class: ClassForbidden, token: aged(-40, func(r *record) { spent(-5)(r); r.Reset = at(20) })}, dReasonForbidden, never, at(20)},
		"personal usable":          {scene{personal: personalView{known: true, id: "tk_0000000000000009", usable: true, taken: 1}, class: ClassQuotaExhausted, more: func(d *document) {}}, "", 0, 0},
		"personal unavailable":     {scene{kind: Personal}, dReasonPersonalUnavailable, never, never},
		"personal later":           {scene{kind: Personal, personal: personalView{known: true, again: at(7)}}, dReasonPersonalUnavailable, never, at(7)},
		"pause, then the token":    {scene{token: aged(-40, nil), pause: at(2), class: ClassRateLimited, failing: true}, dReasonUpstreamRateLimited, at(2), at(2)},
		"pause, then a backoff":    {scene{pause: at(2), more: func(d *document) { d.Failures = failures{Count: 1, At: at(-1), Class: classify.Transient} }}, dReasonUpstreamRateLimited, at(2), at(9)},
		"duplicate, then interval": {scene{class: ClassTransient, more: func(d *document) {
			attempts(-4)(d)
			d.Records = []dedupRecord{{Seq: 1, Start: at(-4), Class: classify.Transient, Template: template.Of("c\nfailure").String()}}
			d.Failures = failures{Count: 1, At: at(-4), Class: classify.Transient}
		}}, dReasonDuplicate, at(1), at(6)},
		"good standing": {scene{token: aged(-40, nil), class: ClassAuthInvalid, failing: true}, dReasonNotQuotaFailure, at(24*60) - instant(10*time.Second), at(24*60) - instant(10*time.Second)},
		"lost state":    {scene{more: func(d *document) { d.Lost = at(-10) }}, dReasonDayLimit, at(62), at(62)},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.view(t)
			got := v.decide(t0)
			if c.reason == "" {
				assert.Equal(t, dAnswerServe, got.answer)
				return
			}
			require.Equal(t, dAnswerRefuse, got.answer, "%v", got.reason)
			assert.Equal(t, c.reason, got.reason)
			assert.Equal(t, c.until, got.until, "until %v", time.Duration(got.until-t0))
			retry := v.retryAt(t0)
			assert.Equal(t, c.retry, retry, "retry %v", time.Duration(retry-t0))
		})
	}
}

// At RetryAt the same request is served or starts, and one nanosecond before it is still refused. A suspicion that can
// be confirmed then is left out: that takes another report.
func TestRetryAtIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from, to float64) instant { return at(from + float64(rnd.IntN(int((to-from)*4)))/4) }
	chance := func(p float64) bool { return rnd.Float64() < p }
	refused := map[reasonName]int{}
	for range 60_000 {
		s := scene{class: []Class{ClassNone, ClassQuotaExhausted, ClassAuthInvalid, ClassTransient, ClassRateLimited, ClassForbidden}[rnd.IntN(6)], failing: chance(0.7)}
		if chance(0.7) {
			s.token = aged(0, func(r *record) {
				r.Acquired = pick(-90, 0)
				if r.Expiry = 0; chance(0.5) {
					r.Expiry = pick(1, 300)
				}
				if chance(0.6) {
					if r.Suspect = pick(-30, 0); chance(0.7) {
						r.Spent = r.Suspect
					}
					if chance(0.4) {
						r.Reset = pick(-10, 200)
					}
				}
				if chance(0.1) {
					r.Rejected = pick(-30, 0)
				}
			})
		}
		if chance(0.3) {
			s.pause = pick(-5, 120)
		}
		if chance(0.4) {
			s.last = pick(-10, 0)
		}
		if chance(0.2) {
			s.personal = personalView{known: true, id: "tk_00000000000000aa", taken: at(-10), usable: chance(0.5)}
			if !s.personal.usable {
				s.personal.again = pick(1, 60)
			}
		}
		s.more = func(d *document) {
			for i := range rnd.IntN(5) {
				end := pick(-100, 0)
				d.log(attempt{ID: fmt.Sprint(i), Start: end, End: end})
			}
			if chance(0.2) {
				d.Failures = failures{Count: 1 + rnd.IntN(5), At: pick(-40, 0), Class: classify.Transient}
			}
			if chance(0.1) {
				d.Pause = pause{at(-1), pick(1, 200)}
			}
			if chance(0.1) {
				d.keyFor("").Closed = pause{at(-1), pick(1, 200)}
			}
			if chance(0.2) {
				d.Records = []dedupRecord{{Seq: 9, Start: pick(-5, 0), Class: string(s.class), Template: template.Of("c\nfailure").String()}}
			}
		}
		v := s.view(t)
		if chance(0.2) {
			v.q.failing = s.personal.id
		}
		rl := v.decide(t0)
		if rl.answer != dAnswerRefuse {
			continue
		}
		refused[rl.reason]++
		retry := v.retryAt(t0)
		require.Greater(t, retry, t0)
		if retry == never {
			continue
		}
		// The personal token is fetched again when it may be usable.
		ready := func(at instant) *view {
			w := *v
			q := *v.q
			w.q = &q
			if p := &q.personal; p.again != 0 && at >= p.again {
				p.usable, p.taken, p.again = true, at, 0
			}
			return &w
		}
		require.Equal(t, dAnswerRefuse, ready(retry-1).decide(retry-1).answer, "%s: 1 ns before %v: %+v", rl.reason, time.Duration(retry-t0), v.q)
		require.NotEqual(t, dAnswerRefuse, ready(retry).decide(retry).answer, "%s at %v: %s", rl.reason, time.Duration(retry-t0), ready(retry).decide(retry).reason)
	}
	for _, r := range []reasonName{dReasonDuplicate, dReasonUpstreamRateLimited, dReasonForbidden, dReasonPersonalUsable, dReasonNotQuotaFailure, dReasonTokenTooNew,
		dReasonRecentAcquisition, dReasonResetsSoon, dReasonHourLimit, dReasonMinInterval, dReasonBackoff, dReasonRetryAfter} {
		assert.Greater(t, refused[r], 20, "%s was hardly met", r)
	}
}

// The predictor is asked at row 8 alone, after the limiter, and needs outcomes of its own.
func TestPredictorIsAskedLast(t *testing.T) {
	v := scene{token: aged(-40, spent(-2)), class: ClassQuotaExhausted, failing: true}.view(t)
	require.Equal(t, dAnswerStart, v.decide(t0).answer, "no outcome: no veto")
	for range 10 {
		v.pending.Add(predict.Outcome{At: int64(at(-1))})
	}
	assert.Equal(t, dReasonQuotaSufficient, v.decide(t0).reason)
	v.doc.Failures = failures{Count: 1, At: at(-1), Class: classify.Transient}
	assert.Equal(t, dReasonBackoff, v.decide(t0).reason, "the limiter comes before")
	v.doc.Failures = failures{}
	for range 10 {
		v.pending.Add(predict.Outcome{At: int64(at(-1)), Quota: true})
	}
	assert.Equal(t, dAnswerStart, v.decide(t0).answer, "half of the calls were refused: critical")
}

func TestTooManyWaiters(t *testing.T) {
	v := scene{more: func(d *document) {
		d.log(attempt{ID: "a", Start: at(-0.1), End: at(0.4), Running: true})
	}}.view(t)
	v.waiters = maxWaiters - 1
	require.Equal(t, dAnswerWait, v.decide(t0).answer)
	v.waiters = maxWaiters
	rl := v.decide(t0)
	assert.Equal(t, dReasonTooManyWaiters, rl.reason)
	assert.Equal(t, at(5.4), v.retryAt(t0), "after the lease and the interval")
}

// unread are the tokens of d whose value is not the readable one.
func unread(d *document) map[string]bool {
	out := map[string]bool{}
	for id, r := range d.Tokens {
		out[id] = r.Value != "v"
	}
	return out
}
