package replica

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/meter"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// basis is what this process knows before it reads or writes: all that load needs beside the snapshot.
type basis struct {
	sample  meter.Sample
	current *Revision
	charged []ledger.Attempt
	unsaved []unsaved
	offline offline
}

func (r *Replica) basis() basis {
	b := basis{sample: r.Meter.Sample()}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.current, b.charged, b.unsaved, b.offline = r.current, r.charged, r.unsaved, r.offline
	return b
}

// loaded is a snapshot made fit for deciding.
type loaded struct {
	kept    uint64    // of what waits, the last change that it includes
	known   *Revision // the document is that of a revision that is known already; else nil
	doc     *ledger.Document
	at      timeline.Reading
	dirty   bool
	notices []string
}

// load makes a snapshot fit for deciding. It is pure, so that it may run inside the store.
func (r *Replica) load(snap Snapshot, b basis) (loaded, error) {
	if r.OwnClock && !snap.Now.IsZero() { // New could not ask it
		return loaded{}, r.TwoClocks
	}
	at := func(c ledger.Clock) timeline.Reading {
		if !snap.Now.IsZero() {
			return b.sample.Remotely(snap.Now)
		}
		return r.Meter.At(b.sample, c)
	}
	cur := b.current
	if cur != nil && cur.Rev == snap.Rev && cur.Epoch == snap.Epoch && !cur.ended {
		return loaded{known: cur, doc: cur.Doc, at: at(cur.Doc.Clock), dirty: cur.Dirty}, nil
	}
	l := loaded{doc: ledger.New()}
	if len(snap.Data) > 0 {
		var err error
		if l.doc, err = ledger.Decode(snap.Data); err != nil {
			return loaded{}, err
		}
	}
	if err := r.checkClock(snap, l.doc.Clock.Kind); err != nil {
		return loaded{}, err
	}
	l.at = at(l.doc.Clock)
	// A process that finds no document begins one, and cannot know that there was another. One that knew it says so,
	// until that is saved.
	anew := cur != nil && cur.Rev > 0 && l.doc.Lost == 0 && (cur.Epoch != snap.Epoch || cur.Dirty && cur.Doc.Lost != 0)
	var last *ledger.Document
	if cur != nil && cur.Rev > 0 && cur.Epoch != snap.Epoch {
		last = cur.Doc
	}
	l.notices = l.doc.Recover(lineageOf(snap), anew, b.charged, last, l.at.Now)
	l.dirty = len(l.notices) > 0
	// The first look has not told the meter yet that the store has a clock, and one that has may leave it out once.
	if !r.OwnClock && snap.Now.IsZero() && !b.sample.Remote() {
		l.dirty = l.doc.EndByWall(l.at.Now, timeline.UnixNano(l.at.Wall)) || l.dirty
	}
	l.kept = lastKept(b.unsaved)
	draft := r.draft(l.doc, l.at, b)
	for _, u := range b.unsaved {
		l.dirty = u.change(draft) || l.dirty
	}
	return l, nil
}

// checkClock refuses a document whose time the other kind of clock moves. In the memory of one process nothing outlives a
// test, and a store's own clock is everybody's.
func (r *Replica) checkClock(snap Snapshot, kind ledger.ClockKind) error {
	if r.store.Place == "" || !snap.Now.IsZero() || kind == "" || kind == r.Meter.Kind() {
		return nil
	}
	if kind == ledger.SimulatedClock {
		return fmt.Errorf("%s was written by guards with a clock of their own (WithClock, or a testing/synctest bubble), whose time this guard, "+
			"on the machine's clock, must not go on from: it was left as it is; give this guard another one, or remove it if only tests wrote it", r.store.Place)
	}
	return fmt.Errorf("%s is of guards on the machine's clock, whose time a guard with a clock of its own (WithClock, or a testing/synctest bubble) "+
		"would move for good: it was left as it is; give this guard another one, as in a test's own folder", r.store.Place)
}

func (r *Replica) draft(doc *ledger.Document, at timeline.Reading, b basis) *Draft {
	d := &Draft{Doc: doc, At: at, Limits: r.limits(b.offline, at.Now)}
	if b.current != nil {
		d.Unreadable = b.current.Unreadable
	}
	return d
}

func lineageOf(snap Snapshot) ledger.Lineage {
	return ledger.Lineage{Rev: snap.Rev, Epoch: snap.Epoch, Empty: len(snap.Data) == 0}
}

