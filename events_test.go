package tokenguard

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEventsNameTheFailingToken(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		id := r.must(Request{}).Token.ID()
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: "value-1"})
		r.must(Request{Failure: broken, Failing: id})
		r.must(Request{Failure: banned})
		var got []string
		for e := range r.History() {
			if e.Kind != EventReported && e.Verdict.Class != ClassNone {
				got = append(got, e.Failing)
			}
		}
		assert.Equal(t, []string{id, id, ""}, got, "an ID, whatever was handed in")
	})
}

func TestObserversAreAllCalledInOrder(t *testing.T) {
	var calls []string
	observe := func(name string) Option {
		return WithObserver(func(e Event) { calls = append(calls, name+" "+string(e.Kind)) })
	}
	bubble(t, func(t *testing.T, r *rig) {
		r.must(Request{})
		assert.Equal(t, []string{"a started", "b started", "c started", "a acquired", "b acquired", "c acquired"}, calls)
		calls = nil
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: "value-1"})
		assert.Equal(t, []string{"a reported", "b reported", "c reported", "a refused", "b refused", "c refused"}, calls)
	}, observe("a"), observe("b"), observe("c"))
}
