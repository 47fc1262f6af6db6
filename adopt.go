package tokenguard

import (
	"context"
	"fmt"
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
		return Token{}, at, fmt.Errorf("%w: %w", ErrStore, away)
	}
	rec, received, err := f.accept(t, q, 0, at.Least(), at)
	if err != nil {
		return Token{}, at, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	at, err = f.replica.Commit(ctx, func(d *replica.Draft) bool {
		fresh := *rec
		return d.Doc.Adopt(f.policy, &fresh, id, f.owner, d.At.Now)
	})
	if err != nil {
		return Token{}, at, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return received, at, nil
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

// bringsSecrets reports whether the token states further secrets that its value is not known with.
func (f *flights) bringsSecrets(t Token) bool {
	b := t.read()
	rev := f.replica.Newest()
	if rev == nil || rev.Secrets[b.secret.Key()] == nil {
		return len(b.secret.Further) > 0
	}
	known := rev.Secrets[b.secret.Key()].Further
	for name, value := range b.secret.Further {
		if known[name] != value {
			return true
		}
	}
	return false
}

// adoptSuccessor stores a value that its caller renewed elsewhere. It reports whether it is one: the predecessor is a value
// of an account that lives. Facts are refused neither for their number nor for a store that is away, which the error says:
// they count in this process at once.
func (f *flights) adoptSuccessor(ctx context.Context, t Token, q *decide.Request, id string, at timeline.Reading, away error) (received Token, _ timeline.Reading, succeeds bool, err error) {
	var stale, foreign, later atomic.Bool   // a newer refresh token is known: take that; it is no successor; the call is over
	taken, brings := at, f.bringsSecrets(t) // before it is known by this call
	for range maxRounds {
		whole, identity, from := f.succeeding(t)
		if identity == "" {
			return Token{}, at, false, nil
		}
		rec, received, err := f.accept(whole, q, 0, taken.Least(), taken)
		if err != nil {
			return Token{}, at, true, fmt.Errorf("%w: %w", ErrRequest, err)
		}
		predecessor := t.read().predecessor
		change := func(d *replica.Draft) bool {
			fresh, before := *rec, predecessor
			if known := d.Doc.Tokens[rec.ID]; known != nil && (!brings && known.Says(rec) || known.Acquired == rec.Acquired && known.Expiry == rec.Expiry && (!brings || known.Parts.Same(&rec.Parts))) {
				return false // by one that said the same, or by this call
			}
			if d.Doc.Tokens[before] == nil { // it waited, too, and gave way to this one
				before = d.Doc.ValueOf(identity, q.Scope, d.At.Now)
			}
			adopted, behind := d.Doc.AdoptSuccessor(f.policy, &fresh, before, from, d.At.Now)
			if behind && later.Load() && len(t.read().secret.Further) == 0 { // nobody comes again: the value alone is new
				fresh = *rec
				fresh.Parts = ledger.Parts{}
				if fresh.Identity != nil {
					fresh.Identity = &ledger.Identity{Account: fresh.Identity.Account}
				}
				adopted, behind = d.Doc.AdoptSuccessor(f.policy, &fresh, before, "", d.At.Now)
			}
			stale.Store(behind)
			switch {
			case adopted, behind:
				return adopted
			case !later.Load():
				foreign.Store(true)
				return false
			}
			fresh = *rec // its account has ended while it waited
			fresh.Identity = nil
			return d.Doc.Adopt(f.policy, &fresh, id, f.owner, d.At.Now)
		}
		about := replica.About{Token: identity, Scope: q.Scope, Class: "adopted"}
		if refresh := t.read().secret.Refresh; refresh != "" { // those after it may leave theirs out
			about.Brings = secrets.ID(refresh)
		}
		if away == nil {
			at, away = f.replica.CommitPaced(ctx, change, about)
		}
		if away != nil {
			at = f.replica.ApplyReport(change, about)
		}
		switch {
		case foreign.Load():
			return Token{}, at, false, nil
		case stale.Load():
			continue
		}
		later.Store(true)
		if away != nil {
			return received, at, true, fmt.Errorf("%w: %w", ErrStore, away)
		}
		return received, at, true, nil
	}
	return Token{}, at, true, fmt.Errorf("%w: %w", ErrStore, errUnsettled)
}