// open reads the values of a revision's tokens, and freezes its document. A token whose record did not change keeps its
// Secret.
func (r *Replica) open(rev *Revision, at timeline.Reading) *Revision {
	cur := r.Newest()
	rev.At = at
	if changed, from := rev.Doc.Freeze(); cur != nil && from == cur.Doc && len(cur.Unreadable) == 0 {
		rev.Secrets, rev.set, rev.Unreadable, rev.wallExpiry, rev.expiry = cur.Secrets, cur.set, nil, cur.wallExpiry, cur.expiry
		if !r.keepsSecrets(cur, changed) {
			rev.Secrets, rev.set = maps.Clone(cur.Secrets), new(byte)
			for _, rec := range changed {
				r.openToken(rev, cur, rec)
			}
		}
		for _, rec := range changed {
			if rec.WallExpiry != 0 {
				rev.wallExpiry = min(rev.wallExpiry, rec.WallExpiry)
			}
			if rec.Expiry > at.Now {
				rev.expiry = min(rev.expiry, rec.Expiry)
			}
		}
		return rev
	}
	rev.Unreadable, rev.wallExpiry, rev.expiry, rev.set = nil, rev.Doc.WallExpiry(at.Now), rev.Doc.NextExpiry(at.Now), new(byte)
	rev.Secrets = make(map[string]*secrets.Secret, len(rev.Doc.Tokens))
	for _, rec := range rev.Doc.Tokens {
		r.openToken(rev, cur, rec)
	}
	return rev
}

// openToken reads the value of one of a revision's tokens, or takes it from cur.
func (r *Replica) openToken(rev, cur *Revision, rec *ledger.Token) {
	delete(rev.Secrets, rec.ID)
	if !rec.HasSecret() {
		return
	}
	if cur != nil && r.keepsSecret(cur, rec) {
		rev.Secrets[rec.ID] = cur.Secrets[rec.ID]
		return
	}
	if s, ok := r.Keeper.Open(rec); ok {
		rev.Secrets[rec.ID] = s
		return
	}
	if rev.Unreadable == nil {
		rev.Unreadable = map[string]bool{}
	}
	rev.Unreadable[rec.ID] = true
}

// keepsSecrets reports whether the values of cur are those of its tokens also after these changes.
func (r *Replica) keepsSecrets(cur *Revision, changed []*ledger.Token) bool {
	return !slices.ContainsFunc(changed, func(rec *ledger.Token) bool {
		return rec.HasSecret() != (cur.Secrets[rec.ID] != nil) || rec.HasSecret() && !r.keepsSecret(cur, rec)
	})
}

// keepsSecret reports whether the secret that cur has for the record's value is still the one. A value may have been given
// again with other further secrets, or after it was dropped and only its parts were read.
func (r *Replica) keepsSecret(cur *Revision, rec *ledger.Token) bool {
	s, known := cur.Secrets[rec.ID], cur.Doc.Tokens[rec.ID]
	return s != nil && (s.Value != "" || !rec.HasValue()) && secrets.Fits(rec, s) && (known == nil || known.Parts.Same(&rec.Parts)) && r.Keeper.Holds(rec, s)
}

// SameSecrets reports whether the revisions have the same values, of the same tokens.
func (rev *Revision) SameSecrets(other *Revision) bool { return rev.set == other.set }

// accept takes over what the store gave just now, whose clock it read at these ticks of the meter or later.
func (r *Replica) accept(snap Snapshot, began time.Duration) error {
	given := r.Meter.Mono()
	l, err := r.load(snap, r.basis())
	if err != nil {
		return err
	}
	for _, text := range l.notices {
		r.AddNotice(text)
	}
	r.follow(snap, l.doc, began)
	rev := l.known
	if rev == nil {
		rev = r.open(&Revision{Doc: l.doc, Rev: snap.Rev, Epoch: snap.Epoch, Dirty: l.dirty, kept: l.kept}, l.at)
	}
	r.publish(rev, given)
	return nil
}

// follow sets the meter by what was read.
func (r *Replica) follow(snap Snapshot, doc *ledger.Document, began time.Duration) {
	if !snap.Now.IsZero() {
		r.Meter.Follow(snap.Now, began)
		return
	}
	r.Meter.Agree(doc.Clock)
}
