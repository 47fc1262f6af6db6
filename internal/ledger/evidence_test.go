package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// known is a document with one token, an hour old.
func known() (*Document, *Token) {
	d := New()
	return d, held(d, "a", in(-Hour))
}

func TestRefusal(t *testing.T) {
	d, r := known()
	assert.True(t, d.heard(refusal("op", t0)))
	assert.True(t, r.By("op").Refuses(t0))
	assert.False(t, r.By("other").Refuses(t0))
	assert.False(t, d.heard(refusal("op", in(minute)-1)), "within a minute it is one observation")
	assert.Equal(t, 1, r.By("op").Refusals)
	assert.True(t, d.heard(refusal("op", in(minute))))
	assert.Equal(t, 2, r.By("op").Refusals)
	assert.Equal(t, t0, r.By("op").Refused)
	assert.Equal(t, in(minute), r.By("op").RefusedLast)
}

func TestSuccessDisprovesWhatIsOlder(t *testing.T) {
	d, r := known()
	d.heard(refusal("op", t0), refusal("op", in(2*minute)), success("op", in(minute)))
	assert.True(t, r.By("op").Refuses(t0), "the call began before the last refusal")
	assert.True(t, d.heard(success("op", in(2*minute))))
	assert.False(t, r.By("op").Refuses(t0))
	assert.False(t, d.heard(refusal("op", in(2*minute))), "this one was disproved")
	assert.False(t, d.heard(refusal("op", in(minute))), "this one is older than the success")
	assert.False(t, r.By("op").Refuses(t0))
	assert.True(t, d.heard(refusal("op", in(2*minute+1))))

	d, r = known()
	d.heard(quota("op", t0), quota("op", in(2*minute)), success("op", in(minute)))
	assert.True(t, r.By("op").Suspects(t0))
	d.heard(success("op", in(2*minute)))
	assert.False(t, r.By("op").Suspects(t0))
	assert.False(t, d.heard(quota("op", in(2*minute))))
	assert.False(t, d.heard(quota("op", in(minute))))
	assert.False(t, r.By("op").Suspects(t0))

	d, r = known()
	d.heard(success("op", in(2*minute)), refusal("op", in(minute)))
	assert.False(t, r.By("op").Refuses(t0), "a late report of an early refusal")
	d.heard(quota("op", in(minute)))
	assert.False(t, r.By("op").Suspects(t0))
}

func TestRefusalBeforeTheTokenHasSpread(t *testing.T) {
	d := New()
	r := held(d, "a", t0)
	assert.True(t, d.heard(refusal("op", in(10*second)-1)))
	assert.True(t, r.By("op").Early)
	assert.False(t, r.By("op").Refuses(t0))
	assert.False(t, d.heard(refusal("op", in(5*second))))
	assert.True(t, d.heard(success("op", t0)))
	assert.False(t, r.By("op").Early)
	d.heard(refusal("op", in(10*second)))
	assert.True(t, r.By("op").Refuses(t0))
}

func TestFreshRefusals(t *testing.T) {
	d := New()
	r := held(d, "a", t0)
	for i, n := range []int{1, 2, 2, 2} {
		at := in(time.Duration(i+1) * minute)
		d.heard(refusal(fmt.Sprint(i), at))
		assert.Equal(t, n, r.FreshRefusals)
	}
	assert.Equal(t, in(2*minute), r.FreshRefused)
	r = held(d, "a", t0)
	d.heard(refusal("op", in(5*minute)))
	assert.Zero(t, r.FreshRefusals)
}

// One operation counts once, also when its entry gave way to those of others in between.
func TestAFreshRefusalCountsOnceForEachOperation(t *testing.T) {
	d := New()
	r := held(d, "a", t0)
	d.heard(refusal("op", in(20*second)))
	for i := range maxEvidence {
		d.heard(quota(fmt.Sprint(i), in(30*second)))
	}
	require.Nil(t, r.By("op"), "gone")
	d.heard(refusal("op", in(2*minute)))
	assert.Equal(t, 1, r.FreshRefusals, "its own word alone closes the scope for nobody else")
	assert.Equal(t, []string{"op"}, r.FreshBy)
}

