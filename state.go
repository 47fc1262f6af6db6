package tokenguard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/predict"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// The guard's side of the store: what it saw last, when it looks again, and how it commits.

// storeTimeout bounds one look at the store and one commit, as far as the store heeds its context.
const storeTimeout = 10 * time.Second

// state is one revision of the document, as this process can read it. It never changes once published.
type state struct {
	doc        *ledger.Document
	rev        uint64
	epoch      string
	dirty      bool             // healed on reading: to be committed
	tokens     map[string]Token // the values that this process can read, by ID
	unreadable map[string]bool  // those that it cannot
}

// change applies something to a document at an instant and reports whether it did. It is pure and may run again.
type change func(d *ledger.Document, r timeline.Reading) bool

// shelf is the part of the guard that talks to the store. mu is a leaf: nothing of the user's, no store and no other
// lock is touched under it.
type shelf struct {
	opt    *options
	store  Store
	own    bool // New opened it
	shared bool // others may write to it
	meter  *meter
	vault  *vault
	owner  string
	life   context.Context // ends with the guard
	end    context.CancelFunc

	mu         sync.Mutex               // guards what follows
	current    *state                   // newest revision seen
	checked    time.Duration            // on Go's monotonic clock since meter.base: when the store was last looked at
	charged    []ledger.Attempt         // own attempts of the last day, in case the store loses them
	unsaved    []change                 // what could not be committed yet
	settled    uint64                   // how many were, so far
	pending    map[string]predict.Usage // outcomes by token ID that wait for a commit
	committing bool                     // a commit is under way
	group      *group                   // those who go into the next one; nil: nobody yet
	flushed    time.Duration            // when pending outcomes were last committed on their own account

	looking *glance       // a look under way, for all who need one
	slow    error         // the last look took long and failed; nil: it did not
	slowAt  time.Duration // when that was

	away       bool             // the store did not answer when it was last asked
	aloneUntil timeline.Instant // and for so long the share of WithFailOpenToLocalShare goes on to hold

	found []string // for the log: told once the store has returned

	publish func()                                   // tells the guard of a new revision
	stamp   func(*ledger.Document, timeline.Instant) // carries the order of use into the document
	notice  func(text string)                        // tells the log of what was found

	jitter func(time.Duration) time.Duration // below its argument: how much longer a poll pauses
}

func (s *shelf) mono() time.Duration { return time.Since(s.meter.base) }

// look returns the newest revision that the guard has to know: another process' commit is seen at most the freshness
// later. If the store fails it returns what was known last, possibly nil, and the error.
func (s *shelf) look(ctx context.Context) (*state, timeline.Reading, error) {
	_, r, err := s.newer(ctx)
	return s.steppedBack(s.newest(), r), r, err // what was learned during a slow look counts, too
}

// steppedBack pulls in what lies too far ahead after a step back of the clock, also where no revision is new.
func (s *shelf) steppedBack(st *state, r timeline.Reading) *state {
	if st == nil || r.Now >= st.doc.Clock.Last {
		return st
	}
	next := *st
	next.doc, next.dirty = st.doc.Clone(), true
	if !next.doc.ClampFuture(r.Now) {
		return st
	}
	s.notice(ledger.ClockBack)
	return s.accept(s.open(&next, r), r)
}

func (s *shelf) newer(ctx context.Context) (*state, timeline.Reading, error) {
	s.mu.Lock()
	st, checked := s.current, s.checked
	s.mu.Unlock()
	each := s.opt.clock != nil || s.opt.freshness == 0 // call looks for itself
	switch {
	case st != nil && (!s.shared || !each && s.mono()-checked < s.opt.freshness):
		return st, s.meter.read(), nil
	case each || !s.shared:
		return s.reload(ctx, st)
	}
	return s.lookTogether(ctx, st)
}

// reload looks at the store and tells what it found.
func (s *shelf) reload(ctx context.Context, st *state) (*state, timeline.Reading, error) {
	defer s.announce()
	return s.ask(ctx, st)
}

