package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

func TestDecodeChecksTheVersion(t *testing.T) {
	_, err := Decode([]byte(`{"version":3}`))
	assert.ErrorIs(t, err, errNewer)
	_, err = Decode([]byte(`{"version":0}`))
	assert.ErrorContains(t, err, "names version 0")
	_, err = Decode([]byte(`{"version":-1}`))
	assert.ErrorContains(t, err, "names version -1")
	_, err = Decode([]byte(`{"version":1,`))
	assert.ErrorContains(t, err, "does not decode")
	d, err := Decode([]byte(`{"version":1,"keys":null,"tokens":{"a":null}}`))
	require.NoError(t, err)
	assert.Empty(t, d.Tokens)
	assert.NotNil(t, d.Scopes)
}

func TestEncodeRoundTrip(t *testing.T) {
	d := New()
	held(d, "a", in(-Hour))
	d.Charge(rules(), &Start{ID: "1", Scope: "s", Class: "auth_invalid", Template: "x", Operation: "op", Solo: true}, t0)
	d.heard(quota("op", in(minute)), limited("op", in(minute), in(Hour)), success("other", in(2*minute)))
	d.Failures, d.Pause = Streak{Count: 2, At: t0, Text: "no"}, Pause{t0, in(minute)}
	data, err := d.Encode()
	require.NoError(t, err)
	got, err := Decode(data)
	require.NoError(t, err)
	assert.Equal(t, d, got)
}

// Documents of before evidence was kept by operation.
func TestDecodeMigrates(t *testing.T) {
	d, err := Decode([]byte(`{"version":1,"tokens":{
		"a":{"kind":"anonymous","scope":"s","acquired":1,"suspect":5,"spent":9,"reset":50,"heard":7},
		"b":{"kind":"anonymous","scope":"s","acquired":1,"suspect":5},
		"c":{"kind":"anonymous","scope":"s","acquired":1,"rejected":5},
		"p":{"kind":"personal","acquired":1,"suspect":5,"spent":9}}}`))
	require.NoError(t, err)
	a := d.Tokens["a"]
	require.Len(t, a.Evidence, 1)
	assert.Equal(t, Evidence{Quota: 5, QuotaLast: 7, Spent: true, Reset: 50, Refusals: 1, Heard: 9}, a.Evidence[0])
	assert.Zero(t, [4]timeline.Instant{a.Suspect, a.Spent, a.Reset, a.Heard}, "nothing is left that counts for everybody")
	assert.False(t, d.Tokens["b"].Evidence[0].Spent)
	assert.Equal(t, timeline.Instant(5), d.Tokens["c"].Rejected)
	assert.Equal(t, timeline.Instant(9), d.Tokens["p"].Spent)
	assert.Empty(t, d.Tokens["p"].Evidence)
}

