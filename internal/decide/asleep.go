package decide

import "github.com/tokenguard/tokenguard/internal/timeline"

// Outdated reports whether a caller that waits by this decision has to ask again, which at an instant would get d: it would be
// answered, or wait for something else or for another, or less long. It is due at the end of its wait whatever d says.
func (was *Decision) Outdated(d *Decision, now timeline.Instant) bool {
	switch {
	case d.Answer != AnswerWait || d.LiftsSuspicion, now >= was.Until, d.Until < was.Until:
		return true
	}
	return d.Step != was.Step || d.Place != was.Place || d.Owner != was.Owner
}
