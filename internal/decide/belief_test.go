package decide

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestSuits(t *testing.T) {
	both := worked("op", in(-hour))
	both.Refused, both.RefusedLast, both.Refusals = in(-minute), in(-minute), 1
	twice := both
	twice.Refusals = 2
	early := ledger.Evidence{Operation: "op", Early: true}
	for name, c := range map[string]struct {
		age  time.Duration
		seen []ledger.Evidence
		want int
	}{
		"nothing is known":                {2 * hour, nil, undoubted},
		"it works":                        {2 * hour, []ledger.Evidence{worked("op", in(-hour))}, worksForIt},
		"it works, others refuse it":      {2 * hour, []ledger.Evidence{worked("op", in(-hour)), refused("x", t0, 3)}, worksForIt},
		"others refuse it":                {2 * hour, []ledger.Evidence{refused("x", t0, 3)}, newestOfAll},
		"suspected":                       {2 * hour, []ledger.Evidence{doubtful("op", t0)}, suspected},
		"spent":                           {2 * hour, []ledger.Evidence{spent("op", t0)}, unsuitable},
		"refused a minute ago":            {2 * hour, []ledger.Evidence{both}, onceMore},
		"refused just now":                {2 * hour, []ledger.Evidence{refused("op", in(-minute)+1, 1)}, unsuitable},
		"refused twice":                   {2 * hour, []ledger.Evidence{twice}, unsuitable},
		"refused by another too":          {2 * hour, []ledger.Evidence{both, refused("x", in(-minute), 1)}, unsuitable},
		"refused when no longer fresh":    {2 * hour, []ledger.Evidence{refused("op", in(-minute), 1)}, onceMore},
		"refused while fresh, no success": {3 * minute, []ledger.Evidence{refused("op", in(-minute), 1)}, unsuitable},
		"refused in the first seconds":    {10*second - 1, []ledger.Evidence{early}, unsuitable},
		"it has spread since":             {10 * second, []ledger.Evidence{early}, undoubted},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			r := i.token("a", c.age, c.seen...)
			assert.Equal(t, c.want, i.suits(r, t0))
		})
	}
	i := asked()
	old := i.token("old", 2*hour, refused("x", t0, 1))
	i.token("new", hour)
	assert.Equal(t, unsuitable, i.suits(old, t0), "what others refuse is tried only if it is the newest")
}

func TestASpentTokenIsTriedLast(t *testing.T) {
	due := spent("op", in(-hour))
	due.Assumed, due.Reset = true, t0
	i := asked()
	r := i.token("spent", 2*hour, due)
	assert.Equal(t, unsuitable, i.suits(r, t0-1))
	assert.Equal(t, toTry, i.suits(r, t0))
	d := i.Decide(t0)
	assert.Equal(t, AnswerServe, d.Answer)
	assert.True(t, d.Tries)
	assert.Contains(t, i.Detail(d, timeline.Reading{Now: t0}), "this call tries it")
	i.Request.Operation = "x"
	assert.False(t, i.Decide(t0).Tries, "it is not spent for this one")

	i.Request.Operation = "op"
	i.token("doubted", 3*hour, doubtful("op", t0-1))
	d = i.Decide(t0)
	assert.Equal(t, "doubted", d.TokenID)
	assert.False(t, d.Tries)

	stated := spent("op", in(-hour))
	stated.Reset = t0
	i = asked()
	i.token("spent", 2*hour, stated)
	assert.False(t, i.Decide(t0).Tries, "a stated reset is for all")
}

func TestPick(t *testing.T) {
	i := asked()
	i.token("works", 2*hour, worked("op", in(-hour)))
	i.token("new", hour)
	i.token("newer", hour)
	assert.Equal(t, "works", i.Pick(t0).ID)
	i.Request.Operation = "x"
	assert.Equal(t, "newer", i.Pick(t0).ID, "the newest of those that suit alike")
	assert.Equal(t, "works", i.failing(classify.Transient, "works").Pick(t0).ID, "the one it uses already")
	i.failing("", "").Unreadable = map[string]bool{"newer": true}
	assert.Equal(t, "new", i.Pick(t0).ID)
	i.Doc.Tokens["new"].Rejected = t0
	assert.Equal(t, "works", i.Pick(t0).ID)
	i.Doc.ScopeFor("s").Pause.Until = in(hour)
	assert.Equal(t, "works", i.Pick(t0).ID, "who does not report a rate limit keeps its token")
	assert.Nil(t, i.failing(classify.RateLimited, "works").Pick(t0))
	i.failing("", "")
	assert.NotNil(t, i.Pick(in(22*hour)-1))
	assert.Nil(t, i.Pick(in(22*hour)), "it has ended")
}

