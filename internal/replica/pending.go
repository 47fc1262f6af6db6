package replica

import (
	"time"

	"github.com/tokenguard/tokenguard/internal/predict"
)

// FlushInterval is the least time between two commits that carry nothing but outcomes.
const FlushInterval = 10 * time.Second

// AddOutcome queues an outcome for the next commit. due reports that FlushInterval has passed and the queue should be
// flushed.
func (r *Replica) AddOutcome(id string, o predict.Outcome) (due bool) {
	now := r.Meter.Mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = map[string]predict.Usage{}
	}
	u := r.pending[id]
	u.Add(o)
	r.pending[id] = u
	if r.flushed == 0 && r.Meter.Remote() {
		// A fleet's processes may have started together, and each commit makes those that meet it ask again.
		r.flushed = now - r.Jitter(FlushInterval)
	}
	if due = r.flushed == 0 || now-r.flushed >= FlushInterval; due {
		r.flushed = max(now, 1)
	}
	return due
}

// Pending returns the outcomes of a token that wait for a commit.
func (r *Replica) Pending(id string) predict.Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending[id].Clone()
}

// AllPending returns the outcomes of all tokens that wait for a commit.
func (r *Replica) AllPending() map[string]predict.Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]predict.Usage, len(r.pending))
	for id, u := range r.pending {
		all[id] = u.Clone()
	}
	return all
}
