// Package replica keeps this process's copy of the shared document: it reads the store, commits to it, waits for what
// other processes commit, and goes on within bounds while the store is away.
package replica

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/panics"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// StoreTimeout bounds one read of the store and one commit, as far as the store honours its context.
const StoreTimeout = 10 * time.Second

// Store is the engine that holds the document, for one name. Revision and Watch may be nil.
type Store struct {
	View     func(context.Context) (Snapshot, error)
	Update   func(context.Context, func(Snapshot) ([]byte, error)) (Snapshot, error)
	Revision func(context.Context) (uint64, error)
	Watch    func(context.Context) <-chan struct{}
	Shared   bool   // others may write to it
	Place    string // where a person finds the document; empty: in the memory of this process alone
}

// Snapshot is a document at one instant, as a store gives it.
type Snapshot struct {
	Data  []byte
	Rev   uint64
	Epoch string
	Now   time.Time // the store's clock; zero: it has none
}

// Revision is one revision of the document, as this process can read it. It never changes once published.
type Revision struct {
	Doc        *ledger.Document
	Rev        uint64
	Epoch      string
	Dirty      bool                       // changed on reading: to be committed
	Secrets    map[string]*secrets.Secret // the values that this process can read, by token ID
	Unreadable map[string]bool            // the tokens whose values it cannot
	At         timeline.Reading           // when it was opened

	kept       uint64           // of what waits for the store, the last change that it includes
	wallExpiry timeline.Instant // when the wall clock ends the first of its tokens, or earlier
	expiry     timeline.Instant // when the first stated expiry comes, or earlier
	ended      bool             // the wall clock has ended tokens of it for this process alone, until the store answers
	set        *byte            // names Secrets
}

// Draft is a document that a Change may edit, at an instant.
type Draft struct {
	Doc        *ledger.Document
	At         timeline.Reading
	Unreadable map[string]bool
	Limits     Limits
	Notices    []string // for the log, once a commit has taken the draft
}

// Change edits a draft and reports whether it did. It is pure: it may run again, and inside the store. One that reports
// no change must have made none.
type Change func(*Draft) bool

// Config is what a Replica is made of.
type Config struct {
	Policy    *ledger.Policy
	Processes int // the share of the limits that holds while the store is away is one of so many; 0: nothing may start
	// Freshness is how old the last read may be when a call is answered; EachCall: every call reads for itself.
	Freshness time.Duration
	EachCall  bool
	OwnClock  bool // the user has set a clock, which must not be used beside one of the store's
	Meter     *meter.Meter
	Keeper    *secrets.Keeper

	Ended     <-chan struct{}                               // closed when the guard closes
	Publish   func()                                        // a new revision is known
	Woke      func()                                        // those who wait look again: something may have changed, or one of them is due; nil: none do
	Stamp     func(*ledger.Document, timeline.Instant) bool // carries the order of use into the document; reports whether that can change a decision; pure
	Panicked  func(*panics.Error) error                     // the error for callers; nil: as it is
	Notice    func(text string)                             // for the log
	Dropped   func(ledger.Dropped)                          // an identity was, for want of room; nil: nobody asks
	Jitter    func(atMost time.Duration) time.Duration      // nil: random
	TwoClocks error                                         // for a store with a clock beside OwnClock
}

// Replica is this process's copy of the shared document. mu is a leaf lock: no store call, callback or other lock runs
// under it.
type Replica struct {
	Config
	store Store
	share *ledger.Policy // nil: nothing may start while the store is away
	life  context.Context
	end   context.CancelFunc

	mu         sync.Mutex                // guards what follows
	current    *Revision                 // newest seen
	checked    time.Duration             // on the meter's Mono: when the store was last read
	charged    []ledger.Attempt          // own attempts of the last day, in case the store loses them
	unsaved    []unsaved                 // what could not be committed yet, in its order
	kept       uint64                    // numbers those
	dropped    bool                      // something found no room since all was saved
	paced      map[About]time.Duration   // on the meter's Mono: when facts about this were committed, within the last second
	pacer      *time.Timer               // commits those that wait; nil: none does
	usesWait   bool                      // it commits the uses even where nothing else waits
	pending    map[string]ledger.Pending // outcomes by token ID that wait for a commit
	counters   []*Counter                // successes that are counted apart
	committing bool                      // a commit is in progress
	batch      *batch                    // the changes that go into the next one; nil: none yet
	flushed    time.Duration             // when pending outcomes last had a commit of their own

	refresh *refresh      // a read in progress, for all that need one
	slow    error         // the last read took long and failed; nil: it did not
	slowAt  time.Duration // when that was

	offline offline

	notices []string         // for the log, once the store has returned
	lost    []ledger.Dropped // the same

	waiters int              // callers in Await
	due     timeline.Instant // when the first of them has to look, if nothing changes
	polling bool
}