func TestReportedDead(t *testing.T) {
	i := asked()
	r := i.token("a", hour)
	i.failing(auth, "a")
	assert.True(t, i.reportedDead(r, in(minute)-1))
	assert.False(t, i.reportedDead(r, in(minute)))
	r.Acquired = in(-second)
	assert.True(t, i.reportedDead(r, in(9*second)-1))
	assert.False(t, i.reportedDead(r, in(9*second)), "a refusal in the first seconds speaks of those alone")
	r.Acquired = in(-hour)
	i.failing(quota, "a")
	assert.True(t, i.reportedDead(r, in(minute)-1))
	assert.False(t, i.reportedDead(r, in(minute)))
	e := spent("op", t0)
	e.Reset = in(2 * hour)
	r.Evidence = []ledger.Evidence{e}
	assert.True(t, i.reportedDead(r, in(2*hour)-1))
	assert.False(t, i.reportedDead(r, in(2*hour)))
	assert.False(t, i.failing(auth, "other").reportedDead(r, t0))
}

func TestLastResort(t *testing.T) {
	resort := func(now time.Duration, change func(*Input)) string {
		i := asked()
		change(i)
		if r := i.lastResort(in(now)); r != nil {
			return r.ID
		}
		return ""
	}
	refusals := func(n int) func(*Input) {
		return func(i *Input) { i.token("a", 2*hour, refused("op", t0, n)) }
	}
	for n, hold := range []time.Duration{minute, minute, 2 * minute, 4 * minute, 8 * minute, 16 * minute, 32 * minute, hour, hour} {
		assert.Empty(t, resort(hold-1, refusals(n)), n)
		assert.Equal(t, "a", resort(hold, refusals(n)), n)
	}
	used := func(i *Input) { i.token("a", 2*hour, spent("op", t0)) }
	assert.Empty(t, resort(30*minute-1, used))
	assert.Equal(t, "a", resort(30*minute, used))
	reset := func(i *Input) { used(i); i.Doc.Tokens["a"].Evidence[0].Reset = in(5 * minute) }
	assert.Empty(t, resort(5*minute-1, reset))
	assert.Equal(t, "a", resort(5*minute, reset), "a stated reset goes before")

	assert.Equal(t, "b", resort(hour, func(i *Input) {
		i.token("b", 2*hour)
		refusals(1)(i)
	}), "one that it has not refused, though the other is newer")
	assert.Empty(t, resort(minute, func(i *Input) {
		refusals(1)(i)
		i.token("b", 2*hour, refused("op", in(second), 3))
	}), "not within a minute of a refusal of any token")
	for name, change := range map[string]func(*Input){
		"its own pause": func(i *Input) {
			i.Doc.ScopeFor("s").Pauses = []ledger.OperationPause{{Operation: "op", Pause: ledger.Pause{Until: in(day)}}}
		},
		"it is reported":    func(i *Input) { i.failing(auth, "a").Request.At = in(hour) },
		"it has ended":      func(i *Input) { i.Doc.Tokens["a"].Expiry = in(hour) },
		"personal requests": func(i *Input) { i.Request.Kind = ledger.Personal },
	} {
		assert.Empty(t, resort(hour, func(i *Input) { refusals(1)(i); change(i) }), name)
	}
}

