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
	var usage predict.Usage
	usage.Add(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.foldCountersLocked() // in the order of time: a refusal parts what came before it from what comes after
	if o.Failed {
		r.addPendingLocked(id, operation, usage, ledger.Success{})
	} else {
		r.addPendingLocked(id, operation, usage, ledger.Success{Began: began, Uses: 1})
	}
	if r.flushed == 0 && r.Meter.Remote() {
		// A fleet's processes may have started together, and each commit makes those that meet it ask again.
		r.flushed = now - r.Jitter(FlushInterval)
	}
	if due = r.flushed == 0 || now-r.flushed >= FlushInterval; due {
		r.flushed = max(now, 1)
	}
	return due
}

// addPendingLocked adds outcomes of an operation to those that wait. r.mu is held.
func (r *Replica) addPendingLocked(id, operation string, usage predict.Usage, s ledger.Success) {
	if r.pending == nil {
		r.pending = map[string]ledger.Pending{}
	}
	p := r.pending[id]
	p.Usage.Merge(usage)
	if s.Uses > 0 {
		if p.Successes == nil {
			p.Successes = ledger.Successes{}
		}
		old, known := p.Successes[operation]
		if known || len(p.Successes) < maxOperations {
			p.Successes[operation] = ledger.Success{Began: max(old.Began, s.Began), Uses: old.Uses + s.Uses}
		}
	}
	r.pending[id] = p
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
