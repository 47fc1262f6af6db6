package tokenguard

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/template"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// t0 is the instant of these decisions; at is some minutes before or after it.
const t0 = timeline.Instant(1_800_000_000_000_000_000)

func at(minutes float64) timeline.Instant {
	return t0.Plus(time.Duration(minutes * float64(time.Minute)))
}

// scene is a document, a request and this process' personal token, decided on at t0.
type scene struct {
	opts     []Option
	token    *ledger.Token // the newest, readable
	pause    timeline.Instant
	last     timeline.Instant // start of an acquisition of this key
	class    Class
	failing  bool // the failure names the token
	personal decide.Personal
	kind     Kind
	more     func(*ledger.Document)
}

func (s scene) view(t *testing.T) *decide.Input {
	t.Helper()
	o, err := newOptions(s.opts)
	require.NoError(t, err)
	d := ledger.New()
	q := &decide.Request{Kind: ledger.Anonymous, Personal: s.personal, Report: ledger.Report{Class: string(s.class), At: t0}, Template: template.Of("c\nfailure")}
	if s.kind != "" {
		q.Kind = string(s.kind)
	}
	if s.token != nil {
		r := *s.token
		r.ID, r.Kind, r.Seq = "tk_0000000000000001", ledger.Anonymous, 1
		if r.Value == "" {
			r.Value = "v"
		}
		believe(&r)
		d.Tokens[r.ID] = &r
		if s.failing {
			q.Failing = r.ID
		}
	}
	if s.pause != 0 {
		d.ScopeFor("").Pause = ledger.Pause{From: at(-1), Until: s.pause}
	}
	if s.last != 0 {
		d.ScopeFor("").LastStart = s.last
	}
	if s.more != nil {
		s.more(d)
	}
	d.Index()
	return &decide.Input{Doc: d, Policy: o.policy, Request: q, Unreadable: unread(d)}
}

func aged(acquired float64, change func(*ledger.Token)) *ledger.Token {
	r := &ledger.Token{Acquired: at(acquired), Expiry: at(24 * 60)}
	if change != nil {
		change(r)
	}
	return r
}

func suspect(since float64) func(*ledger.Token) {
	return func(r *ledger.Token) { r.Suspect = at(since) }
}
func spent(since float64) func(*ledger.Token) {
	return func(r *ledger.Token) { r.Suspect, r.Spent = at(since-1), at(since) }
}

