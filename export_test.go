package tokenguard

import "time"

// Amount is amount.
var Amount = amount

// OpenStateFile opens the store behind WithStateFile, for the conformance suite.
func OpenStateFile(path string) (Store, error) {
	o, err := newOptions([]Option{WithStateFile(path)})
	if err != nil {
		return nil, err
	}
	return openStateFile(o, func(string) {})
}

// SimulateClock replaces the machine's clocks: its wall clock, the name of the boot, and the time since in nanoseconds.
func (g *Guard) SimulateClock(wall func() time.Time, boot string, ticks func() int64) {
	g.meter.Simulate(wall, boot, ticks)
}
