package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestRecoverNoticesALoss(t *testing.T) {
	for name, c := range map[string]struct {
		settled bool
		epoch   string
		line    Lineage
		anew    bool
		lost    bool
	}{
		"the first of all":                   {line: Lineage{Epoch: "e", Empty: true}},
		"the same lineage":                   {settled: true, epoch: "e", line: Lineage{Rev: 3, Epoch: "e"}},
		"one that was made before it had it": {line: Lineage{Rev: 3, Epoch: "e"}},
		"begun anew":                         {line: Lineage{Epoch: "e", Empty: true}, anew: true, lost: true},
		"the document is gone":               {line: Lineage{Rev: 3, Epoch: "e", Empty: true}, lost: true},
		"another lineage":                    {settled: true, epoch: "e", line: Lineage{Rev: 3, Epoch: "f"}, lost: true},
		"another, not settled":               {epoch: "e", line: Lineage{Rev: 3, Epoch: "f"}, lost: true},
		"the lineage is gone":                {settled: true, epoch: "e", line: Lineage{Rev: 3}, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := New()
			d.Settled, d.Epoch = c.settled, c.epoch
			found := d.Recover(c.line, c.anew, nil, nil, t0)
			if c.lost {
				assert.Equal(t, t0, d.Lost)
				assert.Len(t, found, 1)
			} else {
				assert.Zero(t, d.Lost)
				assert.Empty(t, found)
			}
			assert.Equal(t, c.line.Epoch, d.Epoch)
			assert.Equal(t, c.settled || c.line.Rev > 0, d.Settled)
		})
	}
}

func TestRecoverChargesOwnAttemptsAgain(t *testing.T) {
	d := New()
	d.Charged(Attempt{ID: "there", Seq: 1, End: t0})
	own := []Attempt{{ID: "there", Seq: 1, End: t0}, {ID: "missing", Seq: 7, End: in(-Day) + 1}, {ID: "old", Seq: 9, End: in(-Day)}}
	found := d.Recover(Lineage{}, false, own, nil, t0)
	require.Len(t, d.Attempts, 2)
	assert.Equal(t, "missing", d.Attempts[0].ID)
	assert.Equal(t, uint64(7), d.Seq)
	assert.Len(t, found, 1)
}

func TestRecoverCarriesOver(t *testing.T) {
	lost := New()
	held(lost, "a", in(-Hour))
	held(lost, "b", in(-Hour))
	lost.heard(refusal("op", in(-minute)), limited("op", in(-minute), in(Hour)), success("x", in(-minute)))
	lost.Charge(rules(), &Start{ID: "1", Scope: "s", Class: "auth_invalid", Template: "x"}, in(-minute))
	lost.Failures, lost.Pause = Streak{Count: 2, At: in(-minute)}, Pause{in(-minute), in(Hour)}
	lost.ScopeFor("s").Closed, lost.ScopeFor("s").Refusals = Pause{in(-minute), in(Hour)}, 3
	lost.ScopeFor("s").Lifted, lost.ScopeFor("s").Lives = in(-Hour), []int{7}
	lost.Tokens["b"].Rejected = in(-minute)

	d := New()
	held(d, "b", in(-Hour))
	d.Pause = Pause{in(-minute), in(minute)}
	found := d.Recover(Lineage{Rev: 1, Epoch: "f"}, true, nil, lost, t0)
	assert.Len(t, found, 2)
	require.Len(t, d.Attempts, 1)
	assert.Equal(t, lost.Attempts[0], d.Attempts[0])
	assert.Equal(t, lost.Triggers, d.Triggers)
	assert.Equal(t, lost.Failures, d.Failures)
	assert.Equal(t, lost.Pause, d.Pause)
	assert.Equal(t, lost.Scope("s"), d.Scope("s"))
	assert.Equal(t, lost.Tokens["a"], d.Tokens["a"])
	assert.Equal(t, in(-minute), d.Tokens["b"].Rejected)
	assert.Equal(t, uint64(3), d.Seq)
	d.Tokens["a"].Evidence[0].Refused = 1
	assert.NotEqual(t, timeline.Instant(1), lost.Tokens["a"].Evidence[0].Refused, "nothing is shared with the lost document")

	// What operations have seen is carried over one by one: a backup knows some of it.
	d = New()
	held(d, "a", in(-Hour))
	d.heard(success("another", in(-30*minute)))
	d.Recover(Lineage{Rev: 1, Epoch: "f"}, true, nil, lost, t0)
	assert.True(t, d.Tokens["a"].By("op").Refuses(t0))
	assert.NotZero(t, d.Tokens["a"].By("another").Success)

	// What is stricter here stays.
	d = New()
	d.Pause, d.Failures = Pause{t0, in(2 * Hour)}, Streak{Count: 5, At: t0}
	d.Recover(Lineage{}, false, nil, lost, t0)
	assert.Equal(t, in(2*Hour), d.Pause.Until)
	assert.Equal(t, 5, d.Failures.Count)
	assert.False(t, d.merge(lost), "once is enough")
}

