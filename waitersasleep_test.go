package tokenguard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// A caller in Wait asks again where it could have a token sooner, and where waiting helps no more: it is then told so.
func TestWhoAsksAgainInWait(t *testing.T) {
	s := &waiter{until: 100}
	for name, c := range map[string]struct {
		o    outlook
		want bool
	}{
		"as before":             {outlook{retryAt: 100}, false},
		"later":                 {outlook{retryAt: 101}, false},
		"sooner":                {outlook{retryAt: 99}, true},
		"waiting helps no more": {outlook{retryAt: timeline.Never}, true},
		"it would have a token": {outlook{helps: true, retryAt: 100}, true},
		"it was not foreseen":   {outlook{helps: true}, true},
	} {
		assert.Equal(t, c.want, c.o.wakes(s, 50), name)
	}
}

// What a caller of Acquire has decided on an older document, or by a mark from before a change, it decides again.
func TestNobodySleepsByAnOlderDocument(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		older, mark := r.replica.Newest(), r.waiters.mark()
		require.NoError(t, r.Adopt(t.Context(), NewToken("from elsewhere", time.Time{})))
		newest, wait := r.replica.Newest(), &decide.Decision{Answer: decide.AnswerWait, Until: timeline.Never}
		sleeps := func(rev *replica.Revision, since uint64) bool {
			return r.waiters.enterGate(&acquireCall{q: &decide.Request{}, rev: rev, since: since}, wait) != nil
		}
		assert.False(t, sleeps(older, r.waiters.mark()), "the change came between the look and the mark")
		assert.False(t, sleeps(newest, mark), "it came after the mark")
		assert.True(t, sleeps(newest, r.waiters.mark()))
	})
}

// What a change does to those who were decided without the store, or who wait for an acquisition of this process, is not
// foreseen: they ask again.
func TestWhoIsNotForeseenAsksAgain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		wait := decide.Decision{Step: decide.StepGate, Answer: decide.AnswerWait, Until: timeline.Never, Owner: "another"}
		for name, c := range map[string]struct {
			call acquireCall
			d    decide.Decision
			want bool
		}{
			"another's acquisition":      {acquireCall{}, wait, false},
			"decided without the store":  {acquireCall{away: errUnsettled}, wait, true},
			"an acquisition of this one": {acquireCall{}, decide.Decision{Answer: decide.AnswerWait, Until: timeline.Never, Owner: r.flights.owner}, true},
			"a place, of any process":    {acquireCall{}, decide.Decision{Answer: decide.AnswerWait, Until: timeline.Never, Owner: r.flights.owner, Place: true}, false},
		} {
			call := c.call
			call.q, call.rev, call.since = &decide.Request{}, r.replica.Newest(), r.waiters.mark()
			s := r.waiters.enterGate(&call, &c.d)
			require.NotNil(t, s, name)
			assert.Equal(t, c.want, (&outlook{gate: c.d}).wakes(s, 0), name)
		}
	})
}
