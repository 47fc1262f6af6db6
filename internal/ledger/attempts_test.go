package ledger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestCharge(t *testing.T) {
	d := New()
	a := d.Charge(rules(), &Start{ID: "1", Scope: "s", Owner: "o", Class: "quota_exhausted", Template: "x", Operation: "op", New: true}, t0)
	assert.Equal(t, Attempt{ID: "1", Seq: 1, Scope: "s", Owner: "o", Start: t0, End: in(30 * second), Running: true, Operation: "op", Named: true, New: true}, a)
	assert.Equal(t, []Attempt{a}, d.Attempts)
	assert.Equal(t, t0, d.Scope("s").LastStart)
	assert.Equal(t, []Trigger{{Seq: 1, Start: t0, Scope: "s", Class: "quota_exhausted", Template: "x"}}, d.Triggers)
	assert.Equal(t, uint64(1), d.Counts.Starts)
	d.Charge(rules(), &Start{ID: "2", Scope: "s"}, t0)
	assert.Len(t, d.Triggers, 1, "a start without a failure is nobody's duplicate")
}

func ended(a Attempt, at timeline.Instant, class string) *Completion {
	c := &Completion{Attempt: a, End: at}
	if class == "" {
		c.Token = &Token{ID: "t" + a.ID, Kind: Anonymous, Scope: a.Scope, Acquired: at, Value: "v", Seq: a.Seq}
	} else {
		c.Failed = Streak{ID: a.ID, At: at, Class: class}
	}
	return c
}

func TestCompleteInTime(t *testing.T) {
	d := New()
	d.Failures = Streak{Count: 3, At: in(-Hour)}
	d.ScopeFor("s").Closed = Pause{in(-Hour), in(-minute)}
	d.ScopeFor("s").Refusals = 2
	a := d.Charge(rules(), &Start{ID: "1", Scope: "s"}, t0)
	require.True(t, d.Complete(rules(), ended(a, in(second), "")))
	assert.Equal(t, in(second), d.Attempts[0].End)
	assert.Equal(t, "succeeded", d.Attempts[0].State(in(second)))
	assert.Zero(t, d.Failures)
	assert.Zero(t, d.Scope("s").Closed)
	assert.Zero(t, d.Scope("s").Refusals)
	assert.Equal(t, "t1", d.Newest("s").ID)

	assert.False(t, d.Complete(rules(), ended(a, in(2*second), "transient")), "an end is entered once")
	assert.Zero(t, d.Failures.Count)
	assert.False(t, d.Complete(rules(), ended(Attempt{ID: "gone"}, t0, "transient")))
	assert.True(t, d.Complete(rules(), ended(Attempt{ID: "gone", Scope: "s", Seq: 9}, t0, "")), "a token is kept whenever it comes")
}

func TestCompleteFenced(t *testing.T) {
	d := New()
	d.Failures = Streak{Count: 3, At: t0}
	a := d.Charge(rules(), &Start{ID: "1", Scope: "s"}, t0)
	require.True(t, d.Complete(rules(), ended(a, in(30*second), "")))
	assert.Equal(t, 3, d.Failures.Count)
	assert.NotNil(t, d.Newest("s"))

	// Others have already ended it, and this process' clock is behind.
	b := d.Charge(rules(), &Start{ID: "2", Scope: "s"}, in(minute))
	d.Prune(rules(), in(2*minute))
	require.True(t, d.Complete(rules(), ended(b, in(minute+second), "")))
	assert.Equal(t, in(90*second), d.Attempts[1].End)
	c := d.Charge(rules(), &Start{ID: "3", Scope: "s"}, in(3*minute))
	require.True(t, d.Complete(rules(), ended(c, in(Hour), "")))
	assert.Equal(t, in(Hour), d.Attempts[2].End, "it may have asked when it went on")
}