func TestCloneSharesNothing(t *testing.T) {
	d := New()
	held(d, "a", in(-Hour))
	d.Charge(rules(), &Start{ID: "1", Scope: "s", Class: "auth_invalid"}, in(-minute))
	d.heard(refusal("op", in(-minute)), limited("op", t0, in(Hour)))
	before, err := d.Encode()
	require.NoError(t, err)
	c := d.Clone()
	c.Tokens["a"].Evidence[0].Refused = 1
	c.Tokens["a"].Value = "other"
	c.Attempts[0].End = 1
	c.Triggers[0].Seq = 99
	c.Scopes["s"].Pauses[0].Until = 1
	c.Scopes["s"].LastStart = 1
	after, err := d.Encode()
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

func TestIndexPutsTheNewestFirst(t *testing.T) {
	d := New()
	for i, id := range []string{"a", "b", "c"} {
		held(d, id, in(-time.Duration(i)*minute)) // numbers go before instants: clocks differ
	}
	assert.Equal(t, "c", d.Newest("s").ID)
	assert.Equal(t, "c", d.Latest().ID)
	assert.Equal(t, "a", d.ByScope.Of("s")[2].ID)
	assert.Nil(t, d.Newest("other"))
}

func TestAttemptsAreInTheOrderOfTheirEnds(t *testing.T) {
	d := New()
	d.Charged(Attempt{ID: "long", Start: in(0), End: in(Hour)})
	d.Charged(Attempt{ID: "short", Start: in(minute), End: in(2 * minute)})
	assert.Equal(t, "short", d.Attempts[0].ID)
}

func TestPruneAttempts(t *testing.T) {
	policy := rules()
	d := New()
	for i := range 30 {
		d.Charged(Attempt{ID: fmt.Sprint(i), End: in(-Day - time.Duration(30-i)*minute)})
	}
	d.Prune(policy, t0)
	assert.Len(t, d.Attempts, policy.RateLimit.MaxRequestsPerDay, "the last ones stay whatever the clock says")
	assert.Equal(t, "29", d.Attempts[len(d.Attempts)-1].ID)

	d = New()
	for i := range 30 {
		d.Charged(Attempt{ID: fmt.Sprint(i), End: in(-Day + 1)})
	}
	d.Prune(policy, t0)
	assert.Len(t, d.Attempts, 30, "within the day all count")
}

func TestPruneForgetsWhoseAttempts(t *testing.T) {
	policy := rules()
	d := New()
	for i := range maxNamed + 3 {
		a := d.Charge(policy, &Start{ID: fmt.Sprint(i), Scope: "s", Operation: "op", Solo: i == 0}, in(time.Duration(i)*second))
		d.Complete(policy, &Completion{Attempt: a, End: a.Start, Token: &Token{ID: "t", Scope: "s", Value: "v"}})
	}
	d.Prune(policy, in(Hour))
	named := func(i int) string { return d.Attempts[i].Operation }
	assert.Equal(t, "op", named(0), "the rules still ask for it")
	assert.Empty(t, named(1))
	assert.False(t, d.Attempts[2].Named)
	assert.Equal(t, "op", named(3))
}

func TestPruneEndsAttemptsAtTheirLease(t *testing.T) {
	policy := rules()
	d := New()
	d.Charge(policy, &Start{ID: "all", Scope: "s", Operation: "op"}, t0)
	d.Charge(policy, &Start{ID: "solo", Scope: "s", Operation: "op", Solo: true}, t0)
	d.Prune(policy, in(30*second)-1)
	assert.True(t, d.Attempts[0].Running)
	assert.Equal(t, "s", d.Attempts[0].Scope)
	d.Prune(policy, in(30*second))
	assert.False(t, d.Attempts[0].Running)
	assert.Equal(t, "killed", d.Attempts[0].State(in(30*second)))
	assert.Equal(t, "op", d.Attempts[1].Operation, "others are asked later whether it was needed")
	assert.Equal(t, "s", d.Attempts[1].Scope)
}

func TestPruneTriggers(t *testing.T) {
	d := New()
	d.Triggers = []Trigger{{Seq: 1, Start: in(-Hour)}, {Seq: 2, Start: in(-Hour) + 1}}
	d.Prune(rules(), t0)
	require.Len(t, d.Triggers, 1)
	assert.Equal(t, uint64(2), d.Triggers[0].Seq)
	d.Triggers = nil
	for i := range 300 {
		d.Triggers = append(d.Triggers, Trigger{Seq: uint64(i), Start: t0})
	}
	d.Prune(rules(), t0)
	assert.Len(t, d.Triggers, 256)
	assert.Equal(t, uint64(299), d.Triggers[255].Seq)
}

func TestPruneScopes(t *testing.T) {
	d := New()
	d.ScopeFor("start").LastStart = in(-Day) + 1
	d.ScopeFor("closed").Closed = Pause{in(-Day - Hour), in(-Day) + 1}
	d.ScopeFor("paused").Pause = Pause{in(-2 * Day), in(1)}
	d.ScopeFor("own").setPause(OperationPause{Operation: "op", Pause: Pause{in(-2 * Day), in(1)}})
	d.ScopeFor("free").PauseFree = in(1)
	d.ScopeFor("cleared").Pause = Pause{From: in(-Day) + 1}
	d.ScopeFor("old start").LastStart = in(-Day)
	d.ScopeFor("old pause").Pause = Pause{in(-2 * Day), t0}
	d.Prune(rules(), t0)
	for _, kept := range []string{"start", "closed", "paused", "own", "free", "cleared"} {
		assert.Contains(t, d.Scopes, kept)
	}
	assert.Len(t, d.Scopes, 6)
}

func TestPruneBoundsScopes(t *testing.T) {
	d := New()
	d.ScopeFor("started").LastStart = t0
	for i := range 1100 {
		d.ScopeFor(fmt.Sprint(i)).Pause = Pause{t0, in(time.Duration(i+1) * minute)}
	}
	d.Prune(rules(), t0)
	assert.Len(t, d.Scopes, 1024)
	assert.Contains(t, d.Scopes, "started", "a flood of names does not push out what was paid for")
	assert.Contains(t, d.Scopes, "1099")
	assert.NotContains(t, d.Scopes, "0")
}

func TestPruneSweepsOnceInAnInterval(t *testing.T) {
	d := New()
	d.Swept = in(-5*minute) + 1
	held(d, "a", in(-Day))
	d.Prune(rules(), t0)
	assert.True(t, d.Tokens["a"].HasValue())
	d.Prune(rules(), t0+1)
	assert.False(t, d.Tokens["a"].HasValue())
	assert.Equal(t, t0+1, d.Swept)
}

func TestNotePeerKeepsFour(t *testing.T) {
	d := New()
	for i := range 6 {
		d.NotePeer(LimitPolicy{MaxRequestsPerHour: i + 1}, in(time.Duration(i)))
	}
	require.Len(t, d.Limits, 4)
	assert.Equal(t, 6, d.Limits[3].PerHour)
	d.NotePeer(LimitPolicy{MaxRequestsPerHour: 3}, in(Day+4))
	require.Len(t, d.Limits, 2, "those of a day ago go, the same one is noted once")
	assert.Equal(t, 3, d.Limits[1].PerHour)
}