func TestUnfitClosesTheScope(t *testing.T) {
	useless := func(n int) *Input {
		i := asked()
		for k := range n {
			at := in(-time.Duration(n-1-k) * second)
			r := i.token(string(rune('a'+k)), 0, refused("op", at, 1))
			r.Acquired = at - timeline.Instant(20*second)
		}
		return i
	}
	for n, want := range []time.Duration{0, 10 * minute, hour, 2 * hour, 4 * hour, 8 * hour, 16 * hour, day, day} {
		d := useless(n).Unfit(t0)
		assert.Equal(t, n, d.Count)
		if n > 0 {
			assert.Equal(t, in(want), d.Until)
		}
	}
	for n, want := range []time.Duration{0, minute, minute, 2 * minute, 3 * minute, 3 * minute} {
		i := useless(n)
		i.Policy.RateLimit.KeyBackoffBase, i.Policy.RateLimit.MaxKeyBackoff = minute, 3*minute
		if n > 0 {
			assert.Equal(t, in(want), i.Unfit(t0).Until)
		}
	}
	d := useless(2).Limiter(t0)
	assert.Equal(t, ReasonBackoff, d.Reason)
	assert.True(t, d.unfit)

	i := useless(2)
	i.Request.Operation = "x"
	assert.Zero(t, i.Unfit(t0).Count, "one operation closes nothing for others")
	for _, r := range i.Doc.Tokens {
		r.FreshRefusals, r.FreshRefused = 1, t0
	}
	assert.Zero(t, i.Unfit(t0).Count)
	for _, r := range i.Doc.Tokens {
		r.FreshRefusals = 2
	}
	assert.Equal(t, in(hour), i.Unfit(t0).Until, "two of them do")

	i = useless(2)
	for _, r := range i.Doc.Tokens {
		r.Evidence, r.FreshRefusals, r.FreshBy, r.FreshRefused = nil, 1, []string{"op"}, r.Evidence[0].Refused
	}
	assert.Equal(t, in(hour), i.Unfit(t0).Until, "also once its entries gave way to others'")
	i.Request.Operation = "x"
	assert.Zero(t, i.Unfit(t0).Count)

	i = useless(2)
	i.Doc.ScopeFor("s").Lifted = i.Doc.Tokens["a"].Acquired
	assert.Equal(t, 1, i.Unfit(t0).Count, "what was before an operator's word does not count")
	i = useless(3)
	i.Doc.Tokens["b"].Evidence[0], i.Doc.Tokens["b"].Succeeded = worked("op", t0), true
	assert.Equal(t, 1, i.Unfit(t0).Count, "a token that worked ends the run")
	i = useless(2)
	i.Doc.Tokens["b"].Acquired = in(-6 * minute)
	assert.Zero(t, i.Unfit(t0).Count, "it was no longer fresh when it was refused")

	i = useless(2)
	last := i.Doc.Tokens["b"]
	last.Acquired, last.Evidence[0] = in(-time.Hour), ledger.Evidence{Operation: "op", Early: true}
	assert.Equal(t, 2, i.Unfit(t0).Count, "refused before it had spread, and not asked for since")
	last.Used = in(-minute)
	assert.Zero(t, i.Unfit(t0).Count, "it had not spread at first, and served then")
	last.Evidence[0].Refused = in(-minute)
	assert.Equal(t, 2, i.Unfit(t0).Count, "it was refused again")
}

// shared is a scope in which operation x works and op refuses the newest token.
func shared() *Input {
	i := asked()
	i.token("a", 2*hour, worked("op", in(-hour)), worked("x", in(-30*minute)))
	e := i.Doc.Tokens["a"].By("op")
	e.Refused, e.RefusedLast, e.Refusals = in(-minute), in(-minute), 1
	i.Doc.ScopeFor("s").Worked = true
	return i
}

func solo(contested bool) func(*ledger.Attempt) {
	return func(a *ledger.Attempt) { a.Solo, a.Contested = true, contested }
}

