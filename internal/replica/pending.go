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
	r.foldCountersLocked() // in the order of time: a refusal parts what came before it from what comes after
	p := r.pendingLocked(id)
	p.Usage.Add(o)
	if !o.Failed {
		p.Successes = succeeded(p.Successes, operation, ledger.Success{Began: began, Uses: 1})
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

// pendingLocked is what waits of a token. r.mu is held.
func (r *Replica) pendingLocked(id string) ledger.Pending {
	if r.pending == nil {
		r.pending = map[string]ledger.Pending{}
	}
	return r.pending[id]
}

// succeeded adds successes of an operation, if there is room for it.
func succeeded(all ledger.Successes, operation string, s ledger.Success) ledger.Successes {
	if all == nil {
		all = ledger.Successes{}
	}
	old, known := all[operation]
	if known || len(all) < maxOperations {
		all[operation] = ledger.Success{Began: max(old.Began, s.Began), Uses: old.Uses + s.Uses}
	}
	return all
}

// Pending returns the outcomes of a token that wait for a commit.
func (r *Replica) Pending(id string) predict.Usage {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.foldCountersLocked()
	return r.pending[id].Usage.Clone()
}

// SuccessesWait reports whether a success waits for a commit.
func (r *Replica) SuccessesWait() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.foldCountersLocked()
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
	r.foldCountersLocked()
	all := make(map[string]ledger.Pending, len(r.pending))
	for id, p := range r.pending {
		all[id] = ledger.Pending{Usage: p.Usage.Clone(), Successes: maps.Clone(p.Successes)}
	}
	return all
}
