package ledger

// Answers to renewals, and what their account has come to have meanwhile.

// Merged are the further secrets of an answer put together with those that its account has, as far as that was read: they
// cannot be read, nor sealed, in a commit.
type Merged struct {
	Beside Parts  // the account's, as they were read
	Hash   string // of its refresh token

	Over      Parts  // the answer's, with what it leaves out as the account has it
	OverHash  string // of the refresh token among them
	Under     Parts  // the account's, with what it lacks as the answer has it
	UnderAdds bool   // that is something
}

// of is m if the account's parts are still those that were read; nil: they are others.
func (m *Merged) of(r *Token) *Merged {
	if m == nil || !r.Parts.Same(&m.Beside) || r.Identity.Hash != m.Hash {
		return nil
	}
	return m
}

// over is the answer with the parts that it does not state as the account has them.
func (m *Merged) over(answer *Token) *Token {
	if m == nil || answer == nil {
		return answer
	}
	whole, stated := *answer, *answer.Identity
	stated.Hash = m.OverHash
	whole.Parts, whole.Identity = m.Over, &stated
	return &whole
}

// under has the account keep what an older answer brings beside it.
func (m *Merged) under(r *Token) bool {
	if m == nil || !m.UnderAdds {
		return false
	}
	r.Parts = m.Under
	return true
}

// Stale reports whether the account of a renewal has other parts than those that its answer was put together with.
func (d *Document) Stale(l *Renewal) bool {
	r := d.RenewedBy(l)
	return l.Merged != nil && r != nil && l.Merged.of(r) == nil
}

// RenewedBy is the record that a renewal's end is of: that of the newest value after the one that was leased, or of the same
// account as it was acquired again for this scope; nil: it is not known any more.
func (d *Document) RenewedBy(l *Renewal) *Token {
	leased := d.Tokens[l.Record]
	if leased != nil {
		leased = d.Current(leased)
	}
	if leased == nil || leased.Identity == nil || leased.Identity.ID != l.Identity {
		if r := d.identity(l.Identity); r != nil || leased == nil || leased.Identity == nil || leased.ID == l.Record && leased.Identity.Lease.ID != l.Lease.ID {
			return r
		}
		return leased // another has taken its place, and its lease
	}
	if leased.Identity.Ended != 0 {
		for _, r := range d.ByScope.Of(leased.Scope) {
			if r.Identity != nil && r.Identity.ID == l.Identity && r.Identity.Ended == 0 {
				return r
			}
		}
	}
	return leased
}
