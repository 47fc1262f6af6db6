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
