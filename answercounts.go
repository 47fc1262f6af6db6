package tokenguard

import (
	"sync/atomic"

	"github.com/tokenguard/tokenguard/internal/striped"
)

// tallied is how many counters a stripe has: whole pairs of cache lines of them, because processors fetch
// these together.
const tallied = (len(answerKeys) + 15) / 16 * 16

// answerCounts counts the answers that end calls, exactly, and without many cores waiting for each other.
type answerCounts [striped.Stripes][tallied]atomic.Int64

// add counts one answer, and returns how many of its sort the stripe has counted.
func (t *answerCounts) add(answer int) int64 { return t[striped.Here()][answer].Add(1) }

// undo takes back what add counted.
func (t *answerCounts) undo(answer int) { t[0][answer].Add(-1) }

func (t *answerCounts) sum(answer int) (n int64) {
	for i := range t {
		n += t[i][answer].Load()
	}
	return n
}