func TestSolo(t *testing.T) {
	i := shared()
	alone, unproven := i.Solo(t0)
	assert.True(t, alone)
	assert.False(t, unproven)
	op, until, ok := i.othersFine(t0)
	assert.True(t, ok)
	assert.Equal(t, "x", op)
	assert.Equal(t, in(30*minute), until)
	_, _, ok = i.othersFine(in(30*minute) - 1)
	assert.True(t, ok)
	_, _, ok = i.othersFine(in(30 * minute))
	assert.False(t, ok, "a success counts for an hour")
	i.Doc.Tokens["a"].By("x").Refused = t0
	_, _, ok = i.othersFine(t0)
	assert.False(t, ok, "it refuses all that there is")
	i.Request.Operation = "x"
	_, _, ok = i.othersFine(t0)
	assert.False(t, ok)

	i = asked()
	i.token("a", hour, worked("op", in(-minute)))
	_, _, ok = i.othersFine(t0)
	assert.False(t, ok, "it is no other")

	i = shared()
	assert.False(t, i.Contested(t0))
	i.Doc.Tokens["a"].By("x").Success = t0
	assert.True(t, i.Contested(t0), "others have gone on with it since")
}

func TestSharing(t *testing.T) {
	i := shared()
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer)
	busy := func() *Input { // nothing is spare
		i := shared()
		for n := range 19 {
			i.attempt(2*hour + time.Duration(n)*minute)
		}
		return i
	}
	i = busy()
	assert.False(t, i.spare(t0), "what expiry will force is kept back")
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer, "one contested start a day is free")
	i.attempt(2*hour, solo(false))
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer, "one that nobody contests is not counted")
	i.attempt(day-1, solo(true))
	d := i.sharing(t0)
	assert.Equal(t, ReasonNotShared, d.Reason)
	assert.Equal(t, t0+1, d.Until)
	assert.Equal(t, "a", d.TokenID)
	i.Doc.Tokens["a"].By("op").Success, i.Doc.Tokens["a"].Acquired = 0, in(-2*minute)
	assert.Equal(t, ReasonForbidden, i.sharing(t0).Reason, "nothing shows that it may at all")

	i = shared()
	i.attempt(2*hour, solo(true))
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer, "it comes out of what is spare")
	i.Doc.Tokens["a"].By("op").Success, i.Doc.Tokens["a"].Acquired = 0, in(-2*minute)
	assert.Equal(t, ReasonForbidden, i.sharing(t0).Reason, "not for one that never worked for it")

	late := func(before timeline.Instant) *Input { // an operation that reports failures alone
		i := shared()
		i.attempt(2*hour, solo(true))
		i.Doc.Tokens["a"].By("op").Success = 0
		i.token("older", 3*hour, refused("op", before, 1)).Seq = 0
		i.Doc.Index()
		return i
	}
	i = late(in(-10 * minute))
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer, "who refused an older token before is no new name")
	older := i.Doc.Tokens["older"]
	older.Evidence = append(older.Evidence, worked("another", in(-minute)))
	assert.Equal(t, ReasonNotShared, i.sharing(t0).Reason, "but others went on with that one")
	dead := i.token("dead", 4*hour, refused("op", in(-10*minute), 1))
	dead.Seq = 0
	i.Doc.Index()
	assert.Equal(t, ReasonNotShared, i.sharing(t0).Reason, "also where it has refused one that works for nobody")
	dead.Evidence = nil
	older.By("op").Success = in(-11 * minute)
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer, "one that has worked for it once shows more")
	i = late(in(-10*minute + 1))
	d = i.sharing(t0)
	assert.Equal(t, ReasonNotShared, d.Reason)
	assert.Equal(t, t0+1, d.Until)
}

func TestSharingANewScope(t *testing.T) {
	i := shared()
	i.Request.Scope = "new"
	_, unproven := i.Solo(t0)
	assert.True(t, unproven)
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer)
	for n := range 19 {
		i.attempt(2*hour + time.Duration(n)*minute)
	}
	assert.Equal(t, AnswerPass, i.sharing(t0).Answer, "one a day beyond what is spare")
	i.attempt(2*hour, func(a *ledger.Attempt) { a.New = true })
	d := i.sharing(t0)
	assert.Equal(t, ReasonKeptBack, d.Reason)
	assert.Equal(t, in(21*hour+43*minute), d.Until, "then one is spare")
	_, unproven = i.Solo(in(23*hour) - 1)
	assert.True(t, unproven)
	_, unproven = i.Solo(in(23 * hour))
	assert.False(t, unproven, "no scope has been in use for an hour")
}

