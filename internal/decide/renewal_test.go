package decide

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// account gives the token an identity that this process can renew, and its values an hour.
func (in *Input) account(id string, age time.Duration, seen ...ledger.Evidence) *ledger.Token {
	in.Policy.Renews = true
	in.Policy.Renewal = ledger.RenewalPolicy{MinInterval: minute, MaxPerHour: 3, BackoffBase: 5 * second, MaxBackoff: 10 * minute, Timeout: 10 * second, ReplaceAfter: day}
	r := in.token(id, age, seen...)
	r.Expiry = r.Acquired.Plus(hour)
	r.Parts.Plain = []byte("{}")
	r.Identity = &ledger.Identity{ID: "id_" + id, Since: r.Acquired.Plus(-day), Hash: "hash"}
	return r
}

// overtaken is an account that this process can read. Another took its place while it could not, of which that holds now.
func overtaken(i *Input) *ledger.Token {
	r := i.account("a", 2*hour)
	i.account("b", 61*minute)
	r.Identity.Replaced, i.Doc.Renewals.Replaced = true, true
	i.Unreadable = map[string]bool{"b": true}
	return r
}

// Every rule on renewals, and the bounds of each.
func TestRenewal(t *testing.T) {
	ended := 61 * minute
	for name, c := range map[string]struct {
		scene  func(*Input)
		answer Answer
		reason Reason
		until  timeline.Instant
	}{
		"no account":                {func(i *Input) { i.token("a", day) }, AnswerStart, ReasonAcquired, 0},
		"fresh":                     {func(i *Input) { i.account("a", minute) }, AnswerServe, ReasonCached, 0},
		"not yet due":               {func(i *Input) { i.account("a", 55*minute-1) }, AnswerServe, ReasonCached, 0},
		"due":                       {func(i *Input) { i.account("a", 55*minute) }, AnswerRenew, ReasonRenewed, 0},
		"a tenth":                   {func(i *Input) { r := i.account("a", 9*minute); r.Expiry = r.Acquired.Plus(10 * minute) }, AnswerRenew, ReasonRenewed, 0},
		"before the tenth":          {func(i *Input) { r := i.account("a", 9*minute-1); r.Expiry = r.Acquired.Plus(10 * minute) }, AnswerServe, ReasonCached, 0},
		"refresh ahead":             {func(i *Input) { i.account("a", 40*minute); i.Policy.RefreshAhead = 25 * minute }, AnswerRenew, ReasonRenewed, 0},
		"ended":                     {func(i *Input) { i.account("a", ended) }, AnswerRenew, ReasonRenewed, 0},
		"no value yet":              {func(i *Input) { r := i.account("a", minute); r.Value, r.Dropped = "", true }, AnswerRenew, ReasonRenewed, 0},
		"its refresh token expired": {func(i *Input) { i.account("a", ended).Identity.Expiry = t0 }, AnswerStart, ReasonAcquired, 0},
		"it lasts":                  {func(i *Input) { i.account("a", ended).Identity.Expiry = t0 + 1 }, AnswerRenew, ReasonRenewed, 0},
		"the identity ended":        {func(i *Input) { i.account("a", ended).Identity.Ended = t0 - 1 }, AnswerStart, ReasonAcquired, 0},
		"kept in another process": {func(i *Input) {
			r := i.account("a", ended)
			r.Private = true
			i.Unreadable = map[string]bool{"a": true}
		}, AnswerStart, ReasonAcquired, 0},
		"sealed with another key":                         {func(i *Input) { i.account("a", ended); i.Unreadable = map[string]bool{"a": true} }, AnswerRefuse, ReasonRenewalElsewhere, in(day - minute)},
		"sealed with another key, the one before is read": {func(i *Input) { overtaken(i) }, AnswerRenew, ReasonRenewed, 0},
		"it is backed off": {func(i *Input) {
			overtaken(i).Identity.Last = ledger.Streak{Count: 1, At: t0}
		}, AnswerRefuse, ReasonRenewalBackoff, in(5 * second)},
		"and the newer may be replaced": {func(i *Input) {
			overtaken(i).Identity.Last = ledger.Streak{Count: 1, At: t0}
			i.Doc.Tokens["b"].Expiry, i.Doc.Renewals.Replaced = in(-day), false
		}, AnswerStart, ReasonAcquired, 0},
		"it lives, the newer one's day is over": {func(i *Input) {
			r := overtaken(i)
			r.Identity.Replaced, r.Identity.Last, r.Expiry = false, ledger.Streak{Count: 1, At: t0}, in(-hour)
			i.Doc.Tokens["b"].Expiry, i.Doc.Renewals.Replaced = in(-day), false
		}, AnswerRefuse, ReasonRenewalBackoff, in(5 * second)},
		"its value serves": {func(i *Input) { overtaken(i).Expiry = in(hour) }, AnswerServe, ReasonCached, 0},
		"its value serves all but this operation": {func(i *Input) {
			r := overtaken(i)
			r.Expiry, r.Acquired = in(hour), in(-5*second)
			r.Evidence = []ledger.Evidence{{Operation: "op", Heard: t0 - 1, Early: true}}
		}, AnswerRefuse, ReasonRenewalElsewhere, timeline.Never},
		"an older one lives beside one that was replaced": {func(i *Input) {
			i.account("a", 2*hour)
			i.account("b", 61*minute).Identity.Replaced = true
			i.Policy.Renews, i.Doc.Renewals.Known, i.Doc.Renewals.Replaced = false, true, true
		}, AnswerRefuse, ReasonRenewalElsewhere, timeline.Never},
		"the one before has ended": {func(i *Input) { overtaken(i).Identity.Ended = t0 - 1 }, AnswerRefuse, ReasonRenewalElsewhere, timeline.Never},
		"elsewhere":                {func(i *Input) { i.account("a", ended); i.Policy.Renews, i.Doc.Renewals.Known = false, true }, AnswerRefuse, ReasonRenewalElsewhere, in(day - minute)},
		"nobody renews":            {func(i *Input) { i.account("a", ended); i.Policy.Renews = false }, AnswerStart, ReasonAcquired, 0},
		"elsewhere, replaced": {func(i *Input) {
			i.account("a", 25*hour)
			i.Policy.Renews, i.Doc.Renewals.Known = false, true
		}, AnswerStart, ReasonAcquired, 0},
		"replaced once": {func(i *Input) {
			i.account("a", 25*hour)
			i.Policy.Renews, i.Doc.Renewals.Known, i.Doc.Renewals.Replaced = false, true, true
		}, AnswerRefuse, ReasonRenewalElsewhere, timeline.Never},
		"another scope's is being replaced": {func(i *Input) {
			i.account("a", 25*hour)
			i.Policy.Renews, i.Doc.Renewals.Known = false, true
			i.attempt(second, running("another"))
			i.Doc.Renewals.Replaced, i.Doc.Renewals.Replacing = true, i.Doc.Attempts[0].ID
		}, AnswerRefuse, ReasonRenewalElsewhere, timeline.Never},
		"banned": {func(i *Input) {
			i.account("a", 25*hour).Identity.Banned = true
			i.Policy.Renews, i.Doc.Renewals.Known = false, true
		}, AnswerRefuse, ReasonRenewalElsewhere, timeline.Never},
		"banned, then away": {func(i *Input) {
			r := i.account("a", 25*hour)
			r.Identity.Banned, r.Identity.Replaced, r.Identity.Last = true, true, ledger.Streak{Count: 1, At: t0}
		}, AnswerRefuse, ReasonRenewalBackoff, in(5 * second)},
		"another one took its place and ended": {func(i *Input) {
			r := i.account("a", ended)
			r.Identity.Replaced, r.Identity.Last = true, ledger.Streak{Count: 1, At: t0}
			i.Doc.Renewals.Replaced = true
		}, AnswerStart, ReasonAcquired, 0},
		"leased": {func(i *Input) {
			i.account("a", ended).Identity.Lease = ledger.Lease{ID: "l", End: t0 + 1}
		}, AnswerWait, ReasonJoined, t0 + 1},
		"leased, with a value": {func(i *Input) {
			i.account("a", 56*minute).Identity.Lease = ledger.Lease{ID: "l", End: t0 + 1}
		}, AnswerServe, ReasonCached, 0},
		"the lease is over: backoff": {func(i *Input) {
			i.account("a", ended).Identity.Lease = ledger.Lease{ID: "l", End: t0}
		}, AnswerRefuse, ReasonRenewalBackoff, in(5 * second)},
		"backoff doubles": {func(i *Input) {
			i.account("a", ended).Identity.Last = ledger.Streak{Count: 3, At: t0}
		}, AnswerRefuse, ReasonRenewalBackoff, in(20 * second)},
		"backoff is over": {func(i *Input) {
			i.account("a", ended).Identity.Last = ledger.Streak{Count: 3, At: in(-20 * second)}
		}, AnswerRenew, ReasonRenewed, 0},
		"backoff, with a value": {func(i *Input) {
			i.account("a", 56*minute).Identity.Last = ledger.Streak{Count: 3, At: t0}
		}, AnswerServe, ReasonCached, 0},
		"backoff, replaced": {func(i *Input) {
			i.account("a", 25*hour).Identity.Last = ledger.Streak{Count: 3, At: t0}
		}, AnswerStart, ReasonAcquired, 0},
		"closed":        {func(i *Input) { i.account("a", ended).Identity.Closed.Until = t0 + 1 }, AnswerRefuse, ReasonRenewalBackoff, t0 + 1},
		"retry after":   {func(i *Input) { i.account("a", ended); i.Doc.Renewals.Pause.Until = t0 + 1 }, AnswerRefuse, ReasonRenewalBackoff, t0 + 1},
		"of the guard":  {func(i *Input) { i.account("a", ended); i.Doc.Pause.Until = t0 + 1 }, AnswerRenew, ReasonRenewed, 0},
		"min interval":  {func(i *Input) { i.account("a", ended).Identity.Renewed = in(-minute + 1) }, AnswerRefuse, ReasonRenewalLimit, t0 + 1},
		"it has passed": {func(i *Input) { i.account("a", ended).Identity.Renewed = in(-minute) }, AnswerRenew, ReasonRenewed, 0},
		"hour": {func(i *Input) {
			i.account("a", ended)
			i.Doc.Renewals.Starts = []timeline.Instant{in(-30 * minute), in(-20 * minute), in(-10 * minute)}
		}, AnswerRefuse, ReasonRenewalLimit, in(30 * minute)},
		"hour, one left it": {func(i *Input) {
			i.account("a", ended)
			i.Doc.Renewals.Starts = []timeline.Instant{in(-hour), in(-20 * minute), in(-10 * minute)}
		}, AnswerRenew, ReasonRenewed, 0},
		"no limit on starts": {func(i *Input) {
			i.account("a", ended)
			for range 20 {
				i.attempt(second)
			}
			i.Doc.Failures = ledger.Streak{Count: 3, At: t0}
		}, AnswerRenew, ReasonRenewed, 0},
		"row 1": {func(i *Input) { i.account("a", ended); i.Doc.ScopeFor("s").Pause.Until = t0 + 1 }, AnswerRefuse, ReasonUpstreamRateLimited, t0 + 1},
		"row 2": {func(i *Input) { i.account("a", ended); i.failing(classify.Forbidden, "") }, AnswerRefuse, ReasonForbidden, timeline.Never},
		"without the store": {func(i *Input) {
			i.account("a", ended)
			i.Outage.Away, i.Outage.MayStart = true, true
		}, AnswerRefuse, ReasonStoreUnavailable, timeline.Never},
		"places": {func(i *Input) {
			i.account("a", ended)
			for _, other := range []string{"b", "c"} {
				r := i.account(other, ended)
				r.Scope, r.Identity.Lease = other, ledger.Lease{ID: other, End: in(3 * second)}
			}
			i.Doc.Index()
		}, AnswerWait, ReasonJoined, in(3 * second)},
		"refused":                   {func(i *Input) { i.account("a", minute, refused("op", t0-1, 1)) }, AnswerRenew, ReasonRenewed, 0},
		"by another":                {func(i *Input) { i.account("a", minute, refused("x", t0-1, 1)) }, AnswerServe, ReasonCached, 0},
		"refused twice":             {func(i *Input) { i.account("a", minute, refused("op", t0-1, 1)).Identity.Refused = []string{"op"} }, AnswerRefuse, ReasonForbidden, timeline.Never},
		"spent: by the usual rules": {func(i *Input) { i.account("a", ended, spent("op", t0-1)) }, AnswerStart, ReasonAcquired, 0},
		"spent, and young: row 6": {func(i *Input) {
			i.account("a", ended, spent("op", t0-1)).Identity.Since = in(-29 * minute)
		}, AnswerRefuse, ReasonTokenTooNew, in(minute)},
		"spent for another": {func(i *Input) { i.account("a", ended, spent("x", t0-1)) }, AnswerRenew, ReasonRenewed, 0},
		"full again": {func(i *Input) {
			e := spent("op", in(-hour))
			e.Reset = t0
			i.account("a", ended, e)
		}, AnswerRenew, ReasonRenewed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			c.scene(i)
			d := i.Decide(t0)
			assert.Equal(t, []any{c.answer, c.reason, c.until}, []any{d.Answer, d.Reason, d.Until})
			if d.Answer == AnswerRefuse && d.Until != timeline.Never && d.Step == StepRenewal {
				assert.Equal(t, c.until, i.RetryAt(t0))
			}
			if d.Reason != ReasonStoreUnavailable { // its words are the store's
				assert.NotEmpty(t, i.Detail(d, timeline.Reading{Now: t0, Wall: time.Unix(0, int64(t0))}))
			}
			if d.Step == StepRenewal && d.Answer == AnswerRefuse { // it may be remembered
				until := min(i.StableUntil(d, timeline.Reading{Now: t0}), in(40*day))
				for n := range timeline.Instant(1000) {
					at := t0 + (until-1-t0)*n/999
					later := i.Decide(at)
					assert.Equal(t, []any{d.Answer, d.Reason, d.Until}, []any{later.Answer, later.Reason, later.Until}, "%v later", time.Duration(at-t0))
				}
			}
		})
	}
}