// Every row of the table of step 4, and which of two rows that match comes first.
func TestDecisionTable(t *testing.T) {
	early := WithManager(ManagerConfig{ReplaceSpentEarly: true})
	mine := decide.Personal{Known: true, ID: "tk_00000000000000aa", Usable: true}
	none := func(r *ledger.Token) { r.Value = "another's" }
	for name, c := range map[string]struct {
		scene
		answer decide.Answer
		reason decide.Reason
		until  timeline.Instant
	}{
		"1 paused":                    {scene{token: aged(-40, spent(-5)), pause: at(2)}, decide.AnswerRefuse, decide.ReasonUpstreamRateLimited, at(2)},
		"1 its last nanosecond":       {scene{pause: t0 + 1}, decide.AnswerRefuse, decide.ReasonUpstreamRateLimited, t0 + 1},
		"1 it is over":                {scene{pause: t0}, decide.AnswerPass, decide.ReasonNoToken, 0},
		"1 before 2":                  {scene{pause: at(2), class: ClassForbidden}, decide.AnswerRefuse, decide.ReasonUpstreamRateLimited, at(2)},
		"1 before 3":                  {scene{pause: at(2), personal: mine}, decide.AnswerRefuse, decide.ReasonUpstreamRateLimited, at(2)},
		"1 before 4":                  {scene{pause: at(2)}, decide.AnswerRefuse, decide.ReasonUpstreamRateLimited, at(2)},
		"2 forbidden":                 {scene{token: aged(-40, spent(-5)), class: ClassForbidden}, decide.AnswerRefuse, decide.ReasonForbidden, timeline.Never},
		"2 before 3":                  {scene{class: ClassForbidden, personal: mine}, decide.AnswerRefuse, decide.ReasonForbidden, timeline.Never},
		"2 before 4":                  {scene{class: ClassForbidden}, decide.AnswerRefuse, decide.ReasonForbidden, timeline.Never},
		"3 personal":                  {scene{token: aged(-40, spent(-5)), personal: mine}, decide.AnswerRefuse, decide.ReasonPersonalUsable, timeline.Never},
		"3 before 4":                  {scene{personal: mine}, decide.AnswerRefuse, decide.ReasonPersonalUsable, timeline.Never},
		"4 no token":                  {scene{}, decide.AnswerPass, decide.ReasonNoToken, 0},
		"4 whatever failed":           {scene{class: ClassTransient}, decide.AnswerPass, decide.ReasonNoToken, 0},
		"4 expired":                   {scene{token: &ledger.Token{Acquired: at(-60)}}, decide.AnswerPass, decide.ReasonExpired, 0},
		"4 not yet":                   {scene{token: &ledger.Token{Acquired: at(-60) + 1}}, decide.AnswerRefuse, decide.ReasonNotQuotaFailure, t0 + 1},
		"4 stated expiry":             {scene{token: aged(-120, func(r *ledger.Token) { r.Expiry = t0.Plus(10 * time.Second) })}, decide.AnswerPass, decide.ReasonExpired, 0},
		"4 rejected":                  {scene{token: aged(-1, func(r *ledger.Token) { r.Rejected = at(-0.5) })}, decide.AnswerPass, decide.ReasonRejected, 0},
		"4 unreadable":                {scene{token: aged(-1, none)}, decide.AnswerPass, decide.ReasonUnreadable, 0},
		"4 before 5 to 7":             {scene{token: aged(-1, func(r *ledger.Token) { r.Rejected = at(-0.5) }), last: at(-1)}, decide.AnswerPass, decide.ReasonRejected, 0},
		"5 in good standing":          {scene{token: aged(-40, nil)}, decide.AnswerRefuse, decide.ReasonNotQuotaFailure, at(24*60) - timeline.Instant(10*time.Second)},
		"5 transient":                 {scene{token: aged(-40, nil), class: ClassTransient, failing: true}, decide.AnswerRefuse, decide.ReasonNotQuotaFailure, at(24*60) - timeline.Instant(10*time.Second)},
		"5 unknown":                   {scene{token: aged(-40, nil), class: ClassUnknown, failing: true}, decide.AnswerRefuse, decide.ReasonNotQuotaFailure, at(24*60) - timeline.Instant(10*time.Second)},
		"5 before 6 and 7":            {scene{token: aged(-1, nil), last: at(-1)}, decide.AnswerRefuse, decide.ReasonNotQuotaFailure, at(24*60) - timeline.Instant(10*time.Second)},
		"6 young and suspect":         {scene{token: aged(-29, suspect(-5)), class: ClassQuotaExhausted, failing: true}, decide.AnswerRefuse, decide.ReasonTokenTooNew, at(1)},
		"6 young and spent":           {scene{token: aged(-29, spent(-5))}, decide.AnswerRefuse, decide.ReasonTokenTooNew, at(1)},
		"6 its last nanosecond":       {scene{token: &ledger.Token{Acquired: at(-30) + 1, Spent: at(-5), Suspect: at(-6)}}, decide.AnswerRefuse, decide.ReasonTokenTooNew, t0 + 1},
		"6 it is over":                {scene{token: aged(-30, spent(-5))}, decide.AnswerPass, decide.ReasonQuotaSpent, 0},
		"6 before 7":                  {scene{token: aged(-2, spent(-1)), last: at(-2)}, decide.AnswerRefuse, decide.ReasonTokenTooNew, at(28)},
		"6 before 8":                  {scene{token: aged(-20, func(r *ledger.Token) { spent(-5)(r); r.Reset = at(5) })}, decide.AnswerRefuse, decide.ReasonTokenTooNew, at(10)},
		"6 early, suspect":            {scene{opts: []Option{early}, token: aged(-10, suspect(-0.5)), class: ClassQuotaExhausted, failing: true}, decide.AnswerRefuse, decide.ReasonTokenTooNew, at(0.5)},
		"6 early, suspect, confirmed": {scene{opts: []Option{early}, token: aged(-29.8, suspect(-0.5)), class: ClassQuotaExhausted, failing: true}, decide.AnswerRefuse, decide.ReasonTokenTooNew, at(0.2)},
		"6 early, spent":              {scene{opts: []Option{early}, token: aged(-10, spent(-5))}, decide.AnswerPass, decide.ReasonQuotaSpent, 0},
		"7 recent":                    {scene{token: aged(-40, spent(-5)), last: at(-4)}, decide.AnswerRefuse, decide.ReasonRecentAcquisition, at(1)},
		"7 its last nanosecond":       {scene{token: aged(-40, spent(-5)), last: at(-5) + 1}, decide.AnswerRefuse, decide.ReasonRecentAcquisition, t0 + 1},
		"7 it is over":                {scene{token: aged(-40, spent(-5)), last: at(-5)}, decide.AnswerPass, decide.ReasonQuotaSpent, 0},
		"7 before 8":                  {scene{token: aged(-40, func(r *ledger.Token) { spent(-5)(r); r.Reset = at(5) }), last: at(-4)}, decide.AnswerRefuse, decide.ReasonRecentAcquisition, at(1)},
		"8 suspect":                   {scene{token: aged(-40, suspect(-5)), class: ClassQuotaExhausted, failing: true}, decide.AnswerPass, decide.ReasonQuotaSpent, 0},
		"8 reset in 30 min":           {scene{token: aged(-40, func(r *ledger.Token) { spent(-5)(r); r.Reset = at(30) })}, decide.AnswerRefuse, decide.ReasonResetsSoon, at(30)},
		"8 reset in more":             {scene{token: aged(-40, func(r *ledger.Token) { spent(-5)(r); r.Reset = at(30) + 1 })}, decide.AnswerPass, decide.ReasonQuotaSpent, 0},
		"8 reset is over":             {scene{token: aged(-40, func(r *ledger.Token) { spent(-5)(r); r.Reset = t0 })}, decide.AnswerRefuse, decide.ReasonNotQuotaFailure, at(24*60) - timeline.Instant(10*time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.view(t).Manager(t0)
			assert.Equal(t, c.answer, got.Answer)
			assert.Equal(t, c.reason, got.Reason)
			assert.Equal(t, c.until, got.Until)
			assert.Equal(t, decide.StepManager, got.Step)
		})
	}
}

