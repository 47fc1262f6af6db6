package replica

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/redact"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// offline is what is known of the store's last answers.
type offline struct {
	away       bool             // it did not answer when it was last asked
	aloneUntil timeline.Instant // and for so long the share of the limits goes on to hold
}

// Limits is the policy that holds at an instant. Where that is a share, Full is what it is the share of, and FullFrom
// when that can hold again.
type Limits struct {
	Policy, Full *ledger.Policy
	FullFrom     timeline.Instant
}

// limits are the share while the store is away and for an hour after, so that the others can first tell what they
// started.
func (r *Replica) limits(o offline, now timeline.Instant) Limits {
	switch {
	case r.share == nil:
	case o.away:
		return Limits{r.share, r.Policy, now.Plus(ledger.Hour)}
	case now < o.aloneUntil:
		return Limits{r.share, r.Policy, o.aloneUntil}
	}
	return Limits{Policy: r.Policy}
}

// LimitsAt are the limits that hold at now.
func (r *Replica) LimitsAt(now timeline.Instant) Limits {
	if r.share == nil {
		return Limits{Policy: r.Policy}
	}
	r.mu.Lock()
	o := r.offline
	r.mu.Unlock()
	return r.limits(o, now)
}

// MayStart reports whether this process may start acquisitions without the store, knowing rev: one that has seen no
// document since its own start cannot bound anything.
func (r *Replica) MayStart(rev *Revision) bool { return r.share != nil && rev != nil && rev.Rev > 0 }

// markAway notes that the store did not answer, unless it was the caller who left.
func (r *Replica) markAway(caller context.Context, err error) {
	if caller.Err() != nil {
		return
	}
	now := r.Meter.Read().Now
	r.mu.Lock()
	first := !r.offline.away && now >= r.offline.aloneUntil
	r.offline.away = true
	r.mu.Unlock()
	if first && r.share != nil {
		r.AddNotice(fmt.Sprintf("the store is unavailable and the guard keeps to its share of 1/%d: %s", r.Processes, redact.Secrets(r.Keeper.Hide(err.Error()), maxNotice)))
	}
}

// maxNotice bounds foreign text in a notice, in bytes.
const maxNotice = 300

// markBack ends an outage. For one hour more the document may lack starts that other processes made during it.
func (r *Replica) markBack() {
	now := r.Meter.Read().Now
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offline.away {
		r.offline = offline{aloneUntil: now.Plus(ledger.Hour)}
	}
}

// Room is how many changes may wait for the store before the one at hand is given up.
type Room int

// The room for a change. Callers send reports as they like; how many acquisitions end is bounded by the limits, so their
// ends never compete for room with reports.
const (
	NotSaved  Room = 0
	ForReport Room = 256
	ForEnd    Room = 2 * ForReport
)

// unsaved is a change that waits for the store.
type unsaved struct {
	change Change
	n      uint64
	about  About
}

// About is what a report speaks of: those about the same go into one place, so that a storm of a few operations does not
// use up the room. The zero About is of its own.
type About struct {
	Token, Operation, Scope, Class string
	None                           bool
	Brings                         string // what later ones build on: those that bring something each have a place of their own
}

// ApplyLocally applies c to what this process knows. Where there is room the next successful commit applies it again, to
// whatever document it finds, which c must bear.
func (r *Replica) ApplyLocally(c Change, room Room) timeline.Reading {
	return r.applyLocally(unsaved{change: c}, room)
}

// ApplyReport is ApplyLocally for what a report changes.
func (r *Replica) ApplyReport(c Change, about About) timeline.Reading {
	return r.applyLocally(unsaved{change: c, about: about}, ForReport)
}

// lastKept numbers the last of the changes that wait; 0: none does.
func lastKept(all []unsaved) uint64 {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].n
}

// including is rev with all that waits for the store.
func (r *Replica) including(rev *Revision) *Revision {
	b, at := r.basis(), r.Meter.Read()
	next := *rev
	next.Doc, next.kept = rev.Doc.Clone(), lastKept(b.unsaved)
	draft := r.draft(next.Doc, at, b)
	for _, u := range b.unsaved {
		next.Dirty = u.change(draft) || next.Dirty
	}
	return r.open(&next, at)
}

// keep has u wait for the store, if there is room. Of the reports about the same the first and the last stay, which is
// all that the rules ask of them: what a report states counts where it is later than what was known, and one that changes
// nothing does not come here. It returns its number; 0: it does not wait.
func (r *Replica) keep(u unsaved, room Room) (n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.about != (About{}) {
		same := func(w unsaved) bool { return w.about == u.about }
		if first := slices.IndexFunc(r.unsaved, same); first >= 0 {
			if second := slices.IndexFunc(r.unsaved[first+1:], same); second >= 0 {
				second += first + 1
				r.unsaved = slices.Delete(slices.Clone(r.unsaved), second, second+1)
			}
		}
	}
	if len(r.unsaved) < int(room) {
		r.kept++
		u.n = r.kept
		r.unsaved = append(r.unsaved[:len(r.unsaved):len(r.unsaved)], u)
		return u.n
	}
	if room != NotSaved && !r.dropped {
		r.dropped = true
		r.addNoticeLocked(fmt.Sprintf("%d changes wait for the store: what is reported beyond them counts in this process and is not stored", room))
	}
	return 0
}

func (r *Replica) applyLocally(u unsaved, room Room) timeline.Reading {
	n := r.keep(u, room)
	c := u.change
	for {
		b := r.basis()
		next := &Revision{Doc: ledger.New()}
		if b.current != nil {
			*next = *b.current
			next.Doc = b.current.Doc.Clone()
		}
		at := r.Meter.Read()
		next.Dirty, next.kept = true, max(next.kept, n)
		if !c(r.draft(next.Doc, at, b)) {
			return at
		}
		r.open(next, at)
		r.mu.Lock()
		same := r.current == b.current // else what another decided meanwhile would be lost
		if same {
			r.current = next
		}
		r.mu.Unlock()
		if same {
			r.published()
			return at
		}
	}
}

// CommitOrApply commits c. Where the store does not take it and this process may act without, c counts in this process
// alone.
func (r *Replica) CommitOrApply(ctx context.Context, c Change) (timeline.Reading, error) {
	at, err := r.Commit(ctx, c)
	if err != nil && r.MayStart(r.Newest()) {
		return r.ApplyLocally(c, NotSaved), nil
	}
	return at, err
}

// RememberAttempt keeps an own attempt for as long as it counts.
func (r *Replica) RememberAttempt(a ledger.Attempt, now timeline.Instant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(r.charged), func(b ledger.Attempt) bool {
		return b.ID == a.ID || b.End <= now-timeline.Instant(24*time.Hour)
	})
	r.charged = append(kept, a)
}