func TestClampFuture(t *testing.T) {
	fill := func(at timeline.Instant) *Document {
		d := New()
		d.Attempts = []Attempt{{ID: "1", Start: at, End: at, Landed: true}}
		d.Failures.At, d.Clock.Last, d.Lost, d.Swept = at, at, at, at
		d.Pause = Pause{at, at.Plus(60 * Day)}
		k := d.ScopeFor("s")
		k.LastStart, k.PauseFree, k.Lifted, k.Pause, k.Closed = at, at, at, Pause{at, at.Plus(minute)}, Pause{at, at.Plus(Hour)}
		k.Last.At = at
		d.Limits = []PeerLimits{{PerHour: 1, At: at}}
		k.Pauses = []OperationPause{{"op", Pause{at, at.Plus(Hour)}, true}}
		d.Triggers = []Trigger{{Start: at}}
		d.Tokens["a"] = &Token{ID: "a", Kind: Anonymous, Scope: "s", Acquired: at, Expiry: at.Plus(2 * Hour), Suspect: at, Heard: at, Spent: at, Reset: at.Plus(9 * Day),
			Rejected: at, Used: at, FreshRefused: at, Evidence: []Evidence{{Success: at, Refused: at, RefusedLast: at, Quota: at, QuotaLast: at, Known: at, Heard: at, Reset: at.Plus(20 * Day)}}}
		d.Index()
		return d
	}
	near := in(Day + Hour)
	d := fill(near)
	assert.Empty(t, d.ClampFuture(t0), "a step back of the clock frees nothing")
	assert.Equal(t, fill(near), d)

	d = fill(near + 1)
	assert.Equal(t, ClockBack, d.ClampFuture(t0))
	want := fill(t0)
	want.Pause.Until = in(31 * Day)
	assert.Equal(t, want, d)
	assert.Empty(t, d.ClampFuture(t0))

	// A pause keeps its length from when it began: one that began in time is not too far ahead, however long it is.
	d = New()
	d.Pause = Pause{t0, in(20 * Day)}
	assert.Empty(t, d.ClampFuture(t0))
}

// Where the store brings back an attempt without its end, and this process knows the end, it stays known.
func TestMergeKeepsTheEndOfAnAttempt(t *testing.T) {
	d, known := New(), New()
	a := d.Charge(rules(), &Start{ID: "a", Scope: "s"}, t0)
	known.Charged(a)
	require.True(t, known.Complete(rules(), &Completion{Attempt: a, End: in(2 * second), Failed: Streak{Class: "transient"}}))
	require.True(t, d.merge(known))
	require.Len(t, d.Attempts, 1)
	assert.True(t, d.Attempts[0].Landed && d.Attempts[0].Failed)
	assert.Equal(t, in(2*second), d.Attempts[0].End)
	known.merge(d)
	assert.True(t, known.Attempts[0].Landed, "nor does the other way round lose it")
}

