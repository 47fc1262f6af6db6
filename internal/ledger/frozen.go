package ledger

import (
	"maps"
	"slices"
)

// A commit changes one token or two of up to ten thousand. So documents share the records that did not change, of tokens
// and of scopes: a record is frozen once its document is published, and a change edits a copy of its own.

// Freeze ends the changes to a document that is to be published. It returns the tokens that differ from those of the
// published document that it is a clone of, which is from; nil: of none, or some are gone.
func (d *Document) Freeze() (changed []*Token, from *Document) {
	if d.frozen {
		return nil, d
	}
	gone := 0
	if from = d.from; from != nil {
		gone = len(from.Tokens) - len(d.Tokens)
	}
	changed = d.unfrozen()
	for _, r := range changed {
		r.form = &form{}
		if from != nil && from.Tokens[r.ID] == nil {
			gone++
		}
	}
	d.noteStale(changed)
	if d.from, d.edited = nil, nil; gone > 0 {
		from = nil
	}
	for _, k := range d.Scopes {
		if k.form == nil {
			k.form = &form{}
		}
	}
	if len(d.ids) != len(d.Tokens) { // what was encoded has them
		d.ids = d.sortedIDs()
	}
	d.frozen = true
	return changed, from
}

// unfrozen returns the tokens that no other document shares.
func (d *Document) unfrozen() (tokens []*Token) {
	if d.from != nil && !d.indexed && len(d.Tokens) == len(d.from.Tokens) { // none came or went: to look at each costs more than what a commit changes
		return d.edited
	}
	for _, r := range d.Tokens {
		if r.form == nil {
			tokens = append(tokens, r)
		}
	}
	return tokens
}

// descends reports whether d is being changed and comes from a published document: it will be one itself, and hands on
// what its encoding finds out.
func (d *Document) descends() bool { return d.ids != nil && !d.frozen }

// Clone copies everything that a change may touch, but for frozen records: Edit and ScopeFor copy those.
func (d *Document) Clone() *Document {
	c := *d
	c.frozen, c.edited = false, nil
	c.Clock.Boots = maps.Clone(d.Clock.Boots)
	c.Attempts, c.Folded = slices.Clone(d.Attempts), slices.Clone(d.Folded)
	c.Triggers = slices.Clone(d.Triggers)
	c.Renewals.Starts, c.Renewals.Failures = slices.Clone(d.Renewals.Starts), maps.Clone(d.Renewals.Failures)
	c.History = d.History.Clone()
	c.Counts.Failures = maps.Clone(d.Counts.Failures)
	c.Limits = slices.Clone(d.Limits)
	c.dropped = slices.Clone(d.dropped)
	c.Scopes, c.Tokens = maps.Clone(d.Scopes), maps.Clone(d.Tokens)
	if d.frozen {
		c.from, c.indexed = d, false
		c.ByScope = d.ByScope.clone()
		return &c
	}
	for scope, k := range d.Scopes {
		if k.form == nil {
			c.Scopes[scope] = k.clone()
		}
	}
	for id, r := range d.Tokens {
		if r.form == nil {
			c.Tokens[id] = r.clone()
		}
	}
	c.Index()
	return &c
}

// clone is a copy of the record that may be changed.
func (r *Token) clone() *Token {
	v := *r
	v.form = nil
	v.Usage, v.Evidence = r.Usage.Clone(), slices.Clone(r.Evidence) // an Identity is replaced, never written
	return &v
}

// Edit returns the document's record of a token for changes: r itself, or, where other documents share it, a copy that
// takes its place. r is a record of d; after the call, the record that it returns is.
func (d *Document) Edit(r *Token) *Token {
	if r.form == nil {
		return r
	}
	v := r.clone()
	d.Tokens[r.ID] = v
	d.edited = append(d.edited, v)
	for scope := range r.scopes {
		if i := slices.Index(d.ByScope.Of(scope), r); i >= 0 {
			list := slices.Clone(d.ByScope.Of(scope))
			list[i] = v
			d.ByScope.set(scope, list)
		}
	}
	return v
}

// editAll is Edit of all tokens, for what may change any of them.
func (d *Document) editAll() {
	for _, r := range d.Tokens {
		d.Edit(r)
	}
}
