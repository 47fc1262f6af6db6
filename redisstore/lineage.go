package redisstore

import (
	"bytes"
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// sighting is what a Store knows of one document. It is how a loss in the engine comes to light: Redis says nothing
// of one, but a key that vanished, went back, or went on from before a commit that this Store has seen, shows it.
//
// Revisions are the server's time of the commit in microseconds, or one more than the last where that is later. So a
// document written anew after a loss has a greater revision than the lost one, and no two commits share one.
type sighting struct {
	snap tokenguard.Snapshot // as shown to the caller; its Now as of at
	at   time.Time           // on this process' clock
	base version             // what the engine holds
	lost bool                // commits were: snap's epoch is new, and the next commit stores it
	left string              // the epoch shown before this one: its return is no recovery
}

// change is a commit to ask for.
type change struct {
	base      version
	operation string
	epoch     string
	floor     uint64 // the least new revision
	now       time.Time
	data      []byte
}

// newID returns 80 random bits as 16 letters and digits.
func newID() string { return rand.Text()[:16] }

// current is the snapshot as of now: the engine's clock is taken to have gone on as this process' has.
func (s sighting) current() tokenguard.Snapshot {
	snap := s.snap
	if !s.at.IsZero() {
		snap.Now = snap.Now.Add(time.Since(s.at))
	}
	return snap
}

// change is the commit of data after what was sighted.
func (s sighting) change(snap tokenguard.Snapshot, data []byte) change {
	epoch := snap.Epoch
	if epoch == "" {
		epoch = newID()
	}
	return change{
		base: s.base, operation: newID(), epoch: epoch, floor: max(s.snap.Rev, s.base.rev) + 1, now: snap.Now,
		data: bytes.Clone(data),
	}
}

// committed is the sighting after the engine answered that c is done.
func (s sighting) committed(c change, r reply) sighting {
	s.snap = tokenguard.Snapshot{Data: c.data, Rev: r.rev, Epoch: c.epoch, Now: r.now}
	s.base, s.lost = version{c.epoch, r.rev}, false
	return s
}

// next is the sighting after an answer that may hold another document.
func (s sighting) next(r reply, ttl time.Duration) sighting {
	known := s.snap
	s.snap.Now = r.now
	switch {
	case r.version == s.base:
		return s
	case r.version == version{} && ended(known.Rev, r.now, ttl):
		// Nothing is lost: this Store still has what the key held.
	case known.Rev == 0,
		r.epoch == known.Epoch && r.rev > known.Rev && (s.lost || follows(r.log, known.Rev)):
		s = s.adopt(r)
	case r.epoch != "" && r.epoch != known.Epoch && r.epoch != s.left && r.rev > known.Rev:
		// Another process noticed a loss, or found no document and began one.
		s = s.adopt(r)
		s.left = known.Epoch
	default:
		if r.rev > known.Rev {
			s.snap.Data = r.data
		}
		s.snap.Rev = max(r.rev, known.Rev) + 1
		if !s.lost {
			s.snap.Epoch, s.left, s.lost = newID(), known.Epoch, true
		}
	}
	s.base = r.version
	return s
}

func (s sighting) adopt(r reply) sighting {
	s.snap.Data, s.snap.Rev, s.snap.Epoch, s.lost = r.data, r.rev, r.epoch, false
	return s
}

// revision is the one that next would show, as far as an answer without contents tells.
func (s sighting) revision(v version) uint64 {
	if v == s.base {
		return s.snap.Rev
	}
	return max(v.rev, s.snap.Rev+1)
}

// ended reports whether a key that was last written at rev has reached the end of its life.
func ended(rev uint64, now time.Time, ttl time.Duration) bool {
	return !now.Before(time.UnixMicro(int64(rev)).Add(ttl))
}

// follows reports whether the commits in log descend from rev. Where the log does not reach back so far it cannot
// tell, and says yes.
func follows(log string, rev uint64) bool {
	oldest := uint64(0)
	for entry := range strings.SplitSeq(log, ";") {
		digits, _, whole := strings.Cut(entry, ":")
		at, err := strconv.ParseUint(digits, 10, 64)
		if !whole || err != nil {
			break
		}
		if at == rev {
			return true
		}
		oldest = at
	}
	return oldest > rev
}
