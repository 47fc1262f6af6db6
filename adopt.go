package tokenguard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tokenguard/tokenguard/internal/decide"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// adopt stores a token that was fetched elsewhere, and returns it as it was stored; zero: it was not. away is why the store
// could not be read.
func (f *flights) adopt(ctx context.Context, t Token, q *decide.Request, at timeline.Reading, away error) (Token, timeline.Reading, error) {
	id := f.attemptID()
	if received, at, succeeds, err := f.adoptSuccessor(ctx, t, q, id, at, away); succeeds {
		return received, at, err
	}
	if away != nil {
		return Token{}, at, f.reader.storeError(away)
	}
	taken := at
	for range maxRounds {
		rec, received, err := f.accept(t, q, 0, taken.Least(), taken)
		if err != nil {
			return Token{}, at, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		x, err := f.extras(t, rec, taken)
		if err != nil {
			return Token{}, at, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		var stale atomic.Bool
		at, err = f.replica.Commit(ctx, func(d *replica.Draft) bool {
			changed, again := d.Doc.Enrich(f.policy, x)
			stale.Store(again)
			fresh := *rec
			return d.Doc.Adopt(f.policy, &fresh, id, f.owner, d.At.Now) || changed
		})
		if err != nil {
			return Token{}, at, f.reader.storeError(err)
		}
		if !stale.Load() {
			return received, at, nil
		}
	}
	return Token{}, at, f.reader.storeError(errUnsettled)
}

// extras are what the token states beside its value, sealed with what is known of that: nothing is sealed in a commit.
func (f *flights) extras(t Token, rec *ledger.Token, at timeline.Reading) (*ledger.Extras, error) {
	b := t.read()
	x := &ledger.Extras{Whole: rec, New: b.secret.Refresh != "" || len(b.secret.Further) > 0}
	rev := f.replica.Newest()
	if rev == nil || rev.Doc.Tokens[rec.ID] == nil {
		return x, nil
	}
	old, known := rev.Doc.Tokens[rec.ID], rev.Secrets[rec.ID]
	if known == nil {
		x.Locked, x.New = old.Private, false // of what cannot be read nothing can be kept
		return x, nil
	}
	x.Beside, x.New = &old.Parts, b.secret.Refresh != "" && b.secret.Refresh != known.Refresh
	for name, value := range b.secret.Further {
		x.New = x.New || known.Further[name] != value
	}
	whole := *rec
	s := completed(b.secret, known)
	if s.Size() > maxTokenSize {
		return nil, fmt.Errorf("tokenguard: the token has %d bytes with what it is known with, at most %d are taken", s.Size(), maxTokenSize)
	}
	whole.Parts, whole.Identity = ledger.Parts{}, nil
	if old.Identity != nil {
		x.Hash = old.Identity.Hash
	}
	if s.Refresh != "" {
		whole.Identity = &ledger.Identity{ID: t.Identity(), Account: b.account, Since: at.Now, Hash: secrets.Hash("refresh", s.Refresh), Expiry: t.refreshEnds(at.Least(), at)}
	}
	f.keeper.Seal(&whole, s) // also where nothing is new: values that stay in this process were sealed without it above
	x.Whole = &whole
	return x, nil
}

// succeeding is a token that its caller renewed elsewhere, with what it leaves out taken from its predecessor, the ID of
// the identity ("": it names none that is known), and the hash of the refresh token that was taken.
func (f *flights) succeeding(t Token) (whole Token, identity, from string) {
	b := *t.read()
	rev := f.replica.Newest()
	if b.predecessor == "" || rev == nil || rev.Doc.Tokens[b.predecessor] == nil {
		return t, "", ""
	}
	rec := rev.Doc.Current(rev.Doc.Tokens[b.predecessor])
	s := rev.Secrets[rec.ID]
	if rec.Identity == nil || s == nil {
		return t, "", ""
	}
	if b.secret.Refresh == "" {
		from = rec.Identity.Hash
	}
	b.secret = completed(b.secret, s)
	return b.token(), rec.Identity.ID, from
}

// bringsSecrets reports whether the token states further secrets that its value is not known with, and of which parts of the
// value that holds; nil: it is not known.
func (f *flights) bringsSecrets(t Token) (brings bool, beside *ledger.Parts) {
	b := t.read()
	rev := f.replica.Newest()
	if rev == nil || rev.Secrets[b.secret.Key()] == nil {
		return len(b.secret.Further) > 0, nil
	}
	known := rev.Secrets[b.secret.Key()]
	for name, value := range b.secret.Further {
		if known.Further[name] != value {
			brings = true
		}
	}
	if rec := rev.Doc.Tokens[known.ID]; rec != nil {
		beside = &rec.Parts
	}
	return brings, beside
}

// adoptSuccessor stores a value that its caller renewed elsewhere. It reports whether it is one: the predecessor is a value
// of an account that lives. Facts are refused neither for their number nor for a store that is away, which the error says:
// they count in this process at once.
func (f *flights) adoptSuccessor(ctx context.Context, t Token, q *decide.Request, id string, at timeline.Reading, away error) (received Token, _ timeline.Reading, succeeds bool, err error) {
	taken := at
	for range maxRounds {
		whole, identity, from := f.succeeding(t)
		if identity == "" {
			return Token{}, at, false, nil
		}
		alone, _, err := f.accept(t, q, 0, taken.Least(), taken) // first: where values stay in this process the last of a value counts
		if err != nil {
			return Token{}, at, true, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		rec, received, err := f.accept(whole, q, 0, taken.Least(), taken)
		if err != nil {
			return Token{}, at, true, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		s := &succession{policy: f.policy, id: id, owner: f.owner, rec: rec, alone: alone, predecessor: t.read().predecessor, identity: identity, from: from, further: len(t.read().secret.Further) > 0}
		s.brings, s.beside = f.bringsSecrets(t)
		about := replica.About{Token: identity, Scope: q.Scope, Class: "adopted"}
		if refresh := t.read().secret.Refresh; refresh != "" { // those after it may leave theirs out
			about.Brings = secrets.ID(refresh)
		}
		if away == nil {
			at, away = f.replica.CommitPaced(ctx, s.enter, about)
		}
		if away != nil {
			at = f.replica.ApplyReport(s.enter, about)
		}
		switch foreign, again := s.leave(); {
		case foreign:
			return Token{}, at, false, nil
		case again:
			continue
		}
		if away != nil {
			return received, at, true, f.reader.storeError(away)
		}
		return received, at, true, nil
	}
	return Token{}, at, true, f.reader.storeError(errUnsettled)
}

// succession is a value of an account on its way into the document.
type succession struct {
	policy                      *ledger.Policy
	id, owner                   string // of the attempt, if it turns out to be one
	rec                         *ledger.Token
	alone                       *ledger.Token // the same without what it takes over, if it turns out to be no successor
	predecessor, identity, from string
	further, brings             bool          // it states further secrets; some of them are not known for its value
	beside                      *ledger.Parts // the parts that are known for its value; nil: it is not known

	mu             sync.Mutex // guards what follows: the change may run for another's commit
	foreign, again bool       // what the last run found: it is no successor; it has to be read anew
	later          bool       // the call is over
}

// leave ends the call, unless what the last run found is the call's to deal with.
func (s *succession) leave() (foreign, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later = !s.foreign && !s.again
	return s.foreign, s.again
}

// enter is the change that stores it.
func (s *succession) enter(d *replica.Draft) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foreign, s.again = false, false
	if known := d.Doc.Tokens[s.rec.ID]; known != nil {
		same := known.Parts.Same(&s.rec.Parts) || known.Parts.Same(&s.alone.Parts)
		switch {
		case known.Acquired == s.rec.Acquired && known.Expiry == s.rec.Expiry && (!s.brings || same):
			if s.later && known.Successor == "" && (known.Identity == nil || known.Identity.Since == s.rec.Acquired) {
				s.acquired(d) // a look has applied it since
			}
			return false // by this call
		case !known.Says(s.rec):
		case !s.brings || same:
			return false // by one that said the same
		case !s.later && (s.beside == nil || !known.Parts.Same(s.beside)): // it may have come with these secrets, or with others
			s.again = true
			return false
		default:
			d.Doc.Restate(known, s.rec)
			return true
		}
	}
	fresh, before := *s.rec, s.predecessor
	if d.Doc.Tokens[before] == nil { // it waited, too, and gave way to this one
		before = d.Doc.ValueOf(s.identity, s.rec.Scope, d.At.Now)
	}
	adopted, stale := d.Doc.AdoptSuccessor(s.policy, &fresh, before, s.from, d.At.Now)
	if stale && s.later && !s.further { // nobody comes again: the value alone is new
		fresh = *s.rec
		fresh.Parts = ledger.Parts{}
		if fresh.Identity != nil {
			fresh.Identity = &ledger.Identity{Account: fresh.Identity.Account}
		}
		adopted, stale = d.Doc.AdoptSuccessor(s.policy, &fresh, before, "", d.At.Now)
	}
	switch {
	case adopted:
		return true
	case !s.later:
		s.again = stale // a newer refresh token is known: take that
		s.foreign = !stale
		return false
	case stale:
		s.note(d, "was not stored, and neither were its further secrets: another process stored the account's next refresh token while it waited. Adopt it again")
		return false
	}
	fresh = *s.alone
	starts := d.Doc.Counts.Starts
	changed := d.Doc.Adopt(s.policy, &fresh, s.id, s.owner, d.At.Now)
	if d.Doc.Counts.Starts > starts { // not of a value that is known
		s.acquired(d)
	}
	return changed
}

// acquired notes that the value is no successor any more.
func (s *succession) acquired(d *replica.Draft) {
	how := "is charged as an acquisition and is not renewed"
	if s.alone.Identity != nil { // by the refresh token that it states itself
		how = "is charged as an acquisition"
	}
	s.note(d, how+": while it waited to be stored, the account ended, or another one was named for it")
}

// note has the log say what became of the value, once that is committed.
func (s *succession) note(d *replica.Draft, what string) {
	d.Notices = append(d.Notices, fmt.Sprintf("token %s, adopted for account %s, %s", s.rec.ID, s.identity, what))
}
