package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// used is a refusal that says that nothing remains, of a key whose quota period ends at the instant.
func used(operation string, at, ends timeline.Instant) *Report {
	p := quota(operation, at)
	p.None, p.PeriodEnds = true, ends
	return p
}

// doubted is the same of an upstream that does not say what remains.
func doubted(operation string, at, ends timeline.Instant) *Report {
	p := used(operation, at, ends)
	p.None = false
	return p
}

func rollingRules(length time.Duration) *Policy {
	p := rules()
	p.Manager.RollingQuota = length
	return p
}

func TestAssumedReset(t *testing.T) {
	d, r := known()
	d.heard(doubted("op", t0, in(Hour)))
	assert.Zero(t, r.By("op").Reset, "it is in doubt only")
	d.heard(doubted("op", in(minute), in(Hour)))
	e := *r.By("op")
	assert.True(t, e.Assumed)
	assert.Equal(t, in(Hour), e.Reset)
	assert.False(t, d.heard(doubted("op", in(minute+1), in(2*Hour))), "it was fixed when the token was found spent")
	d.heard(used("op", in(30*minute), in(2*Hour)))
	assert.Equal(t, in(Hour), r.By("op").Reset)
	assert.True(t, r.By("op").Refuses(in(Hour)-1))
	assert.False(t, r.By("op").Due(in(Hour)-1))
	assert.True(t, r.By("op").Due(in(Hour)))
	assert.False(t, (*Evidence)(nil).Due(in(Hour)))

	d, r = known()
	d.heard(used("op", t0, 0))
	assert.Equal(t, Evidence{Operation: "op", Quota: t0, QuotaLast: t0, Spent: true, Refusals: 1, Known: t0, Heard: t0}, *r.By("op"), "no period, no reset")
	d.heard(used("op", in(5*minute), in(Hour)))
	assert.Equal(t, in(Hour), r.By("op").Reset, "a period that is set later holds from the next refusal")
}

func TestStatedResetGoesBeforeAnAssumedOne(t *testing.T) {
	stated := used("op", in(minute), in(Hour))
	stated.Until = in(10 * minute)
	d, r := known()
	d.heard(used("op", t0, in(Hour)), stated)
	assert.Equal(t, in(10*minute), r.By("op").Reset, "also an earlier one")
	assert.False(t, r.By("op").Assumed)
	assert.False(t, d.Try(r.ID, "op", in(10*minute)), "it is for all calls at once")
	d.heard(used("op", in(2*minute), in(Hour)))
	assert.Equal(t, in(10*minute), r.By("op").Reset)
}

func TestOneCallTriesASpentToken(t *testing.T) {
	d, r := known()
	d.heard(used("a", t0, in(Hour)), used("b", in(minute), in(Hour)), used("later", in(2*minute), in(3*Hour)))
	assert.False(t, d.Try(r.ID, "a", in(Hour)-1))
	assert.False(t, d.Try(r.ID, "unknown", in(Hour)))
	require.True(t, d.Try(r.ID, "a", in(Hour)))
	assert.False(t, d.Try(r.ID, "b", in(Hour)), "what one meets, the other would")
	assert.True(t, r.By("b").Refuses(in(Hour+60*second)-1))
	assert.False(t, r.By("b").Refuses(in(Hour+60*second)))
	assert.Equal(t, in(3*Hour), r.By("later").Reset, "its turn has not come")
	assert.False(t, d.Try(r.ID, "b", in(Hour+TryEvery)-1))
	require.True(t, d.Try(r.ID, "b", in(Hour+TryEvery)), "nothing was reported")

	// A success frees it for its operation, and gives the turn to the others.
	d.heard(success("b", in(Hour+TryEvery+second)))
	assert.False(t, r.By("b").Stands())
	assert.False(t, r.By("b").Assumed)
	assert.Zero(t, r.By("b").Trying)
	assert.True(t, r.By("a").Due(in(Hour+TryEvery+second)))
	assert.Equal(t, in(3*Hour), r.By("later").Reset)

	// One that began before the try says nothing of it.
	d, r = known()
	d.heard(used("a", t0, in(Hour)), used("b", t0, in(Hour)))
	require.True(t, d.Try(r.ID, "a", in(Hour)))
	d.heard(success("c", in(Hour)-1))
	assert.False(t, r.By("b").Due(in(Hour)))
}