// ask looks at the store, at its revision alone if that tells enough.
func (s *shelf) ask(caller context.Context, st *state) (*state, timeline.Reading, error) {
	ctx, cancel := context.WithTimeout(caller, storeTimeout)
	defer cancel()
	if rv, ok := s.store.(Revisioner); ok && st != nil && !s.meter.remote.Load() {
		rev, err := rv.Revision(ctx, s.opt.name)
		if err != nil {
			s.missed(caller, err)
			return st, s.meter.read(), err
		}
		if rev == st.rev {
			s.touch()
			s.reached()
			return st, s.meter.read(), nil
		}
	}
	snap, err := s.store.View(ctx, s.opt.name)
	if err != nil {
		s.missed(caller, err)
		return st, s.meter.read(), err
	}
	s.touch()
	next, r, err := s.absorb(snap)
	if err != nil {
		s.missed(caller, err)
		return st, s.meter.read(), err
	}
	s.reached()
	return s.accept(next, r), r, nil
}

func (s *shelf) touch() {
	now := s.mono()
	s.mu.Lock()
	s.checked = now
	s.mu.Unlock()
}

// accept publishes a revision unless a newer one is known, and returns the newest.
func (s *shelf) accept(next *state, r timeline.Reading) *state {
	s.mu.Lock()
	cur := s.current
	// What is known already wakes nobody: those who wait would look again, and wake each other without end.
	if cur != nil && (cur == next || cur.epoch == next.epoch && cur.rev > next.rev) {
		s.mu.Unlock()
		return cur
	}
	s.current = next
	s.mu.Unlock()
	s.publish()
	return next
}

// find notes something for the log. It may run inside the store, and more than once: nobody is told from there.
func (s *shelf) find(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.found) < maxFound && !slices.Contains(s.found, text) {
		s.found = append(s.found, text)
	}
}

// maxFound bounds what waits to be told.
const maxFound = 16

// announce tells what was found.
func (s *shelf) announce() {
	s.mu.Lock()
	found := s.found
	s.found = nil
	s.mu.Unlock()
	for _, text := range found {
		s.notice(text)
	}
}

// absorb turns a snapshot into a state. A revision that is known already keeps its decoded document.
func (s *shelf) absorb(snap Snapshot) (*state, timeline.Reading, error) {
	if s.opt.clock != nil && !snap.Now.IsZero() { // New could not ask it
		return nil, s.meter.read(), errTwoClocks
	}
	r := s.clock(snap)
	s.mu.Lock()
	cur, charged, unsaved := s.current, s.charged, s.unsaved
	s.mu.Unlock()
	if cur != nil && cur.rev == snap.Rev && cur.epoch == snap.Epoch {
		return cur, r, nil
	}
	doc := ledger.New()
	if len(snap.Data) > 0 {
		var err error
		if doc, err = ledger.Decode(snap.Data); err != nil {
			return nil, r, err
		}
	}
	s.meter.agree(doc.Clock)
	if snap.Now.IsZero() {
		r = s.meter.read()
	}
	// Whoever finds no document begins one, and cannot know that there was another. Who knew that one says so, until it
	// is saved.
	anew := cur != nil && cur.rev > 0 && doc.Lost == 0 && (cur.epoch != snap.Epoch || cur.dirty && cur.doc.Lost != 0)
	var known *ledger.Document
	if cur != nil && cur.rev > 0 && cur.epoch != snap.Epoch {
		known = cur.doc
	}
	found := doc.Recover(lineageOf(snap), anew, charged, known, r.Now)
	for _, text := range found {
		s.find(text)
	}
	dirty := len(found) > 0
	for _, c := range unsaved {
		dirty = c(doc, r) || dirty
	}
	return s.open(&state{doc: doc, rev: snap.Rev, epoch: snap.Epoch, dirty: dirty}, r), r, nil
}

var errTwoClocks = &ConfigError{Field: "WithClock", Value: "a clock", Bound: "none beside a store that has its own"}

// clock reads the clock that decides: the store's if it has one.
func (s *shelf) clock(snap Snapshot) timeline.Reading {
	if !snap.Now.IsZero() {
		return s.meter.follow(snap.Now)
	}
	return s.meter.read()
}