// New makes a Replica. Nothing is read before the first call.
func New(c Config, store Store) *Replica {
	r := &Replica{Config: c, store: store, due: timeline.Never}
	if r.Jitter == nil {
		r.Jitter = rand.N[time.Duration]
	}
	if c.Processes > 0 {
		r.share = c.Policy.Divided(c.Processes)
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Shared reports whether other processes may write to the store.
func (r *Replica) Shared() bool { return r.store.Shared }

// Newest is the newest revision that this process knows, or nil.
func (r *Replica) Newest() *Revision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// Secrets are the values of the newest revision.
func (r *Replica) Secrets(yield func(*secrets.Secret) bool) {
	rev := r.Newest()
	if rev == nil {
		return
	}
	for _, s := range rev.Secrets {
		if !yield(s) {
			return
		}
	}
}

// Unreadable are the tokens whose values this process cannot open, as far as it has tried.
func (r *Replica) Unreadable() map[string]bool {
	if rev := r.Newest(); rev != nil {
		return rev.Unreadable
	}
	return nil
}

// TrustedUntil is how long what is known now may answer calls without a look, on the meter's Mono: at most life.
func (r *Replica) TrustedUntil(life time.Duration) time.Duration {
	if r.OwnClock || r.store.Shared && r.EachCall {
		return 0
	}
	until := r.Meter.Mono() + life
	if r.store.Shared {
		r.mu.Lock()
		defer r.mu.Unlock()
		until = min(until, r.checked+r.Freshness)
	}
	return until
}

// Unsaved is how many changes are not saved yet.
func (r *Replica) Unsaved() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.unsaved)
}

// Look returns the newest revision that has to be known: another process's commit is seen at most the freshness later.
// If the store fails it returns what was known last, possibly nil, and the error. The reading is taken after the
// document has set the meter.
func (r *Replica) Look(ctx context.Context) (*Revision, timeline.Reading, error) {
	err := r.catchUp(ctx)
	at := r.Meter.Read()
	if rev := r.Newest(); err == nil && r.Meter.Remote() && r.endsByWall(rev, at) {
		err = r.sharedRefresh(ctx, rev) // the store's clock says whether that is so
		at = r.Meter.Read()
	}
	return r.endTokens(r.clampFuture(r.Newest(), at), at), at, err // what was learned during a slow read counts, too
}

// Settled is what Look would return now. ok is false if it would read the store first, or change what is known.
func (r *Replica) Settled() (rev *Revision, at timeline.Reading, ok bool) {
	r.mu.Lock()
	rev, checked := r.current, r.checked
	r.mu.Unlock()
	at = r.Meter.Read()
	switch {
	case rev == nil, r.store.Shared && (r.EachCall || r.Meter.Mono()-checked >= r.Freshness):
		return rev, at, false
	case at.Now < rev.Doc.Clock.Last, r.endsByWall(rev, at):
		return rev, at, false
	}
	return rev, at, true
}

// clampFuture moves what is too far ahead after a step back of the clock, also where no revision is new.
func (r *Replica) clampFuture(rev *Revision, at timeline.Reading) *Revision {
	for rev != nil && at.Now < rev.Doc.Clock.Last {
		next := *rev
		next.Doc, next.Dirty = rev.Doc.Clone(), true
		text := next.Doc.ClampFuture(at.Now)
		if text == "" {
			break
		}
		var done bool
		if rev, done = r.replace(rev, r.open(&next, at)); done {
			r.Notice(text)
			break
		}
	}
	return rev
}

// replace makes next the newest revision if it was made of the newest, which it returns: what a report or a start has
// changed meanwhile, while the store is away, is in no other.
func (r *Replica) replace(rev, next *Revision) (newest *Revision, done bool) {
	r.mu.Lock()
	if r.current != rev {
		defer r.mu.Unlock()
		return r.current, false
	}
	r.current = next
	r.mu.Unlock()
	r.published()
	return next, true
}

// publish makes a revision the newest, unless a newer one is known, and returns the newest. What has come to wait for the
// store since the revision was read goes on to count.
//
// given is when the store gave it, on the meter's Mono; 0: it did not. Freshness counts from then once it is published: a
// moment earlier, calls would trust the one before it.
func (r *Replica) publish(next *Revision, given time.Duration) *Revision {
	for {
		r.mu.Lock()
		cur := r.current
		// Do not wake waiters for a known revision: they would re-read and wake each other forever.
		if cur != nil && (cur == next || cur.Epoch == next.Epoch && cur.Rev > next.Rev) {
			if cur.Rev == next.Rev {
				r.checked = max(r.checked, given)
			}
			r.mu.Unlock()
			return cur
		}
		if lastKept(r.unsaved) <= next.kept {
			r.current = next
			r.checked = max(r.checked, given)
			r.mu.Unlock()
			r.published()
			return next
		}
		r.mu.Unlock()
		next = r.including(next)
	}
}

func (r *Replica) published() {
	r.Publish()
	r.Wake()
}

// maxNotices bounds what waits for the log.
const maxNotices = 16

// AddNotice keeps a text for the log until the store has returned: nothing is reported from inside the store.
func (r *Replica) AddNotice(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addNoticeLocked(text)
}

func (r *Replica) addNoticeLocked(text string) {
	if len(r.notices) < maxNotices && !slices.Contains(r.notices, text) {
		r.notices = append(r.notices, text)
	}
}

// flushNotices reports what was found.
func (r *Replica) flushNotices() {
	r.mu.Lock()
	found, lost := r.notices, r.lost
	r.notices, r.lost = nil, nil
	r.mu.Unlock()
	for _, text := range found {
		r.Notice(text)
	}
	for _, identity := range lost {
		if r.Dropped != nil {
			r.Dropped(identity)
		}
	}
}