func TestRefusedAfterAnAssumedReset(t *testing.T) {
	refused := func(reports ...*Report) Evidence {
		d, r := known()
		d.heard(used("op", t0, in(Hour)))
		for _, p := range reports {
			d.Try(r.ID, "op", p.At)
			d.heard(p)
		}
		return *r.By("op")
	}
	e := refused(doubted("op", in(Hour), in(25*Hour)))
	assert.Equal(t, in(Hour+minute), e.Reset, "clocks differ: it is tried once more")
	assert.True(t, e.Refuses(in(Hour+minute)-1))
	e = refused(doubted("op", in(Hour), in(25*Hour)), doubted("op", in(Hour+minute), in(25*Hour)))
	assert.Equal(t, in(25*Hour), e.Reset)
	assert.Zero(t, e.Missed)
	e = refused(used("op", in(Hour), in(25*Hour)))
	assert.Equal(t, in(25*Hour), e.Reset, "the upstream states that nothing remains")
	e = refused(doubted("op", in(Hour), 0), doubted("op", in(Hour+minute), 0))
	assert.Equal(t, in(Hour+2*minute), e.Reset, "the period was taken out of the settings")

	d, r := known()
	d.heard(used("op", t0, in(Hour)))
	require.True(t, d.Try(r.ID, "op", in(Hour)))
	assert.False(t, d.heard(doubted("op", in(Hour-second), in(Hour))) && r.By("op").Reset != in(Hour+TryEvery), "of a call from before the reset")
	assert.Equal(t, in(Hour+TryEvery), r.By("op").Reset)
	assert.Zero(t, r.By("op").Missed)

	d, r = known()
	d.heard(used("op", t0, in(Hour)), doubted("op", in(2*Hour), in(25*Hour)))
	assert.True(t, r.By("op").Refuses(in(2*Hour)), "by a call that had the token in hand, and no turn")
	assert.Equal(t, in(2*Hour+minute), r.By("op").Reset)
}

func TestRollingPeriod(t *testing.T) {
	heard := func(d *Document, reports ...*Report) {
		for _, p := range reports {
			d.Report(rollingRules(5*Hour), p, "s", nil, p.At)
		}
	}
	d, r := known()
	heard(d, used("op", t0, 0))
	assert.Equal(t, in(5*Hour), r.By("op").Reset, "the first use is not known")

	d, r = known()
	heard(d, success("op", t0), success("op", in(Hour)), used("op", in(2*Hour), 0))
	assert.Equal(t, t0, r.First)
	assert.Equal(t, in(5*Hour), r.By("op").Reset)
	require.True(t, d.Try(r.ID, "op", in(5*Hour)))
	heard(d, success("op", in(5*Hour)))
	assert.Equal(t, in(5*Hour), r.First)
	heard(d, success("op", in(6*Hour)), used("op", in(9*Hour), 0))
	assert.Equal(t, in(10*Hour), r.By("op").Reset)

	d, r = known()
	heard(d, success("op", t0), used("op", in(5*Hour), 0))
	assert.Equal(t, in(10*Hour), r.By("op").Reset, "the period of the first use is over")

	d, _ = known()
	assert.True(t, d.WouldChange(rollingRules(Hour), success("op", t0), "s", nil, t0))
	heard(d, success("op", t0))
	assert.False(t, d.WouldChange(rollingRules(Hour), success("op", in(Hour)-1), "s", nil, t0))
	assert.True(t, d.WouldChange(rollingRules(Hour), success("op", in(Hour)), "s", nil, t0), "it opens a period")

	known := held(d, "b", t0)
	known.First = t0
	again := *known
	again.First = 0
	d.Insert(rules(), &again)
	assert.Equal(t, t0, d.Tokens["b"].First, "the same value again")
}

func TestClearSuspicionClearsATry(t *testing.T) {
	d, r := known()
	d.heard(used("op", t0, in(Hour)))
	require.True(t, d.Try(r.ID, "op", in(Hour)))
	r.ClearSuspicion()
	e := r.By("op")
	assert.False(t, e.Assumed)
	assert.Zero(t, e.Trying)
	assert.Zero(t, e.Missed)
}