func TestProvedByUse(t *testing.T) {
	d := New()
	r := held(d, "a", t0)
	assert.False(t, d.Use(r, in(minute)-1))
	assert.False(t, d.Scope("s").Worked)
	assert.True(t, d.Use(r, in(minute)))
	assert.True(t, d.Scope("s").Worked)
	assert.False(t, d.Use(r, in(2*minute)), "once")

	d = New()
	r = held(d, "a", t0)
	d.heard(refusal("op", in(30*second)))
	assert.False(t, d.Use(r, in(minute)))
	assert.False(t, d.Scope("s").Worked)
}

func TestSuccessMarksTheScope(t *testing.T) {
	d, r := known()
	assert.True(t, d.heard(success("op", t0)))
	assert.True(t, d.Scope("s").Worked)
	assert.True(t, r.Succeeded)
	assert.Equal(t, t0, r.LastSuccess())
	assert.False(t, d.heard(success("op", in(second))), "one more changes counts alone")
}

func TestQuotaReset(t *testing.T) {
	d, r := known()
	p := quota("op", t0)
	p.None, p.Until = true, in(Hour)
	d.heard(p)
	e := r.By("op")
	assert.True(t, e.Refuses(in(Hour)-1))
	assert.True(t, e.Suspects(in(Hour)-1))
	assert.False(t, e.Refuses(in(Hour)))
	assert.False(t, e.Suspects(in(Hour)))
	d.heard(quota("op", in(Hour)))
	assert.Equal(t, in(Hour), r.By("op").Quota, "it begins anew")
	assert.False(t, r.By("op").Spent)
	assert.Equal(t, 1, r.By("op").Refusals)

	p.At, p.Until = in(2*Hour), in(60*Day)
	d.heard(p)
	assert.Equal(t, in(2*Hour).Plus(31*Day), r.By("op").Reset)
}

func TestConfirmation(t *testing.T) {
	none := quota("op", t0)
	none.None = true
	for name, c := range map[string]struct {
		before []*Report
		uses   int
		p      *Report
		spent  bool
	}{
		"a first refusal":                          {nil, 0, quota("op", t0), false},
		"the upstream says none remains":           {nil, 0, none, true},
		"a minute after its own":                   {[]*Report{quota("op", in(-minute))}, 0, quota("op", t0), true},
		"sooner":                                   {[]*Report{quota("op", in(-minute)+1)}, 0, quota("op", t0), false},
		"30 s after another's":                     {[]*Report{quota("x", in(-30*second))}, 0, quota("op", t0), true},
		"sooner than 30 s":                         {[]*Report{quota("x", in(-30*second)+1)}, 0, quota("op", t0), false},
		"30 s after its own":                       {[]*Report{quota("op", in(-30*second))}, 0, quota("op", t0), false},
		"another's that a third one contradicts":   {[]*Report{quota("x", in(-40*second)), success("y", in(-35*second))}, 0, quota("op", t0), false},
		"another's long ago, contradicted":         {[]*Report{quota("x", in(-Hour)), success("y", in(-minute))}, 0, quota("op", t0), false},
		"another's after the third one's success":  {[]*Report{success("y", in(-35*second)), quota("x", in(-31*second))}, 0, quota("op", t0), true},
		"after as many uses as a token before":     {nil, 7, quota("op", t0), true},
		"after another number of uses":             {nil, 8, quota("op", t0), false},
		"unused, though a life of 0 were recorded": {nil, 0, quota("op", t0), false},
	} {
		t.Run(name, func(t *testing.T) {
			d, r := known()
			d.ScopeFor("s").Lives = []int{7, 0}
			d.heard(c.before...)
			r.Uses = c.uses
			d.heard(c.p)
			assert.Equal(t, c.spent, r.By("op").Spent)
			assert.Equal(t, c.spent, r.By("op").Refuses(t0))
			assert.True(t, r.By("op").Suspects(t0))
		})
	}
}