func TestCompleteFailures(t *testing.T) {
	d := New()
	for n := 1; n <= 3; n++ {
		a := d.Charge(rules(), &Start{ID: string(rune('0' + n)), Scope: "s"}, in(time.Duration(n)*minute))
		require.True(t, d.Complete(rules(), ended(a, in(time.Duration(n)*minute+second), classify.Transient)))
		assert.Equal(t, n, d.Failures.Count)
	}
	assert.Equal(t, in(3*minute+second), d.Failures.At)
	assert.Equal(t, "failed", d.Attempts[0].State(in(Hour)))
	assert.Equal(t, map[string]uint64{classify.Transient: 3}, d.Counts.Failures)
	assert.Zero(t, d.Scope("s").Refusals)
}

func TestKeyBackoffIsASetting(t *testing.T) {
	policy := rules()
	policy.RateLimit.KeyBackoffBase, policy.RateLimit.MaxKeyBackoff = 10*minute, 25*minute
	d := New()
	at := t0
	for n, minutes := range []time.Duration{10, 20, 25, 25} {
		a := d.Charge(policy, &Start{ID: string(rune('a' + n)), Scope: "s"}, at)
		require.True(t, d.Complete(policy, ended(a, at, classify.Forbidden)))
		assert.Equal(t, at.Plus(minutes*minute), d.Scope("s").Closed.Until)
		at = at.Plus(Day)
	}
}

func TestCompleteClosesTheScope(t *testing.T) {
	for _, class := range []string{classify.Forbidden, classify.ClientError, classify.AuthInvalid} {
		d := New()
		at := t0
		for n, hours := range []int{1, 2, 4, 8, 16, 24, 24} {
			a := d.Charge(rules(), &Start{ID: string(rune('a' + n)), Scope: "s"}, at)
			require.True(t, d.Complete(rules(), ended(a, at, class)))
			assert.Equal(t, Pause{at, at.Plus(time.Duration(hours) * Hour)}, d.Scope("s").Closed, class)
			assert.Equal(t, n+1, d.Scope("s").Last.Count)
			at = d.Scope("s").Closed.Until.Plus(Day - 1)
		}
		assert.Zero(t, d.Failures, "%s is no failure of the upstream", class)
		assert.Equal(t, class, d.LastFailure().Class)
	}
}

func TestCompleteKeepsTheLongerPause(t *testing.T) {
	d := New()
	d.Pause = Pause{t0, in(Hour)}
	for until, want := range map[time.Duration]time.Duration{30 * minute: Hour, 2 * Hour: 2 * Hour} {
		c := d.Clone()
		a := c.Charge(rules(), &Start{ID: "1", Scope: "s"}, t0)
		done := ended(a, t0, classify.Transient)
		done.Pause = Pause{t0, in(until)}
		c.Complete(rules(), done)
		assert.Equal(t, in(want), c.Pause.Until)
	}
}

func TestAdopt(t *testing.T) {
	d := New()
	fetched := func() *Token { return &Token{ID: "a", Kind: Anonymous, Scope: "s", Acquired: t0, Value: "v"} }
	require.True(t, d.Adopt(rules(), fetched(), "1", "o", t0))
	require.Len(t, d.Attempts, 1)
	assert.Equal(t, "adopted", d.Attempts[0].State(t0))
	assert.Equal(t, t0, d.Scope("s").LastStart)
	assert.True(t, d.AcquiredBy(d.Tokens["a"], "o"))
	assert.False(t, d.AcquiredBy(d.Tokens["a"], "other"))
	assert.False(t, d.Adopt(rules(), fetched(), "2", "o", t0))
	assert.Len(t, d.Attempts, 1)
	d.Tokens["a"].DropValue()
	assert.True(t, d.Adopt(rules(), fetched(), "3", "o", t0), "its value was lost")
	assert.Len(t, d.Attempts, 2)
}