// A clock that steps back and comes right again, as where a store fails over to a machine that is behind, ends nothing
// early: what is in progress holds to its own end, also after the second time.
func TestASwingOfTheClockFreesNoLease(t *testing.T) {
	d := New()
	a := d.Charge(rules(), &Start{ID: "1", Scope: "s"}, t0)
	held(d, "a", in(-Hour))
	d.Tokens["a"].Identity = &Identity{ID: "i", Hash: "h", Since: in(-Hour), Lease: Lease{ID: "l", Start: t0, End: a.End}}
	check := func(now timeline.Instant, holds bool) {
		t.Helper()
		i := d.Tokens["a"].Identity
		n, _ := i.Failures(now)
		assert.Equal(t, holds, d.Attempts[0].InProgress(now))
		assert.Equal(t, holds, i.Lease.Holds(now))
		assert.Equal(t, holds, n == 0)
	}
	for _, second := range []timeline.Instant{in(2 * second), in(12 * second)} {
		assert.NotEmpty(t, d.ClampFuture(second-timeline.Instant(minute)))
		check(second-timeline.Instant(minute), true)
		d.Prune(rules(), second-timeline.Instant(minute))
		assert.Empty(t, d.ClampFuture(second), "it comes right, which is none worth telling")
		check(second, true)
	}
	check(a.End-1, true)
	check(a.End, false)
}

// What is in progress ends within its own length after a step back, of hours or of days, and is not ended before. The
// windows count it by the end that it had, as far as they count any.
func TestClampFutureOfWhatIsInProgress(t *testing.T) {
	for _, back := range []time.Duration{10 * second, Hour, 25 * Hour, 26 * Hour, 400 * Day} {
		d := New()
		a := d.Charge(rules(), &Start{ID: "1", Scope: "s"}, t0)
		length := a.End.Sub(a.Start)
		held(d, "a", in(-Hour))
		d.Tokens["a"].Identity = &Identity{ID: "i", Hash: "h", Since: in(-Hour), Lease: Lease{ID: "l", Start: t0, End: in(minute)}}
		now := in(-back)
		assert.NotEmpty(t, d.ClampFuture(now), back)
		assert.Empty(t, d.ClampFuture(now), "once is enough")
		got := &d.Attempts[0]
		until := func(length time.Duration, end timeline.Instant) timeline.Instant {
			if now.Plus(length) >= t0 && back < Hour {
				return end // the clock has come to the start again: the end is its own
			}
			return now.Plus(length)
		}
		assert.True(t, got.InProgress(until(length, a.End)-1), back)
		assert.False(t, got.InProgress(until(length, a.End)), back)
		assert.Equal(t, now.Plus(length), got.LeaseEnd(now), back)
		if back <= 25*Hour-length {
			assert.Equal(t, a.End, got.End, back)
		}
		assert.GreaterOrEqual(t, got.End, now.Plus(length), back)
		assert.GreaterOrEqual(t, got.End, got.Start, back)
		l := d.Tokens["a"].Identity.Lease
		assert.True(t, l.Holds(until(minute, in(minute))-1), back)
		assert.False(t, l.Holds(until(minute, in(minute))), back)
		assert.Equal(t, now.Plus(minute), l.EndsAt(now), back)

		again := now.Plus(-Hour)
		assert.NotEmpty(t, d.ClampFuture(again), "each step back")
		assert.Equal(t, again.Plus(length), d.Attempts[0].LeaseEnd(again), back)

		require.True(t, d.Complete(rules(), ended(a, again.Plus(second), "")), "its end within its lease is in time")
		assert.Zero(t, d.Attempts[0].Behind)
		assert.False(t, d.Attempts[0].InProgress(again))
	}

	d := New()
	d.Charge(rules(), &Start{ID: "1", Scope: "s"}, t0)
	assert.Empty(t, d.ClampFuture(in(-leaseSlack)), "a clock that is set by a little is none worth telling")
	assert.Zero(t, d.Attempts[0].Behind)
	d.Prune(rules(), in(-leaseSlack))
	assert.True(t, d.Attempts[0].Running)
	d.ClampFuture(in(-Hour))
	d.Prune(rules(), in(-Hour+30*second))
	assert.False(t, d.Attempts[0].Running, "killed")
}
