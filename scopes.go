package tokenguard

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
	"unsafe"
)

// scopes finds the entry of a scope with one hash and mostly one comparison, which a map does not: it is at most a
// quarter full, and open-addressed, so that a collision costs a step and not a miss.
type scopes struct {
	slots []atomic.Pointer[entry] // a power of two of them
	used  int
}

// firstScopes is for how many scopes a table has room before it grows.
const firstScopes = 64

func newScopes(n int) scopes {
	size := 4
	for size < 4*n {
		size *= 2
	}
	return scopes{slots: make([]atomic.Pointer[entry], size)}
}

// find returns the entry of a scope, or nil.
func (s *scopes) find(scope string) *entry {
	for i := hashOf(scope); ; i++ {
		if e := s.at(i); e == nil || e.scope == scope {
			return e
		}
	}
}

// add enters an entry, in place of the one that the scope has. It needs the room that newScopes was asked for. One adds at a
// time; a find meanwhile may miss what is being added.
func (s *scopes) add(e *entry) {
	i := hashOf(e.scope)
	for old := s.at(i); old != nil && old.scope != e.scope; old = s.at(i) {
		i++
	}
	s.slots[i&uint64(len(s.slots)-1)].Store(e)
	s.used++
}

// at is the entry to which a hash leads, be it of that scope or of another.
func (s *scopes) at(hash uint64) *entry { return s.slots[hash&uint64(len(s.slots)-1)].Load() }

// name is a scope in words, which a hit compares without a call: of two of one length, the names are the same only if the
// scopes are. A scope of less than 8 bytes is in head alone, one of at most 16 in head and tail.
type name struct{ head, tail, second, third uint64 }

// longestName is the longest scope that has a name, in bytes.
const longestName = 32

func nameOf(scope string) (n name) {
	if len(scope) < 8 {
		for i := range len(scope) {
			n.head = n.head<<8 | uint64(scope[i])
		}
		return n
	}
	b := unsafe.Slice(unsafe.StringData(scope), len(scope)) // read only
	n.head, n.tail = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[len(b)-8:])
	if len(b) > 16 {
		n.second, n.third = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[len(b)-16:])
	}
	return n
}

var (
	nameKeys  = [4]uint64{rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()}
	scopeSeed = maphash.MakeSeed()
)

// hash is that of a scope of a number of bytes.
func (n name) hash(size int) uint64 {
	h := fold(n.head^nameKeys[0], n.tail^nameKeys[1])
	if size > 16 {
		h ^= fold(n.second^nameKeys[2], n.third^nameKeys[3])
	}
	return h + uint64(size)
}

// hashOf is the hash of a scope of any length.
func hashOf(scope string) uint64 {
	if len(scope) <= longestName {
		return nameOf(scope).hash(len(scope))
	}
	return maphash.String(scopeSeed, scope)
}
