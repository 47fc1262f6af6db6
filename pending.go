package tokenguard

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/predict"
)

// Outcomes that wait for a commit.

// outcome lets an outcome wait for the next commit. It reports whether it is time for one on its own account.
func (s *shelf) outcome(id string, o predict.Outcome) (due bool) {
	now := s.mono()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = map[string]predict.Usage{}
	}
	u := s.pending[id]
	u.Add(o)
	s.pending[id] = u
	if s.flushed == 0 && s.meter.remote.Load() {
		// A fleet's processes may have started together, and each commit makes those that meet it ask again.
		s.flushed = now - s.jitter(flushInterval)
	}
	if due = s.flushed == 0 || now-s.flushed >= flushInterval; due {
		s.flushed = max(now, 1)
	}
	return due
}

// waits returns the outcomes of a token that wait for a commit.
func (s *shelf) waits(id string) predict.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending[id].Clone()
}

// allWait returns the outcomes of all tokens that wait for a commit.
func (s *shelf) allWait() map[string]predict.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := make(map[string]predict.Usage, len(s.pending))
	for id, u := range s.pending {
		waits[id] = u.Clone()
	}
	return waits
}

// flushInterval is the least time between two commits that carry nothing but outcomes.
const flushInterval = 10 * time.Second

func (s *shelf) take() map[string]predict.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.pending
	s.pending = nil
	return batch
}

func (s *shelf) putBack(batch map[string]predict.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, newer := range s.pending {
		u := batch[id]
		u.Merge(newer)
		if batch == nil {
			batch = map[string]predict.Usage{}
		}
		batch[id] = u
	}
	s.pending = batch
}
