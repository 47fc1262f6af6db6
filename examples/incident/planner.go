package main

import (
	"time"

	"github.com/tokenguard/tokenguard"
)

// planner is the best that anybody could do under the same hard limits on starts: it knows the future, hoards tokens
// before they are needed, and uses each to its end. It returns the most calls that can work, and the fewest
// acquisitions with which they do.
func planner(calls []call, quota int, limits tokenguard.RateLimits) (working, acquisitions int) {
	// Starting as early as the limits permit is never worse for a given number of starts, as long as what was fetched
	// does not expire before it is used: the afternoon is shorter than a token's life and its limits are wide, so the
	// earliest schedule for each number of starts is tried.
	for n := 0; n <= limits.MaxRequestsPerDay; n++ {
		starts := earliest(calls[0].At, n, limits)
		if w := serve(calls, starts, quota); w > working {
			working, acquisitions = w, n
		}
	}
	return working, acquisitions
}

// earliest are n starts from first on, each as early as the windows and the spacing permit.
func earliest(first time.Time, n int, l tokenguard.RateLimits) (starts []time.Time) {
	for i := range n {
		at := first
		if i > 0 {
			at = starts[i-1].Add(l.MinInterval)
		}
		if j := i - l.MaxRequestsPerHour; j >= 0 && at.Before(starts[j].Add(time.Hour)) {
			at = starts[j].Add(time.Hour)
		}
		if j := i - l.MaxRequestsPerDay; j >= 0 && at.Before(starts[j].Add(24*time.Hour)) {
			at = starts[j].Add(24 * time.Hour)
		}
		starts = append(starts, at)
	}
	return starts
}

// serve gives each call a use of the oldest token that is there.
func serve(calls []call, starts []time.Time, quota int) (working int) {
	left := make([]int, len(starts))
	for i := range left {
		left[i] = quota
	}
	for _, c := range calls {
		for i, at := range starts {
			if left[i] > 0 && !c.At.Before(at) && c.At.Before(at.Add(lifetime)) {
				left[i]--
				working++
				break
			}
		}
	}
	return working
}
