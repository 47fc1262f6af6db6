package predict

import "time"

// Batch counts calls that succeeded in one span of 10 s, for less than a Usage does.
type Batch struct {
	cell Cell
	good int64
}

// Add counts one, as Usage.Add does. It reports whether it did: not one of another span.
func (b *Batch) Add(at int64, latency time.Duration) bool {
	at = clamp(at, 0, maxInstant)
	c := Cell{First: millis(at), Calls: 1}
	c.Last = c.First
	if b.cell.Calls > 0 && spanOf(c) != spanOf(b.cell) {
		return false
	}
	if latency > 0 {
		c.Timed, c.Latency = 1, min(latency, maxLatency).Truncate(time.Microsecond)
	}
	b.cell.join(c)
	b.good = max(b.good, at)
	return true
}

// Usage is that of the calls.
func (b *Batch) Usage() (u Usage) {
	if b.cell.Calls > 0 {
		u = Usage{Cells: []Cell{b.cell}, Calls: b.cell.Calls, Good: b.good}
	}
	return u
}