func TestLives(t *testing.T) {
	d := New()
	for i, uses := range []int{4, 5, 5, 6, 7} {
		r := held(d, "a", in(-Hour))
		r.Uses = uses
		p := quota(fmt.Sprint(i), t0)
		p.None = true
		d.heard(p)
	}
	assert.Equal(t, []int{5, 6, 7}, d.Scope("s").Lives, "three, none twice in a row")
}

func TestDoubts(t *testing.T) {
	d, r := known()
	d.heard(refusal("x", t0), quota("y", t0))
	assert.Equal(t, 1, r.Doubts("op", t0), "a suspicion is none")
	assert.Zero(t, r.Doubts("x", t0), "its own is not another's")
	d.heard(success("z", in(-minute)))
	assert.Equal(t, 1, r.Doubts("op", t0), "this success is older")
	assert.False(t, r.Contradicted(r.By("x")))
	d.heard(success("z", in(1)))
	assert.Zero(t, r.Doubts("op", t0))
	assert.True(t, r.Contradicted(r.By("x")))
}

func TestSuspectSince(t *testing.T) {
	d, r := known()
	assert.Zero(t, r.SuspectSince())
	d.heard(quota("x", in(-2*minute)), quota("y", t0))
	assert.Equal(t, in(-2*minute), r.SuspectSince())
	d.heard(success("z", in(-minute)))
	assert.Equal(t, t0, r.SuspectSince(), "the first since which nobody had a success")
	d.heard(success("z", in(minute)))
	assert.Equal(t, in(-2*minute), r.SuspectSince(), "else the first that stands")
}

func TestContestedStarts(t *testing.T) {
	start := func() (*Document, *Token) {
		d, r := known()
		d.Charge(rules(), &Start{ID: "1", Scope: "s", Operation: "op", Solo: true}, t0)
		d.Charge(rules(), &Start{ID: "2", Scope: "other", Operation: "op", Solo: true}, t0)
		d.Charge(rules(), &Start{ID: "3", Scope: "s", Operation: "op"}, t0)
		return d, r
	}
	d, _ := start()
	assert.True(t, d.heard(success("x", in(1))))
	assert.True(t, d.Attempts[0].Contested)
	assert.False(t, d.Attempts[1].Contested, "another scope's")
	assert.False(t, d.Attempts[2].Contested, "one that everybody needed")
	d, _ = start()
	d.heard(success("op", in(1)))
	assert.False(t, d.Attempts[0].Contested, "by the operation itself")
	d, _ = start()
	d.heard(success("x", t0))
	assert.False(t, d.Attempts[0].Contested, "the call began before")
	d, r := start()
	r.Acquired = t0
	d.heard(success("x", in(1)))
	assert.False(t, d.Attempts[0].Contested, "with the token that the start brought")
}

func TestEvidenceIsBounded(t *testing.T) {
	d, r := known()
	d.heard(success("worked", in(-50*minute)), refusal("refused", in(-49*minute)), success("twice", in(-48*minute)))
	for i := range 40 {
		early := quota(fmt.Sprint(i), in(time.Duration(i)*second))
		d.heard(early)
		r.By(early.Operation).Quota = 0 // nothing but its name is left
	}
	assert.Len(t, r.Evidence, 16)
	for _, kept := range []string{"worked", "refused", "twice", "39"} {
		assert.NotNil(t, r.By(kept), kept)
	}
	assert.Nil(t, r.By("0"))
	for i := range 40 {
		d.heard(quota(fmt.Sprint("q", i), in(time.Duration(i)*second)))
	}
	assert.NotNil(t, r.By("worked"), "a success goes last")
	assert.Nil(t, r.By("refused"))
	assert.Len(t, r.Evidence, 16)
}

