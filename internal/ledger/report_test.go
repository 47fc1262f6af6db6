package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/classify"
)

func personal(p *Report) *Report {
	p.Failing = "p"
	return p
}

func TestPersonalRejection(t *testing.T) {
	d := New()
	r := mine(d)
	r.Acquired = t0
	assert.False(t, d.heard(personal(refusal("op", in(10*second)-1))), "it may not have spread yet")
	assert.True(t, d.heard(personal(refusal("op", in(10*second)))))
	assert.Equal(t, in(10*second), r.Rejected)
	assert.False(t, d.heard(personal(refusal("op", in(10*second).Plus(Hour)-1))))
	assert.True(t, d.heard(personal(refusal("op", in(10*second).Plus(Hour)))), "it was tried again")
}

func TestPersonalSuspicion(t *testing.T) {
	d := New()
	r := mine(d)
	assert.True(t, d.heard(personal(quota("op", t0))))
	assert.True(t, r.IsSuspect(t0))
	assert.False(t, r.IsSpent(t0))
	assert.True(t, d.heard(personal(success("op", in(-1)))), "the first success is news")
	assert.True(t, r.IsSuspect(t0), "but it is older than the suspicion")
	assert.True(t, d.heard(personal(success("op", t0))))
	assert.False(t, r.IsSuspect(t0))
	assert.False(t, d.heard(personal(quota("op", t0))), "it was cleared since")
	assert.False(t, r.IsSuspect(t0))
}

func TestPersonalConfirmation(t *testing.T) {
	d := New()
	r := mine(d)
	d.heard(personal(quota("op", t0)), personal(quota("op", in(minute)-1)))
	assert.False(t, r.IsSpent(t0))
	d.heard(personal(quota("op", in(minute))))
	assert.True(t, r.IsSpent(in(minute)))
	assert.Equal(t, in(minute).Plus(Hour), r.Reset)
	assert.False(t, d.heard(personal(success("op", in(2*minute)))) && r.Spent == 0, "what is confirmed ends with its reset")
	assert.True(t, r.IsSpent(r.Reset-1))
	assert.False(t, r.IsSpent(r.Reset))
	assert.False(t, r.IsSuspect(r.Reset))
	assert.True(t, d.heard(personal(quota("op", r.Reset))))
	assert.Zero(t, r.Spent, "the time after the reset begins with a suspicion")

	d = New()
	r = mine(d)
	p := personal(quota("op", t0))
	p.None, p.Until = true, in(5*minute)
	d.heard(p)
	assert.True(t, r.IsSpent(t0))
	assert.Equal(t, in(5*minute), r.Reset)
}

func TestReportEntersThePersonalToken(t *testing.T) {
	d := New()
	own := &Token{ID: "p", Kind: Personal, Acquired: in(-Hour)}
	assert.True(t, d.Report(rules(), personal(refusal("op", t0)), "s", own, t0))
	assert.Equal(t, t0, d.Tokens["p"].Rejected)
}

func TestWouldChangeChangesNothing(t *testing.T) {
	d := New()
	held(d, "a", in(-Hour))
	d.heard(quota("op", in(-minute)), refusal("op", in(-2*minute)), limited("op", in(-minute), in(minute)))
	d.Charge(rules(), &Start{ID: "1", Scope: "s", Operation: "op", Solo: true}, in(-minute))
	before, err := d.Encode()
	require.NoError(t, err)
	for _, p := range []*Report{quota("op", t0), quota("x", t0), refusal("op", t0), success("op", t0), success("x", t0), limited("op", t0, in(Hour))} {
		assert.True(t, d.WouldChange(rules(), p, "s", nil, t0))
	}
	own := &Token{ID: "p", Kind: Personal, Acquired: in(-Hour)}
	assert.True(t, d.WouldChange(rules(), personal(refusal("op", t0)), "s", own, t0))
	assert.Zero(t, own.Rejected)
	assert.False(t, d.WouldChange(rules(), &Report{Class: "transient", Failing: "a", At: t0}, "s", nil, t0))
	after, err := d.Encode()
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

// A token may serve several scopes, and be reported from another one: what is copied must be all that is looked at.
func TestWouldChangeKnowsEveryScopeOfTheToken(t *testing.T) {
	d := New()
	r := held(d, "a", in(-Hour))
	r.Also, r.Uses = []string{"also"}, 7
	require.True(t, d.Report(rules(), success("op", in(-minute)), "s", nil, t0))
	assert.False(t, d.WouldChange(rules(), success("op", t0), "s", nil, t0), "both scopes have worked")

	lives := make([]int, 1, 4)
	lives[0] = 3
	d.ScopeFor("s").Lives = lives
	spent := quota("op", t0)
	spent.None = true
	assert.True(t, d.WouldChange(rules(), spent, "another", nil, t0))
	assert.Equal(t, []int{3, 0, 0, 0}, lives[:4], "nothing is written behind what others hold")
}

func TestCountUses(t *testing.T) {
	d := New()
	r := held(d, "a", in(-Hour))
	assert.True(t, d.CountUses(map[string]Pending{"a": {Successes: Successes{"op": {Began: t0, Uses: 3}}}, "gone": {}}))
	assert.Equal(t, 3, r.Uses)
	assert.Equal(t, 3, r.By("op").Uses)
	assert.False(t, d.CountUses(map[string]Pending{"a": {Successes: Successes{"op": {Began: in(1), Uses: 2}}}}))
	assert.Equal(t, 5, r.Uses)
}

func TestHintedPause(t *testing.T) {
	for hinted, want := range map[time.Duration]time.Duration{0: minute, second: second, 5 * minute: 5 * minute, 3 * Day: Hour} {
		p := Report{Class: classify.RateLimited, At: t0, Hints: classify.Hints{Default: hinted}}
		assert.Equal(t, Pause{t0, t0.Plus(want)}, p.RatePause(), "%v", hinted)
		p.Until = in(10 * minute)
		assert.Equal(t, Pause{t0, in(10 * minute)}, p.RatePause(), "what is stated wins over a hint of %v", hinted)
	}
}