func TestClear(t *testing.T) {
	fill := func() *Document {
		d := New()
		held(d, "a", in(-Hour))
		held(d, "b", in(-Hour))
		q := quota("op", in(-minute))
		d.heard(q)
		q = quota("op", in(-minute))
		q.Failing = "b"
		d.heard(q, limited("op", in(-minute), in(Hour)))
		d.Failures, d.Pause = Streak{Count: 2, At: t0}, Pause{t0, in(Hour)}
		d.ScopeFor("s").Closed = Pause{t0, in(Hour)}
		return d
	}
	d := fill()
	assert.True(t, d.Clear(Clearing{Suspicion: "a"}, t0))
	assert.False(t, d.Tokens["a"].By("op").Suspects(t0))
	assert.True(t, d.Tokens["b"].By("op").Suspects(t0))
	assert.False(t, d.Clear(Clearing{Suspicion: "a"}, t0), "nothing is left to lift")
	assert.True(t, d.Clear(Clearing{Suspicion: "*"}, t0))
	assert.False(t, d.Tokens["b"].By("op").Suspects(t0))
	assert.Equal(t, 2, d.Failures.Count)

	d = fill()
	assert.True(t, d.Clear(Clearing{Backoff: true}, t0))
	assert.Zero(t, d.Failures)
	assert.Zero(t, d.Scope("s").Closed)
	assert.Equal(t, t0, d.Scope("s").Lifted)
	assert.NotZero(t, d.Pause)
	assert.True(t, d.Tokens["a"].By("op").Suspects(t0))

	d = fill()
	assert.True(t, d.Clear(Clearing{RetryAfter: true}, t0))
	assert.Zero(t, d.Pause)
	assert.Zero(t, d.Scope("s").PauseOf("op"))
	assert.Zero(t, d.Scope("s").Pause.Until)
	assert.False(t, d.Report(rules(), limited("op", in(-minute), in(Hour)), "s", nil, in(1)), "who waits reports the same again")
	assert.True(t, d.Report(rules(), limited("op", in(1), in(Hour)), "s", nil, in(1)))
	assert.Equal(t, 2, d.Failures.Count)

	d = fill()
	d.Scope("s").Pauses = nil // of the many that are remembered, this one was forgotten
	assert.True(t, d.Clear(Clearing{RetryAfter: true}, t0))
	assert.False(t, d.Report(rules(), limited("op", in(-minute), in(Hour)), "s", nil, in(1)))
}

// What a scope was refused counts until a day after it opened again, whether or not anything was committed meanwhile.
func TestAStartForgetsOldRefusals(t *testing.T) {
	for after, want := range map[time.Duration]int{Day - 1: 2, Day: 0} {
		d := New()
		k := d.ScopeFor("s")
		k.LastStart, k.Closed, k.Refusals = t0, Pause{t0, in(Hour)}, 2
		now := in(Hour + after)
		d.Charge(rules(), &Start{ID: "a", Scope: "s"}, now)
		assert.Equal(t, want, d.Scope("s").Refusals, "after %v", after)
		assert.Equal(t, now, d.Scope("s").LastStart)
	}
}

// A token that is adopted again serves the other scope as well, until the later of its ends; it is no second start.
func TestAdoptOfAKnownToken(t *testing.T) {
	adopted := func(scope string, end timeline.Instant) *Token {
		return &Token{ID: "t", Kind: Anonymous, Scope: scope, Acquired: t0, Expiry: end, WallExpiry: end, Value: "v"}
	}
	d := New()
	require.True(t, d.Adopt(rules(), adopted("s", in(Hour)), "1", "o", t0))
	assert.False(t, d.Adopt(rules(), adopted("s", in(Hour+second)), "2", "o", t0), "about the same end")
	assert.False(t, d.Adopt(rules(), adopted("s", in(minute)), "2", "o", t0), "an earlier end")
	assert.False(t, d.Adopt(rules(), adopted("s", 0), "2", "o", t0), "no end that is stated")
	assert.True(t, d.Adopt(rules(), adopted("other", in(minute)), "2", "o", t0))
	assert.Equal(t, []*Token{d.Tokens["t"]}, d.ByScope.Of("other"))
	assert.Equal(t, in(Hour), d.Tokens["t"].Expiry)
	assert.True(t, d.Adopt(rules(), adopted("other", in(Hour+2*second)), "2", "o", t0))
	assert.Equal(t, in(Hour+2*second), d.Tokens["t"].Expiry)
	assert.Equal(t, in(Hour+2*second), d.Tokens["t"].WallExpiry)
	for n := range 2 * maxAlso {
		d.Adopt(rules(), adopted(string(rune('a'+n)), in(Hour)), "2", "o", t0)
	}
	assert.Len(t, d.Tokens["t"].Also, maxAlso)
	assert.Len(t, d.Attempts, 1)
}

