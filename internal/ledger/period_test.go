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