// A process that may not renew says what it lacks.
func TestRenewalElsewhereSaysWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		renews, readable, never bool
		names, omits            string
	}{
		{false, true, false, "(WithRenewal)", "WithEncryption"},
		{true, false, false, "(WithEncryption)", "WithRenewal"},
		{true, false, true, "(WithEncryption)", "WithRenewal"},
		{false, false, true, "(WithRenewal), and does not have the key of its secrets (WithEncryption)", "?"},
	} {
		i := asked()
		i.account("a", 61*minute).Identity.Banned = c.never
		i.Policy.Renews, i.Doc.Renewals.Known, i.Unreadable = c.renews, true, map[string]bool{"a": !c.readable}
		d := i.Decide(t0)
		assert.Equal(t, ReasonRenewalElsewhere, d.Reason)
		text := i.Detail(d, timeline.Reading{Now: t0})
		assert.Contains(t, text, c.names)
		assert.NotContains(t, text, c.omits)
		assert.Equal(t, c.never, d.Until == timeline.Never)
	}
}

// A start is one in place of an account also where that cannot be read and the one before it can.
func TestReplaces(t *testing.T) {
	i := asked()
	r := overtaken(i)
	assert.True(t, i.Replaces(t0))
	i.Doc.Tokens["b"].Identity.Replaced = true
	assert.False(t, i.Replaces(t0))
	r.Identity.Replaced = false
	assert.True(t, i.Replaces(t0))
}

