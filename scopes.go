package tokenguard

import (
	"hash/maphash"
	"sync/atomic"
)

// scopes finds the entry of a scope with one hash and mostly one comparison, which a map does not: it is at most a
// quarter full, and open-addressed, so that a collision costs a step and not a miss.
type scopes struct {
	slots []atomic.Pointer[entry] // a power of two of them
}

var scopeSeed = maphash.MakeSeed()

func newScopes(n int) scopes {
	size := 4
	for size < 4*n {
		size *= 2
	}
	return scopes{make([]atomic.Pointer[entry], size)}
}

// find returns the entry of a scope, or nil.
func (s scopes) find(scope string) *entry { return s.slots[s.place(scope)].Load() }

// add enters an entry, of a scope that has none. It needs the room that newScopes was asked for. One adds at a time; a
// find meanwhile may miss what is being added.
func (s scopes) add(e *entry) { s.slots[s.place(e.scope)].Store(e) }

// place is where the entry of a scope stands, or would.
func (s scopes) place(scope string) uint64 {
	mask := uint64(len(s.slots) - 1)
	for i := maphash.String(scopeSeed, scope); ; i++ {
		if e := s.slots[i&mask].Load(); e == nil || e.scope == scope {
			return i & mask
		}
	}
}