// A token that leaves the cache stays known: asking again without the failure is still row 6.
func TestEvictedTokenStaysKnown(t *testing.T) {
	v := scene{token: aged(-10, spent(-5))}.view(t)
	for _, r := range v.Doc.Tokens {
		r.DropValue()
	}
	assert.Equal(t, decide.ReasonTokenTooNew, v.Manager(t0).Reason)
}

// Each refusal of the walk: its reason, when its own gate opens, and when the caller could have a token.
func TestRetryAt(t *testing.T) {
	attempts := func(ends ...float64) func(*ledger.Document) {
		return func(d *ledger.Document) {
			for i, e := range ends {
				d.Charged(ledger.Attempt{ID: fmt.Sprint(i), Seq: uint64(i + 1), Start: at(e), End: at(e)})
			}
		}
	}
	for name, c := range map[string]struct {
		scene
		reason       decide.Reason
		until, retry timeline.Instant
	}{
		"hour and interval":   {scene{more: attempts(-50, -20, -1)}, decide.ReasonHourLimit, at(10), at(10)},
		"interval opens last": {scene{more: attempts(-58, -20, -1)}, decide.ReasonMinInterval, at(4), at(4)},
		"day":                 {scene{opts: []Option{WithRateLimits(RateLimits{MaxRequestsPerDay: 2})}, more: attempts(-60*23, -61)}, decide.ReasonDayLimit, at(60), at(60)},
		"backoff of three":    {scene{more: func(d *ledger.Document) { d.Failures = ledger.Streak{Count: 3, At: at(-10), Class: classify.Transient} }}, decide.ReasonBackoff, at(30), at(30)},
		"backoff at its most": {scene{more: func(d *ledger.Document) {
			d.Failures = ledger.Streak{Count: 99, At: at(-10), Class: classify.Transient}
		}}, decide.ReasonBackoff, at(50), at(50)},
		"retry after":       {scene{more: func(d *ledger.Document) { d.Pause = ledger.Pause{From: at(-1), Until: at(90)} }}, decide.ReasonRetryAfter, at(90), at(90)},
		"its key is closed": {scene{more: func(d *ledger.Document) { d.ScopeFor("").Closed = ledger.Pause{From: at(-1), Until: at(59)} }}, decide.ReasonBackoff, at(59), at(59)},
		"another key is closed": {scene{more: func(d *ledger.Document) {
			d.ScopeFor("b").Closed = ledger.Pause{From: at(-1), Until: at(59)}
			attempts(-1)(d)
		}}, decide.ReasonMinInterval, at(4), at(4)},
		"manager, then limiter":    {scene{token: aged(-20, spent(-5)), more: attempts(-50, -49, 0)}, decide.ReasonTokenTooNew, at(10), at(11 - 1)},
		"reset before the limiter": {scene{token: aged(-40, func(r *ledger.Token) { spent(-5)(r); r.Reset = at(20) }), more: attempts(-20, -10, -6)}, decide.ReasonResetsSoon, at(20), at(20)},
		"forbidden":                {scene{class: ClassForbidden}, decide.ReasonForbidden, timeline.Never, timeline.Never},
		"forbidden, with a reset":  {scene{class: ClassForbidden, token: aged(-40, func(r *ledger.Token) { spent(-5)(r); r.Reset = at(20) })}, decide.ReasonForbidden, timeline.Never, at(20)},
		"personal usable":          {scene{personal: decide.Personal{Known: true, ID: "tk_0000000000000009", Usable: true, Taken: 1}, class: ClassQuotaExhausted, more: func(d *ledger.Document) {}}, "", 0, 0},
		"personal unavailable":     {scene{kind: Personal}, decide.ReasonPersonalUnavailable, timeline.Never, timeline.Never},
		"personal later":           {scene{kind: Personal, personal: decide.Personal{Known: true, Again: at(7)}}, decide.ReasonPersonalUnavailable, timeline.Never, at(7)},
		"pause, then the token":    {scene{token: aged(-40, nil), pause: at(2), class: ClassRateLimited, failing: true}, decide.ReasonUpstreamRateLimited, at(2), at(2)},
		"pause, then a backoff":    {scene{pause: at(2), more: func(d *ledger.Document) { d.Failures = ledger.Streak{Count: 1, At: at(-1), Class: classify.Transient} }}, decide.ReasonUpstreamRateLimited, at(2), at(9)},
		"duplicate, then interval": {scene{class: ClassTransient, more: func(d *ledger.Document) {
			attempts(-4)(d)
			d.Triggers = []ledger.Trigger{{Seq: 1, Start: at(-4), Class: classify.Transient, Template: template.Of("c\nfailure").String()}}
			d.Failures = ledger.Streak{Count: 1, At: at(-4), Class: classify.Transient}
		}}, decide.ReasonDuplicate, at(1), at(6)},
		"good standing": {scene{token: aged(-40, nil), class: ClassAuthInvalid, failing: true}, decide.ReasonNotQuotaFailure, at(24*60) - timeline.Instant(10*time.Second), at(1)},
		"lost state":    {scene{more: func(d *ledger.Document) { d.Lost = at(-10) }}, decide.ReasonDayLimit, at(62), at(62)},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.view(t)
			got := v.Decide(t0)
			if c.reason == "" {
				assert.Equal(t, decide.AnswerServe, got.Answer)
				return
			}
			require.Equal(t, decide.AnswerRefuse, got.Answer, "%v", got.Reason)
			assert.Equal(t, c.reason, got.Reason)
			assert.Equal(t, c.until, got.Until, "until %v", time.Duration(got.Until-t0))
			retry := v.RetryAt(t0)
			assert.Equal(t, c.retry, retry, "retry %v", time.Duration(retry-t0))
		})
	}
}