// open makes the tokens of a state that this process can read.
func (s *shelf) open(st *state, r timeline.Reading) *state {
	s.mu.Lock()
	cur := s.current
	s.mu.Unlock()
	st.unreadable = nil
	st.tokens = make(map[string]Token, len(st.doc.Tokens))
	for id, rec := range st.doc.Tokens {
		var known Token
		if cur != nil {
			known = cur.tokens[id]
		}
		if t, ok := s.vault.open(s.opt.name, rec, known); ok {
			t.Kind, t.Scope = Kind(rec.Kind), rec.Scope
			t.AcquiredAt, t.Expiry = r.Time(rec.Acquired), r.Time(rec.Expiry)
			st.tokens[id] = t
		} else if rec.HasValue() {
			if st.unreadable == nil {
				st.unreadable = map[string]bool{}
			}
			st.unreadable[id] = true
		}
	}
	return st
}

var errLost = errors.New("the store did not answer in time")

// commitNow is one update of the store, with everything that waits.
func (s *shelf) commitNow(caller context.Context, c change) (timeline.Reading, error) {
	ctx, cancel := context.WithTimeoutCause(caller, storeTimeout, errLost)
	defer cancel()
	var (
		next  *state // set by the last run of the function
		r     timeline.Reading
		saved uint64
		batch = s.take()
	)
	snap, err := s.store.Update(ctx, s.opt.name, func(snap Snapshot) ([]byte, error) {
		next = nil
		st, now, err := s.absorb(snap)
		if err != nil {
			return nil, err
		}
		r = now
		doc, changed := st.doc.Clone(), st.dirty
		s.mu.Lock()
		unsaved := s.unsaved
		saved = s.settled + uint64(len(unsaved))
		s.mu.Unlock()
		for _, u := range unsaved {
			changed = u(doc, r) || changed
		}
		doc.CountUses(batch)
		s.stamp(doc, r.Now)
		if !c(doc, r) && !changed {
			return nil, nil
		}
		doc.Prune(s.opt.policy, r.Now)
		doc.NotePeer(s.opt.policy.RateLimit, r.Now)
		s.meter.stamp(&doc.Clock, r.Now)
		doc.SetLineage(lineageOf(snap))
		next = &state{doc: doc}
		return doc.Encode()
	})
	if err != nil {
		s.putBack(batch)
		s.missed(caller, err)
		return r, err
	}
	s.reached()
	if next == nil {
		s.putBack(batch)
		s.touch()
		// The newest document is known now, though nothing was written. Who goes on deciding on an older one would ask
		// again without end.
		if st, now, err := s.absorb(snap); err == nil {
			s.accept(st, now)
		}
		return r, nil
	}
	next.rev, next.epoch = snap.Rev, snap.Epoch
	s.mu.Lock()
	if saved > s.settled { // else another commit took the same along
		s.unsaved = s.unsaved[saved-s.settled:]
		s.settled = saved
	}
	s.mu.Unlock()
	s.touch()
	s.accept(s.open(next, r), r)
	return r, nil
}

// maxUnsaved bounds what waits for the store.
const maxUnsaved = 256

// keep applies c to what this process knows. The next commit that works saves it: again applies c to whatever
// document it finds, which c must bear.
func (s *shelf) keep(c change, again bool) timeline.Reading {
	r := s.meter.read()
	if again {
		s.mu.Lock()
		if len(s.unsaved) < maxUnsaved {
			s.unsaved = append(s.unsaved[:len(s.unsaved):len(s.unsaved)], c)
		}
		s.mu.Unlock()
	}
	for {
		s.mu.Lock()
		st := s.current
		s.mu.Unlock()
		next := &state{doc: ledger.New()}
		if st != nil {
			*next = *st
			next.doc = st.doc.Clone()
		}
		next.dirty = true
		if !c(next.doc, r) {
			return r
		}
		s.open(next, r)
		s.mu.Lock()
		same := s.current == st // else what another decided meanwhile would be lost
		if same {
			s.current = next
		}
		s.mu.Unlock()
		if same {
			s.publish()
			return r
		}
	}
}

// remember keeps an own attempt for as long as it counts.
func (s *shelf) remember(a ledger.Attempt, now timeline.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make([]ledger.Attempt, 0, len(s.charged)+1)
	for _, b := range s.charged {
		if b.ID != a.ID && b.End > now-timeline.Instant(ledger.Day) {
			kept = append(kept, b)
		}
	}
	s.charged = append(kept, a)
}

func lineageOf(snap Snapshot) ledger.Lineage {
	return ledger.Lineage{Rev: snap.Rev, Epoch: snap.Epoch, Empty: len(snap.Data) == 0}
}
