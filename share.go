package tokenguard

import "fmt"

// What a process may start while the store cannot be read or written: nothing, its share of the limits, or all of them.

// WithFailOpenToLocalShare lets acquisitions start while the store cannot be read or written, within this process's
// share of the limits: n processes share the store, from 1 to the smaller of the limits per hour and per day (3 by
// default). With n = 1 the share is the whole budget: for a store that no other process uses, or where going on counts
// for more than the limits that processes keep together.
//
// While the store is away, and for an hour after (so that the others can tell first what they started), this process
// keeps 1/n of the limits per hour and per day, rounded down, and n times MinInterval. Every attempt in the last
// document that it saw counts against that share, also those of other processes, and so does what it started since.
// Backoff, Retry-After and closed keys hold undivided. What it starts is charged to the document with its first call
// after the outage. A process that has seen no document since its own start cannot bound anything, and refuses.
//
// So n processes that lose the store together keep the limits per hour and day exactly, as far as they had seen the same
// document (WithFreshness) and each is called within an hour after. The spacing between processes is not kept.
//
// The worst case: processes that are cut off while others still reach the store start their shares beside the others'
// whole budget, together less than one budget more; the same holds for who did not notice the outage, until those who
// did have told. More than n processes start more than the limits. Without this option such calls are refused with
// ErrStore; cached tokens are served either way.
func WithFailOpenToLocalShare(n int) Option {
	return func(o *options) { o.processes, o.sharing = n, true }
}

// checkShare finds what keeps a share of the limits from being one.
func (o *options) checkShare() {
	if !o.sharing {
		return
	}
	const field = "WithFailOpenToLocalShare"
	most := min(o.RateLimit.MaxRequestsPerHour, o.RateLimit.MaxRequestsPerDay)
	if o.processes < 1 || o.processes > most {
		o.mistake(field, fmt.Sprint(o.processes), fmt.Sprintf("from 1 to %d, the smaller of the limits per hour and per day", most))
	}
}
