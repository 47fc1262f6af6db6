package predict

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func lives(uses ...int64) (l []Life) {
	for _, n := range uses {
		l = append(l, Life{Uses: n})
	}
	return l
}

func TestHazardLearnsAFixedQuota(t *testing.T) {
	h := newHazard(lives(40, 40, 40), 0.1)
	before, ok := h.at(39)
	require.True(t, ok)
	assert.Less(t, before, 0.01)
	there, _ := h.at(40)
	assert.Greater(t, there, 0.7)
	for k := range int64(41) {
		left, ok := h.left(k)
		assert.True(t, ok)
		assert.Equal(t, 40-k, left)
	}
	_, ok = h.left(41)
	assert.False(t, ok, "no life went that far")
}

// By hand, with the weights of four lives of one age: of the two that reached 5,
// one was refused there; 8 has one refusal in one.
func TestHazardCountsCensoredLivesWhileTheyLasted(t *testing.T) {
	var h hazard
	l := []Life{{Uses: 3, Censored: true}, {Uses: 5}, {Uses: 8}, {Uses: 2, Censored: true}}
	w := []float64{1, 1, 1, 1}
	assert.Equal(t, step{from: 0, events: 0, calls: 3 + 5 + 5 + 2}, callsAt(l, w, 0, 5))
	assert.Equal(t, step{from: 5, events: 1, calls: 2}, callsAt(l, w, 5, 6))
	assert.Equal(t, step{from: 6, events: 0, calls: 2}, callsAt(l, w, 6, 8))
	for _, s := range []step{callsAt(l, w, 0, 5), callsAt(l, w, 5, 6), callsAt(l, w, 6, 8), callsAt(l, w, 8, 9)} {
		h.pool(s)
	}
	assert.Equal(t, []step{{from: 0, calls: 15}, {from: 5, events: 1, calls: 4}, {from: 8, events: 1, calls: 1}}, h.steps)
}

func TestHazardForgetsAnOldQuota(t *testing.T) {
	l := lives(40, 40, 40, 40, 40, 40, 40, 40)
	for range 5 {
		l = append(l, Life{Uses: 20})
	}
	left, ok := newHazard(l, 0.1).left(0)
	assert.True(t, ok)
	assert.EqualValues(t, 20, left)
}

func TestHazardKnowsNothingOfNothing(t *testing.T) {
	_, ok := newHazard(nil, 0.1).at(0)
	assert.False(t, ok)
	_, ok = newHazard([]Life{{Uses: 9, Censored: true}}, 0.1).left(0)
	assert.False(t, ok, "no life was ever refused")
}

func TestHazardNeverFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Life {
			return Life{rapid.Int64Range(0, 30).Draw(t, "uses"), rapid.Bool().Draw(t, "censored")}
		}), 0, MaxLives).Draw(t, "lives")
		h := newHazard(l, rapid.Float64Range(0.001, 0.999).Draw(t, "base"))
		last := 0.0
		for k := range int64(35) {
			p, _ := h.at(k)
			require.GreaterOrEqual(t, p, last)
			require.LessOrEqual(t, p, 1.0)
			last = p
		}
	})
}

// Against the median of the lives themselves, where none is censored and all
// weigh alike.
func TestMedianUsesLeft(t *testing.T) {
	for _, c := range []struct {
		lives []Life
		k     int64
		left  int64
		ok    bool
	}{
		{lives(7), 0, 7, true},
		{lives(7), 7, 0, true},
		{lives(7), 8, 0, false},
		{lives(10, 20, 30), 0, 20, true},
		{lives(10, 20, 30), 15, 15, true},
		{lives(10, 20, 30), 25, 5, true},
		{[]Life{{10, true}, {10, true}, {30, false}}, 0, 30, true},
		{[]Life{{30, true}, {30, true}, {10, false}}, 0, 0, false},
	} {
		left, ok := newHazard(c.lives, 0.1).left(c.k)
		assert.Equal(t, c.ok, ok, c)
		assert.Equal(t, c.left, left, c)
	}
}