// At RetryAt the same request is served or starts, and one nanosecond before it is still refused. A suspicion that can
// be confirmed then is left out: that takes another report.
func TestRetryAtIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from, to float64) timeline.Instant { return at(from + float64(rnd.IntN(int((to-from)*4)))/4) }
	chance := func(p float64) bool { return rnd.Float64() < p }
	refused := map[decide.Reason]int{}
	for range amount(15_000, 120_000) {
		s := scene{class: []Class{ClassNone, ClassQuotaExhausted, ClassAuthInvalid, ClassTransient, ClassRateLimited, ClassForbidden}[rnd.IntN(6)], failing: chance(0.7)}
		if chance(0.7) {
			s.token = aged(0, func(r *ledger.Token) {
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
			s.personal = decide.Personal{Known: true, ID: "tk_00000000000000aa", Taken: at(-10), Usable: chance(0.5)}
			if !s.personal.Usable {
				s.personal.Again = pick(1, 60)
			}
		}
		s.more = func(d *ledger.Document) {
			for i := range rnd.IntN(5) {
				end := pick(-100, 0)
				d.Charged(ledger.Attempt{ID: fmt.Sprint(i), Start: end, End: end})
			}
			if chance(0.2) {
				d.Failures = ledger.Streak{Count: 1 + rnd.IntN(5), At: pick(-40, 0), Class: classify.Transient}
			}
			if chance(0.1) {
				d.Pause = ledger.Pause{From: at(-1), Until: pick(1, 200)}
			}
			if chance(0.1) {
				d.ScopeFor("").Closed = ledger.Pause{From: at(-1), Until: pick(1, 200)}
			}
			if chance(0.2) {
				d.Triggers = []ledger.Trigger{{Seq: 9, Start: pick(-5, 0), Class: string(s.class), Template: template.Of("c\nfailure").String()}}
			}
		}
		v := s.view(t)
		if chance(0.2) {
			v.Request.Failing = s.personal.ID
		}
		rl := v.Decide(t0)
		if rl.Answer != decide.AnswerRefuse {
			continue
		}
		refused[rl.Reason]++
		retry := v.RetryAt(t0)
		require.Greater(t, retry, t0)
		if retry == timeline.Never {
			continue
		}
		// The personal token is fetched again when it may be usable.
		ready := func(at timeline.Instant) *decide.Input {
			w := *v
			q := *v.Request
			w.Request = &q
			if p := &q.Personal; p.Again != 0 && at >= p.Again {
				p.Usable, p.Taken, p.Again = true, at, 0
			}
			return &w
		}
		require.Equal(t, decide.AnswerRefuse, ready(retry-1).Decide(retry-1).Answer, "%s: 1 ns before %v: %+v", rl.Reason, time.Duration(retry-t0), v.Request)
		require.NotEqual(t, decide.AnswerRefuse, ready(retry).Decide(retry).Answer, "%s at %v: %s", rl.Reason, time.Duration(retry-t0), ready(retry).Decide(retry).Reason)
	}
	for _, r := range []decide.Reason{decide.ReasonDuplicate, decide.ReasonUpstreamRateLimited, decide.ReasonForbidden, decide.ReasonPersonalUsable, decide.ReasonNotQuotaFailure, decide.ReasonTokenTooNew,
		decide.ReasonRecentAcquisition, decide.ReasonResetsSoon, decide.ReasonHourLimit, decide.ReasonMinInterval, decide.ReasonBackoff, decide.ReasonRetryAfter} {
		assert.Greater(t, refused[r], 5, "%s was hardly met", r)
	}
}

// The predictor is asked at row 8 alone, after the limiter, and needs outcomes of its own.
func TestPredictorIsAskedLast(t *testing.T) {
	v := scene{token: aged(-40, spent(-2)), class: ClassQuotaExhausted, failing: true}.view(t)
	require.Equal(t, decide.AnswerStart, v.Decide(t0).Answer, "no outcome: no veto")
	for range 10 {
		v.Pending.Add(predict.Outcome{At: int64(at(-1))})
	}
	assert.Equal(t, decide.ReasonQuotaSufficient, v.Decide(t0).Reason)
	v.Doc.Failures = ledger.Streak{Count: 1, At: at(-1), Class: classify.Transient}
	assert.Equal(t, decide.ReasonBackoff, v.Decide(t0).Reason, "the limiter comes before")
	v.Doc.Failures = ledger.Streak{}
	for range 10 {
		v.Pending.Add(predict.Outcome{At: int64(at(-1)), Quota: true})
	}
	assert.Equal(t, decide.AnswerStart, v.Decide(t0).Answer, "half of the calls were refused: critical")
}

func TestTooManyWaiters(t *testing.T) {
	v := scene{more: func(d *ledger.Document) {
		d.Charged(ledger.Attempt{ID: "a", Start: at(-0.1), End: at(0.4), Running: true})
	}}.view(t)
	v.Waiters = v.Policy.Dedup.MaxWaiters - 1
	require.Equal(t, decide.AnswerWait, v.Decide(t0).Answer)
	v.Waiters = v.Policy.Dedup.MaxWaiters
	rl := v.Decide(t0)
	assert.Equal(t, decide.ReasonTooManyWaiters, rl.Reason)
	assert.Equal(t, at(5.4), v.RetryAt(t0), "after the lease and the interval")
}

// believe turns what a scene says of a token into what callers without a name have reported of it.
func believe(r *ledger.Token) {
	if r.Suspect == 0 && r.Rejected == 0 {
		return
	}
	e := ledger.Evidence{Quota: r.Suspect, QuotaLast: r.Suspect, Spent: r.Spent != 0, Reset: r.Reset, Refused: r.Rejected, RefusedLast: r.Rejected, Refusals: 1, Heard: max(r.Suspect, r.Rejected)}
	r.Evidence, r.Suspect, r.Spent, r.Reset, r.Rejected = []ledger.Evidence{e}, 0, 0, 0, 0
}

// unread are the tokens of d whose value is not the readable one.
func unread(d *ledger.Document) map[string]bool {
	out := map[string]bool{}
	for id, r := range d.Tokens {
		out[id] = r.Value != "v"
	}
	return out
}
