package decide

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A caller that waits asks again for each change that would have it answered otherwise, and for no other.
func TestOutdated(t *testing.T) {
	was := Decision{Step: StepGate, Answer: AnswerWait, Reason: ReasonJoined, Until: 100, Owner: "another", Count: 1}
	for name, c := range map[string]struct {
		change func(d *Decision)
		want   bool
	}{
		"nothing":                                      {func(*Decision) {}, false},
		"others start or end":                          {func(d *Decision) { d.Count++ }, false},
		"it lasts longer, as after a step back":        {func(d *Decision) { d.Until++ }, false},
		"it may end sooner":                            {func(d *Decision) { d.Until-- }, true},
		"it would be refused at once":                  {func(d *Decision) { d.Answer = AnswerRefuse }, true},
		"it may lift a suspicion":                      {func(d *Decision) { d.LiftsSuspicion = true }, true},
		"the acquisition is over, a renewal is next":   {func(d *Decision) { d.Step = StepRenewal }, true},
		"its key is free, and it waits for a place":    {func(d *Decision) { d.Place, d.Owner = true, "another" }, true},
		"the process is dead, and another acquires":    {func(d *Decision) { d.Owner = "a third" }, true},
		"this process acquires, whose flight it joins": {func(d *Decision) { d.Owner = "this one" }, true},
	} {
		d := was
		c.change(&d)
		assert.Equal(t, c.want, was.Outdated(&d, 50), name)
	}
	assert.False(t, was.Outdated(&was, 99))
	assert.True(t, was.Outdated(&was, 100), "its time is over")
	assert.True(t, was.Outdated(&Decision{}, 50), "what is not foreseen")
}