func TestNeedAndSpare(t *testing.T) {
	i := shared()
	assert.Equal(t, 1, i.need(t0))
	i.Doc.Tokens["a"].Expiry = i.Doc.Tokens["a"].Acquired.Plus(7 * hour)
	assert.Equal(t, 4, i.need(t0), "24 h of 7 h each, rounded up")
	for n := range 15 {
		i.attempt(2*hour + time.Duration(n)*minute)
	}
	assert.True(t, i.spare(t0))
	i.attempt(2 * hour)
	assert.False(t, i.spare(t0))

	i = shared()
	for range 3 {
		i.attempt(minute)
	}
	assert.True(t, i.spare(t0))
	i.attempt(minute)
	assert.False(t, i.spare(t0), "one more is left in the hour")
}

// A token is withheld from the operation that refuses it, and from no other; one that serves nobody is withheld from nobody.
func TestWithholds(t *testing.T) {
	i := asked()
	r := i.token("a", 2*hour, spent("op", t0), ledger.Evidence{Operation: "other", Success: t0, Uses: 1})
	assert.True(t, i.Withholds(r, "op", t0))
	assert.False(t, i.Withholds(r, "other", t0))
	assert.False(t, i.Withholds(r, "new", t0))
	assert.Equal(t, "op", i.Request.Operation)
	r.Expiry = t0
	assert.False(t, i.Withholds(r, "op", t0), "it has ended")
}

// Which of the states an account is in, where several could be meant, and from when it is renewed.
func TestAccount(t *testing.T) {
	for name, c := range map[string]struct {
		scene func(*Input, *ledger.Token)
		want  Account
	}{
		"living":                 {func(*Input, *ledger.Token) {}, Account{"living", 0, in(45 * minute), 0}},
		"in progress":            {func(_ *Input, r *ledger.Token) { r.Identity.Lease = ledger.Lease{ID: "l", Start: t0, End: in(second)} }, Account{"renewing", t0, 0, 0}},
		"its process was killed": {func(_ *Input, r *ledger.Token) { r.Identity.Lease = ledger.Lease{ID: "l", Start: in(-minute), End: t0} }, Account{"backing_off", t0, in(45 * minute), 1}},
		"closed": {func(_ *Input, r *ledger.Token) {
			r.Identity.Closed = ledger.Pause{From: t0, Until: in(hour)}
			r.Identity.Last.Count = 1
		}, Account{"closed", t0, in(hour), 1}},
		"the hour is full": {func(i *Input, _ *ledger.Token) { i.Doc.Renewals.Starts = []timeline.Instant{t0, t0, t0} }, Account{"living", 0, in(hour), 0}},
		"all are paused":   {func(i *Input, _ *ledger.Token) { i.Doc.Renewals.Pause = ledger.Pause{From: t0, Until: in(2 * hour)} }, Account{"living", 0, in(2 * hour), 0}},
		"the scope is paused": {func(i *Input, _ *ledger.Token) {
			i.Doc.ScopeFor("s").Pause = ledger.Pause{From: t0, Until: in(3 * hour)}
		}, Account{"living", 0, in(3 * hour), 0}},
		"spent, no reset": {func(_ *Input, r *ledger.Token) { r.Evidence = []ledger.Evidence{spent("op", in(-minute))} }, Account{"spent", in(-minute), 0, 0}},
		"spent, reset": {func(_ *Input, r *ledger.Token) {
			e := spent("op", in(-minute))
			e.Reset = in(2 * hour)
			r.Evidence = []ledger.Evidence{e}
		}, Account{"spent", in(-minute), in(2 * hour), 0}},
		"ended":                   {func(_ *Input, r *ledger.Token) { r.Identity.Ended, r.Identity.Expiry = in(-minute), t0 }, Account{"ended", in(-minute), 0, 0}},
		"expired":                 {func(_ *Input, r *ledger.Token) { r.Identity.Expiry = t0 }, Account{"expired", t0, 0, 0}},
		"it expires before it is": {func(_ *Input, r *ledger.Token) { r.Identity.Expiry = in(45 * minute) }, Account{"living", 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			i := asked()
			r := i.account("a", 10*minute)
			c.scene(i, r)
			assert.Equal(t, c.want, i.Account(r, t0))
		})
	}
}
