package classify

import "time"

// Hints are what an answer says in numbers about time and about what is left.
type Hints struct {
	RetryAfter       time.Duration
	HasRetryAfter    bool
	ResetAt          time.Time
	Remaining, Limit int64
}

func ReadHints(in Input, now time.Time) Hints { return Hints{} }

func (ev *evidence) readWindows(in Input) {}
