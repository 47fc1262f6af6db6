package tokenguard

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
	"unsafe"
)

// scopes finds the entry of a scope with one product and mostly one comparison of two words, a third of what a map
// takes: it is at most a quarter full, and open-addressed, so that a collision costs a step and not a miss.
type scopes struct {
	slots []atomic.Pointer[entry] // a power of two of them
}

func newScopes(n int) scopes {
	size := 4
	for size < 4*n {
		size *= 2
	}
	return scopes{make([]atomic.Pointer[entry], size)}
}

// find returns the entry of a scope, or nil.
func (s scopes) find(scope string) *entry { return s.slots[s.place(scope, wordsOf(scope))].Load() }

// add enters an entry, of a scope that has none. It needs the room that newScopes was asked for. One adds at a time; a
// find meanwhile may miss what is being added.
func (s scopes) add(e *entry) {
	e.words = wordsOf(e.scope)
	s.slots[s.place(e.scope, e.words)].Store(e)
}

// place is where the entry of a scope stands, or would.
func (s scopes) place(scope string, words scopeWords) uint64 {
	mask := uint64(len(s.slots) - 1)
	for i := words.hash(); ; i++ {
		if e := s.slots[i&mask].Load(); e == nil || e.words == words && (len(scope) <= wholeScope || e.scope == scope) {
			return i & mask
		}
	}
}

// scopeWords tell scopes apart: a short scope is in them as a whole, of a longer one they have a hash.
type scopeWords struct{ first, last, length uint64 }

// wholeScope is the longest scope that its words say all of.
const wholeScope = 16

var (
	scopeSeed = maphash.MakeSeed()
	scopeKeys = newBlockKeys()
)

func wordsOf(scope string) scopeWords {
	bytes := unsafe.Slice(unsafe.StringData(scope), len(scope)) // read only
	n := uint64(len(bytes))
	switch {
	case n > wholeScope:
		return scopeWords{maphash.String(scopeSeed, scope), 0, n}
	case n >= 8:
		return scopeWords{binary.LittleEndian.Uint64(bytes), binary.LittleEndian.Uint64(bytes[n-8:]), n}
	}
	w := scopeWords{length: n}
	for i, b := range bytes {
		w.first |= uint64(b) << (8 * i)
	}
	return w
}

// hash is keyed, so that who chooses scopes does not choose their places.
func (w scopeWords) hash() uint64 {
	return fold(w.first^scopeKeys[0], w.last^scopeKeys[1]^w.length*0x9E3779B97F4A7C15)
}