func TestEvidenceOfADocumentIsBounded(t *testing.T) {
	policy := rules()
	policy.Cache.MaxTokens = 1000
	d := New()
	for i := range 60 {
		r := held(d, fmt.Sprint(i), in(-Hour))
		for j := range 10 {
			r.byFor(fmt.Sprint(j), in(time.Duration(i*10+j)*second))
		}
	}
	d.Prune(policy, in(Hour))
	total := 0
	for _, r := range d.Tokens {
		total += len(r.Evidence)
	}
	assert.Equal(t, 512, total)
	assert.Empty(t, d.Tokens["0"].Evidence, "the least recently heard")
	assert.Len(t, d.Tokens["59"].Evidence, 10)
}

func TestPauses(t *testing.T) {
	d, _ := known()
	require.True(t, d.heard(limited("op", t0, in(Hour))))
	k := d.Scope("s")
	assert.Equal(t, Pause{t0, in(Hour)}, k.PauseOf("op"), "in full for who reported it")
	assert.Zero(t, k.PauseOf("x"))
	assert.Equal(t, Pause{t0, in(minute)}, k.Pause, "for the others at most a minute")

	assert.Equal(t, in(21*minute), k.PauseFree)
	d.heard(limited("x", in(21*minute)-1, in(2*Hour)))
	assert.Equal(t, in(minute), k.Pause.Until, "20 times its length has not passed")
	d.heard(limited("x", in(21*minute), in(2*Hour)))
	assert.Equal(t, Pause{in(21 * minute), in(22 * minute)}, k.Pause)

	assert.False(t, d.heard(limited("x", in(22*minute), in(2*Hour))), "it says nothing new")
	assert.False(t, d.heard(limited("x", in(3*Hour), in(3*Hour))), "it is over")

	d, _ = known()
	d.heard(success("op", in(-minute)))
	p := limited("op", t0, in(Hour))
	p.Failing = "a"
	d.heard(p)
	assert.Equal(t, Pause{t0, in(5 * minute)}, d.Scope("s").Pause, "with a token that had worked")
	d, _ = known()
	d.heard(success("x", in(-minute)), p)
	assert.Equal(t, Pause{t0, in(minute)}, d.Scope("s").Pause, "that it worked for another does not count")
	d, _ = known()
	d.heard(limited("op", t0, in(10*second)))
	assert.Equal(t, Pause{t0, in(10 * second)}, d.Scope("s").Pause)
}

// Whether the upstream stated a pause is kept with it, and with what is longer.
func TestStatedPauses(t *testing.T) {
	d, _ := known()
	d.heard(limited("op", t0, 0))
	k := d.Scope("s")
	assert.Equal(t, Pause{t0, in(minute)}, k.PauseOf("op"))
	assert.Zero(t, k.StatedPauseOf("op"), "it is assumed")
	d.heard(limited("op", t0, in(Hour)))
	k = d.Scope("s")
	assert.Equal(t, Pause{t0, in(Hour)}, k.StatedPauseOf("op"))
	assert.Zero(t, k.StatedPauseOf("x"))
	d.heard(limited("op", in(second), 0))
	assert.Equal(t, Pause{t0, in(Hour)}, d.Scope("s").StatedPauseOf("op"), "a shorter one changes nothing")
}