// Past the time to renew, a token is a hit for as long as no renewal can be begun.
func TestHitUntil(t *testing.T) {
	i := asked()
	r := i.account("a", 56*minute)
	assert.LessOrEqual(t, i.HitUntil(r, t0), t0, "this call renews")
	r.Identity.Lease = ledger.Lease{ID: "l", End: in(15 * second)}
	assert.Equal(t, in(15*second), i.HitUntil(r, t0))
	r.Identity.Lease = ledger.Lease{}
	r.Identity.Last = ledger.Streak{Count: 9, At: t0}
	counts, _ := i.Policy.Expiry(r)
	assert.Equal(t, counts, i.HitUntil(r, t0), "the backoff ends after it")
	assert.Equal(t, in(-minute), i.HitUntil(r, in(-10*minute)), "from when it is due")
}

// In its last stretch a token is a hit while the next one is being acquired, and for no longer.
func TestHitUntilOfALastStretch(t *testing.T) {
	i := asked()
	r := i.token("a", day-minute)
	i.Policy.RefreshAhead = 2 * minute
	assert.LessOrEqual(t, i.HitUntil(r, t0), t0, "this call acquires the next")
	i.Doc.Charge(i.Policy, &ledger.Start{ID: "1", Scope: "s"}, t0)
	lease := in(i.Policy.Lease())
	assert.Equal(t, lease, i.HitUntil(r, t0))
	assert.Equal(t, i.Decide(t0).Token, i.Decide(lease-1).Token, "as a call is answered")
	assert.Equal(t, AnswerServe, i.Decide(lease-1).Answer)
	assert.LessOrEqual(t, i.HitUntil(r, lease), lease)
}