// A late refusal of an older attempt shortens no closing that came since.
func TestALateRefusalFreesNothing(t *testing.T) {
	d := New()
	a := d.Charge(rules(), &Start{ID: "a", Scope: "s"}, t0)
	d.Complete(rules(), ended(a, in(30*second), classify.Transient))
	b := d.Charge(rules(), &Start{ID: "b", Scope: "s"}, in(100*minute))
	d.Complete(rules(), ended(b, in(101*minute), classify.ClientError))
	was := d.Scope("s").Closed.Until
	late := ended(a, in(minute), classify.ClientError)
	d.FailLate(rules(), late)
	assert.GreaterOrEqual(t, d.Scope("s").Closed.Until, was, "freed")
}

// Nor does a late ban move the backoff back.
func TestALateBanFreesNothing(t *testing.T) {
	d := New()
	a := d.Charge(rules(), &Start{ID: "a", Scope: "s"}, t0)
	d.Complete(rules(), ended(a, in(30*second), classify.Transient))
	b := d.Charge(rules(), &Start{ID: "b", Scope: "o"}, in(30*minute))
	d.Complete(rules(), ended(b, in(31*minute), classify.Transient))
	was := d.Failures
	late := ended(a, in(minute), classify.Forbidden)
	late.Banned = true
	d.FailLate(rules(), late)
	assert.GreaterOrEqual(t, d.Failures.At, was.At, "freed")
}

// A known value without a stated end gets one.
func TestAdoptStatesAnEnd(t *testing.T) {
	d := New()
	mk := func() *Token { return &Token{ID: "t", Kind: Anonymous, Scope: "s", Acquired: t0, Value: "v"} }
	d.Adopt(rules(), mk(), "1", "o", t0)
	n := mk()
	n.Expiry, n.WallExpiry = in(minute), in(minute)
	d.Adopt(rules(), n, "2", "o", t0)
	_, ends := rules().Expiry(d.Tokens["t"])
	assert.Equal(t, in(minute), ends)
}

// A key that had a token since is not closed by the late refusal of an older attempt.
func TestALateRefusalBesideANewerToken(t *testing.T) {
	for token, want := range map[bool]bool{false: true, true: false} {
		d := New()
		a := d.Charge(rules(), &Start{ID: "a", Scope: "s"}, t0)
		d.Complete(rules(), ended(a, in(30*second), classify.Transient))
		if token {
			b := d.Charge(rules(), &Start{ID: "b", Scope: "s"}, in(10*minute))
			d.Complete(rules(), ended(b, in(10*minute), ""))
		}
		assert.Equal(t, want, d.FailLate(rules(), ended(a, in(20*minute), classify.ClientError)))
		assert.Equal(t, want, d.Scope("s").Closed.Until != 0)
	}
}

// A late ban that is entered before its attempt is known to have failed is one failure with it.
func TestALateBanBeforeItsAttemptHasFailed(t *testing.T) {
	d := New()
	a := d.Charge(rules(), &Start{ID: "a", Scope: "s"}, t0)
	late := ended(a, in(31*second), classify.Forbidden)
	late.Banned = true
	assert.True(t, d.FailLate(rules(), late))
	assert.True(t, d.Complete(rules(), ended(a, in(32*second), classify.Transient)))
	assert.Equal(t, []int{1, 1}, []int{d.Failures.Count, d.Failures.Banned})
	assert.Equal(t, classify.Forbidden, d.Failures.Class, "the cause is what the upstream said")
	assert.False(t, d.FailLate(rules(), late))
}
