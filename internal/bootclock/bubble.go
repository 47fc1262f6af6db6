package bootclock

import "time"

// InBubble reports whether the calling goroutine runs in a bubble of
// testing/synctest, where Go's clocks are faked and the boot clock is not.
//
// A bubble's clock starts at midnight UTC 2000-01-01, and so does that of many a
// small machine, so the year says nothing. What tells them apart is the monotonic
// clock: time.Now has a monotonic reading everywhere but in a bubble, whose
// runtime leaves it out (time_runtimeNow in runtime/time.go), and but in years
// that have no room for one.
func InBubble() bool { return faked(time.Now()) }

func faked(now time.Time) bool {
	const first, last = 1885, 2156 // the whole years that time.Time stores beside a monotonic reading
	year := now.UTC().Year()
	return now == now.Round(0) && first <= year && year <= last // Round(0) drops a monotonic reading
}
