package replica

import (
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// A host that pauses the machine stops all its clocks, as a suspend does where there is no boot clock, and only the wall
// clock is set again. So that one may end a token whose expiry was stated. Where a store's clock is the meter, that ends
// for this process alone, and until the store answers: its clock decides.

// endTokens ends what the wall clock has ended, also where no revision is new.
func (r *Replica) endTokens(rev *Revision, at timeline.Reading) *Revision {
	for done := false; !done && r.endsByWall(rev, at); {
		next := *rev
		next.Doc = rev.Doc.Clone()
		if !r.endByWall(next.Doc, at) {
			break
		}
		if r.Meter.Remote() {
			next.ended = true
		} else {
			next.Dirty = true
		}
		rev, done = r.replace(rev, r.open(&next, at))
	}
	return rev
}

// endsByWall reports whether the wall clock may have ended a token that lasts by the meter. Most have ended by the meter, too.
// A user's clock is not paused with the machine.
func (r *Replica) endsByWall(rev *Revision, at timeline.Reading) bool {
	switch {
	case rev == nil || r.OwnClock:
		return false
	case r.Meter.Remote():
		by := r.Meter.ByWall(at)
		return by >= rev.expiry && by >= rev.Doc.NextExpiry(at.Now)
	}
	wall := timeline.UnixNano(at.Wall)
	return wall >= rev.wallExpiry && wall >= rev.Doc.WallExpiry(at.Now)
}

// endByWall ends what the wall clock has ended.
func (r *Replica) endByWall(doc *ledger.Document, at timeline.Reading) bool {
	if r.Meter.Remote() {
		return doc.EndBy(at.Now, r.Meter.ByWall(at))
	}
	return doc.EndByWall(at.Now, timeline.UnixNano(at.Wall))
}

// TokenEnded reports whether a token has ended, also by the wall clock where that may end it.
func (r *Replica) TokenEnded(t *ledger.Token, at timeline.Reading) bool {
	_, ends := r.Policy.Expiry(t)
	switch {
	case at.Now >= ends:
		return true
	case r.OwnClock:
		return false
	case r.Meter.Remote():
		return t.Expiry != 0 && r.Meter.ByWall(at) >= t.Expiry
	}
	return t.WallExpiry != 0 && timeline.UnixNano(at.Wall) >= t.WallExpiry
}