// The personal token follows the same rules; all that is said of it, everybody has said.
func TestAssumedResetOfThePersonalToken(t *testing.T) {
	about := func(p *Report) *Report { p.Failing = "p"; return p }
	spent := func(reports ...*Report) (*Document, *Token) {
		d := New()
		r := mine(d)
		for _, p := range append([]*Report{about(used("", t0, in(12*Hour)))}, reports...) {
			d.heard(p)
		}
		return d, r
	}
	d, r := spent(about(used("", in(minute), in(36*Hour))))
	assert.Equal(t, in(12*Hour), r.Reset, "it was fixed when the token was found spent")
	assert.False(t, r.Due(in(12*Hour)-1))
	assert.True(t, r.Due(in(12*Hour)))
	assert.False(t, d.Try("p", "", in(12*Hour)-1))
	require.True(t, d.Try("p", "a", in(12*Hour)))
	assert.False(t, d.Try("p", "b", in(12*Hour)), "one call at a time")
	assert.False(t, d.Try("p", "b", in(12*Hour)+timeline.Instant(TryEvery)-1))
	assert.False(t, d.heard(about(success("", in(12*Hour)-1))) && !r.IsSpent(in(12*Hour)), "it began before the try")
	require.True(t, d.Try("p", "b", in(12*Hour)+timeline.Instant(TryEvery)), "nothing was reported")
	assert.True(t, d.heard(about(success("", in(13*Hour)))))
	assert.Equal(t, Evidence{}, r.quota())
	assert.False(t, r.Due(in(20*Hour)))

	d, r = spent()
	require.True(t, d.Try("p", "", in(12*Hour)))
	d.heard(about(doubted("", in(12*Hour+second), in(36*Hour))))
	assert.Equal(t, in(12*Hour+second+minute), r.Reset, "clocks differ: it is tried once more")
	d.heard(about(doubted("", in(12*Hour+2*second), in(36*Hour))))
	assert.Equal(t, in(12*Hour+second+minute), r.Reset, "of a call that had no turn")
	require.True(t, d.Try("p", "", r.Reset))
	d.heard(about(doubted("", in(12*Hour+2*minute), in(36*Hour))))
	assert.Equal(t, in(36*Hour), r.Reset)
	_, r = spent(about(used("", in(12*Hour), in(36*Hour))))
	assert.Equal(t, in(36*Hour), r.Reset, "the upstream states that nothing remains")

	stated := about(used("", in(minute), in(12*Hour)))
	stated.Until = in(5 * minute)
	d, r = spent(stated)
	assert.Equal(t, Evidence{Spent: true, Reset: in(5 * minute)}, r.quota(), "a stated reset goes before it")
	assert.False(t, d.Try("p", "", in(5*minute)), "and is for all calls at once")

	d = New()
	r = mine(d)
	d.heard(about(used("", t0, 0)))
	assert.Equal(t, Evidence{Spent: true, Reset: t0.Plus(PersonalAgain)}, r.quota(), "no period")

	d, r = spent()
	require.True(t, d.Try("p", "", in(12*Hour)))
	r.ClearSuspicion()
	assert.Equal(t, Evidence{}, r.quota())

	// A rolling period begins with the first success.
	d = New()
	r = mine(d)
	for _, p := range []*Report{about(success("", t0)), about(success("", in(Hour))), about(used("", in(2*Hour), 0))} {
		d.Report(rollingRules(5*Hour), p, "", nil, p.At)
	}
	assert.Equal(t, in(5*Hour), r.Reset)
}

// A record without a value is forgotten a week after its last refusal, but not before its quota is full again.
func TestSpentPersonalTokenStaysKnownUntilItsReset(t *testing.T) {
	d := New()
	r := mine(d)
	p := used("", t0, in(20*Day))
	p.Failing = r.ID
	d.heard(p)
	r.Value = ""
	d.sweepTokens(rules(), in(19*Day))
	require.NotNil(t, d.Tokens[r.ID])
	d.sweepTokens(rules(), in(20*Day))
	assert.Nil(t, d.Tokens[r.ID])
}

// Whatever was lost, the later reset holds, and an instant of a clock that was ahead is pulled in.
func TestAssumedResetOfThePersonalTokenIsRecovered(t *testing.T) {
	known := New()
	r := mine(known)
	p := used("", t0, in(12*Hour))
	p.Failing = r.ID
	known.heard(p)
	d := New()
	mine(d)
	require.True(t, d.merge(known))
	assert.Equal(t, r.quota(), d.Tokens["p"].quota())
	d.Tokens["p"].Trying = in(48 * Hour)
	assert.NotEmpty(t, d.ClampFuture(t0))
	assert.Equal(t, t0, d.Tokens["p"].Trying)
}