// An assumed pause that lasts longer hides no stated one, whichever was heard first; with a stated one that is longer
// there is nothing left to assume.
func TestAnAssumedPauseHidesNoStatedOne(t *testing.T) {
	assumed := func(at timeline.Instant, wait time.Duration) *Report {
		p := limited("op", at, 0)
		p.Hints.Default = wait
		return p
	}
	for _, order := range [][]*Report{
		{limited("op", t0, in(2*minute)), assumed(in(second), 10*minute)},
		{assumed(in(second), 10*minute), limited("op", t0, in(2*minute))},
	} {
		d, _ := known()
		d.heard(order...)
		k := d.Scope("s")
		assert.Equal(t, Pause{t0, in(2 * minute)}, k.StatedPauseOf("op"))
		assert.Equal(t, Pause{in(second), in(10*minute + second)}, k.PauseOf("op"))
		assert.False(t, d.WouldChange(rules(), order[0], "s", nil, in(2*second)), "the same again")
		assert.False(t, d.WouldChange(rules(), order[1], "s", nil, in(2*second)))

		other, _ := known()
		other.heard(assumed(t0, 20*minute))
		_ = other.merge(d)
		assert.Equal(t, in(2*minute), other.Scope("s").StatedPauseOf("op").Until, "of a state that was found again")

		d.heard(limited("op", in(minute), in(15*minute)))
		assert.Len(t, d.Scope("s").Pauses, 1)
		assert.Equal(t, in(15*minute), d.Scope("s").StatedPauseOf("op").Until)
	}
	d, _ := known()
	for i := range 40 {
		d.heard(limited(fmt.Sprint(i/2), in(time.Duration(i)*second), in(time.Duration(100+i)*minute)))
		p := assumed(in(time.Duration(i)*second), 40*minute)
		p.Operation = fmt.Sprint(i / 2)
		d.heard(p)
	}
	assert.Equal(t, 16, d.Scope("s").pausing())
	assert.NotZero(t, d.Scope("s").StatedPauseOf("19"))
}

func TestPausesAreBounded(t *testing.T) {
	d, _ := known()
	for i := range 20 {
		d.heard(limited(fmt.Sprint(i), t0, in(time.Duration(100-i)*minute)))
	}
	k := d.Scope("s")
	assert.Len(t, k.Pauses, 16)
	assert.NotZero(t, k.PauseOf("0"))
	assert.NotZero(t, k.PauseOf("19"))
	assert.Zero(t, k.PauseOf("18"), "those that end first go")
	assert.Equal(t, in(100*minute), k.pausedUntil())
}

// Whatever one operation reports, no other finds the token refused.
func TestOneOperationTakesNothingFromOthers(t *testing.T) {
	d, r := known()
	for i := range 50 {
		at := in(time.Duration(i) * minute)
		q := quota("op", at)
		q.None = true
		d.heard(refusal("op", at), q, limited("op", at, in(Day)))
	}
	assert.True(t, r.HasValue())
	assert.Zero(t, [3]timeline.Instant{r.Rejected, r.Spent, r.Suspect})
	for _, other := range []string{"", "x"} {
		assert.False(t, r.By(other).Refuses(in(Hour)))
		assert.Zero(t, d.Scope("s").PauseOf(other))
	}
	assert.LessOrEqual(t, d.Scope("s").Pause.Until, in(50*minute))
}

// A pause that runs gives way to none of the others, however many and long they are.
func TestARunningPauseIsNotEvicted(t *testing.T) {
	for _, scopes := range []int{MaxScopes, 2 * MaxScopes} {
		d := New()
		report := func(scope string, at, until timeline.Instant) {
			d.Report(rules(), limited("op", at, until), scope, nil, at)
		}
		report("mine", t0, in(10*minute))
		for i := range scopes {
			now := in(second + time.Duration(i))
			report(fmt.Sprint("other ", i), now, in(24*Hour))
			if i%16 == 15 {
				d.Prune(rules(), now)
			}
		}
		assert.Len(t, d.Scopes, MaxScopes)
		assert.Equal(t, in(10*minute), d.Scope("mine").PauseOf("op").Until)
		assert.Equal(t, in(24*Hour), d.Scope("other 0").PauseOf("op").Until)
		report("late", in(11*minute), in(20*minute))
		d.Prune(rules(), in(11*minute))
		assert.Nil(t, d.Scopes["mine"], "one that is over makes room")
		assert.Equal(t, in(20*minute), d.Scope("late").PauseOf("op").Until)
	}
}
