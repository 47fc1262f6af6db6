package tokenguard

import (
	"errors"
	"maps"

	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// The secrets beside a renewed value.

// rest is what an answer whose value cannot be used, because of err, brings beside it: a refresh token that has replaced the
// one that was presented, with the further secrets; nil: none.
func (f *flights) rest(t Token, j *renewalJob, began timeline.Instant, r timeline.Reading, err error) *ledger.Token {
	b := t.read()
	whole := completed(b.secret, j.secret)
	whole.Value, whole.ID = j.secret.Value, j.secret.ID
	if whole.Refresh == j.secret.Refresh || whole.Size() > maxTokenSize || errors.Is(err, errOtherAccount) ||
		b.account != "" && j.rec.Identity.Account != "" && b.account != j.rec.Identity.Account {
		return nil
	}
	rec := &ledger.Token{ID: j.record, Identity: &ledger.Identity{Hash: secrets.Hash("refresh", whole.Refresh), Expiry: t.refreshEnds(began, r)}}
	f.keeper.Seal(rec, whole)
	return rec
}

// merged puts the further secrets of an answer together with those that the account has come to have since it was asked for:
// by another answer, or by a value that was adopted. They are sealed here, before the commit that chooses among them; nil:
// there is nothing to choose. While the store is away another process may change them unseen: an answer that waits then
// has, as before, those alone that it brought and that were known when it was asked for.
func (f *flights) merged(t Token, j *renewalJob, end *ledger.Renewal) *ledger.Merged {
	rev := f.replica.Newest()
	r := rev.Doc.RenewedBy(end)
	switch {
	case r == nil || rev.Secrets[r.ID] == nil:
		return nil
	case end.Token == nil && (end.Rest == nil || r.Identity.Hash != end.Lease.Hash):
		return nil
	}
	s, stated := rev.Secrets[r.ID], t.read().secret
	m := &ledger.Merged{Beside: r.Parts, Hash: r.Identity.Hash}
	over, under := completed(stated, s), completed(s, stated)
	under.Refresh = s.Refresh
	if over.Size() > maxTokenSize || under.Size() > maxTokenSize {
		return nil
	}
	seal := func(id string, s *secrets.Secret) (parts ledger.Parts, hash string) {
		rec := &ledger.Token{ID: id, Identity: &ledger.Identity{Hash: secrets.Hash("refresh", s.Refresh)}}
		f.keeper.Seal(rec, s)
		return rec.Parts, rec.Identity.Hash
	}
	if m.UnderAdds = !maps.Equal(under.Further, s.Further); m.UnderAdds && end.Token != nil && end.Lease.Generation < r.Identity.From {
		m.Under, _ = seal(r.ID, under)
	} else {
		m.UnderAdds = false
	}
	switch {
	case end.Token != nil && maps.Equal(j.secret.Further, s.Further) && j.secret.Refresh == s.Refresh:
		m.Over, m.OverHash = end.Token.Parts, end.Token.Identity.Hash
	case end.Token != nil:
		m.Over, m.OverHash = seal(end.Token.ID, over)
	default: // the value is not to be used
		over.Value, over.ID = s.Value, s.ID
		m.Over, m.OverHash = seal(r.ID, over)
	}
	return m
}

// completed is a new value's secret with what it leaves out taken from the one before.
func completed(next, old *secrets.Secret) *secrets.Secret {
	whole := *next
	if whole.Refresh == "" {
		whole.Refresh = old.Refresh
	}
	if len(old.Further) > 0 {
		whole.Further = maps.Clone(old.Further)
		maps.Copy(whole.Further, next.Further)
	}
	return &whole
}
