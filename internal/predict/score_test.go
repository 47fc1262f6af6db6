package predict

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// By hand: forecasts 0.9, 0.2 and 0.6, of which the last one fails.
func TestAccuracy(t *testing.T) {
	var h History
	assert.Equal(t, Accuracy{}, h.Accuracy())
	h.Book.add(0.9, true, 1, rivals{base: 0.5, persist: 0, rule: 1})
	h.Book.add(0.2, false, 2, rivals{base: 0.75, persist: 1, rule: 1})
	h.Book.add(0.6, false, 1, rivals{base: 0.4, persist: 0, rule: 0})
	a := h.Accuracy()
	assert.EqualValues(t, 4, a.Count)
	assert.InDelta(t, 0.75, a.ShareRight, 1e-12)
	assert.InDelta(t, (0.01+2*0.04+0.36)/4, a.Brier, 1e-12)
	assert.InDelta(t, (0.25+2*0.5625+0.16)/4, a.BaseBrier, 1e-12)
	assert.InDelta(t, 3.0/4, a.LastBrier, 1e-12)
	assert.InDelta(t, 2.0/4, a.RuleBrier, 1e-12)
	assert.InDelta(t, 1-0.45/1.535, a.Skill, 1e-12)
	assert.Equal(t, []Bin{{2, 0.2, 0}, {1, 0.6, 0}, {1, 0.9, 1}}, a.Reliability)
}
