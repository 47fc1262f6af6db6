package ledger

import "maps"

// ScopeIndex has the anonymous tokens of each scope, newest first. A list is replaced, never written.
//
// A commit replaces the lists of one scope or two of up to ten thousand. So documents share what they do not change, and a
// few changes are kept apart from it.
type ScopeIndex struct {
	base map[string][]*Token // never written once a document has it
	own  map[string][]*Token // in place of those in base; empty: the scope has none
}

// apart is how many changes are kept apart.
const apart = 64

// Of returns the tokens of a scope.
func (x *ScopeIndex) Of(scope string) []*Token {
	if len(x.own) > 0 {
		if list, changed := x.own[scope]; changed {
			return list
		}
	}
	return x.base[scope]
}

// All are the scopes that have tokens.
func (x *ScopeIndex) All() func(yield func(string, []*Token) bool) {
	return func(yield func(string, []*Token) bool) {
		for scope, list := range x.base {
			if changed, is := x.own[scope]; is {
				list = changed
			}
			if len(list) > 0 && !yield(scope, list) {
				return
			}
		}
		for scope, list := range x.own {
			if _, known := x.base[scope]; !known && len(list) > 0 && !yield(scope, list) {
				return
			}
		}
	}
}

// Most is how many scopes have tokens, or a few more.
func (x *ScopeIndex) Most() int { return len(x.base) + len(x.own) }

// Without is a copy in which a scope has none.
func (x *ScopeIndex) Without(scope string) ScopeIndex {
	c := x.clone()
	c.set(scope, nil)
	return c
}

func (x *ScopeIndex) clone() ScopeIndex {
	if len(x.own) <= apart {
		return ScopeIndex{x.base, maps.Clone(x.own)}
	}
	base := make(map[string][]*Token, x.Most())
	for scope, list := range x.All() {
		base[scope] = list
	}
	return ScopeIndex{base: base}
}

func (x *ScopeIndex) set(scope string, list []*Token) {
	if x.own == nil {
		x.own = map[string][]*Token{}
	}
	x.own[scope] = list
}
