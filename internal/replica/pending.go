package replica

import (
	"maps"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// FlushInterval is the least time between two commits that carry nothing but outcomes.
const FlushInterval = 10 * time.Second

// maxOperations bounds the operations whose successes wait, for each token.
const maxOperations = 64

// AddOutcome queues an outcome for the next commit, with the operation and the beginning of the call if it succeeded.
// due reports that FlushInterval has passed and the queue should be flushed.
func (r *Replica) AddOutcome(id, operation string, o predict.Outcome, began timeline.Instant) (due bool) {
	now := r.Meter.Mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		r.pending = map[string]ledger.Pending{}
	}
	p := r.pending[id]
	p.Usage.Add(o)
	if !o.Failed {
		if p.Successes == nil {
			p.Successes = ledger.Successes{}
		}
		s, known := p.Successes[operation]
		if known || len(p.Successes) < maxOperations {
			p.Successes[operation] = ledger.Success{Began: max(s.Began, began), Uses: s.Uses + 1}
		}
	}
	r.pending[id] = p
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
	return r.pending[id].Usage.Clone()
}

// SuccessesWait reports whether a success waits for a commit.
func (r *Replica) SuccessesWait() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pending {
		if len(p.Successes) > 0 {
			return true
		}
	}
	return false
}

// AllPending returns the outcomes of all tokens that wait for a commit.
func (r *Replica) AllPending() map[string]ledger.Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]ledger.Pending, len(r.pending))
	for id, p := range r.pending {
		all[id] = ledger.Pending{Usage: p.Usage.Clone(), Successes: maps.Clone(p.Successes)}
	}
	return all
}
