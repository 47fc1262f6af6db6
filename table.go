package tokenguard

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tokenguard/tokenguard/internal/counts"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/replica"
	"github.com/tokenguard/tokenguard/internal/striped"
	"github.com/tokenguard/tokenguard/internal/timeline"
)

// table is a picture of one revision's tokens, of those that may be handed out without a question. Entries come in as their
// scopes are asked for.
type table struct {
	term   atomic.Pointer[term]
	delta  timeline.Instant // meter instant = delta + monotonic nanoseconds
	scopes scopes           // what a plain request of a scope gets
	plain  *entry           // that of the scope "", without the search
	other  *entry           // the personal token, where it is good for any scope
	byWall timeline.Instant // when the wall clock ends the personal token that is in it; 0: never
	uses   map[string]*lastUse
	rev    *replica.Revision
}

// entry is a grant that is ready to be handed out.
type entry struct {
	name                                 // from here to barred is what a hit looks at, in one cache line
	hits atomic.Pointer[striped.Counter] // counts them
	loan
	barred bool // some operation is to have another token, or none: a named caller has to ask
	sort   counts.Sort

	grant Grant
	scope string
	until timeline.Instant // then it needs a decision again
	use   *lastUse
}

// newTableLocked begins the table of a revision, carrying the uses over. foreign reports whether a token is from another
// process. c.mu is held. mono was read before now, so that no token seems to last longer than it does.
func (c *tokenCache) newTableLocked(rev *replica.Revision, mono time.Duration, now timeline.Instant, foreign func(*ledger.Token) bool) *table {
	t := &table{delta: now - timeline.Instant(mono), scopes: newScopes(min(rev.Doc.ByScope.Most(), firstScopes) + 1), rev: rev}
	old := c.table.Load()
	if old != nil && old.rev.SameSecrets(rev) {
		t.uses = old.uses
		return t
	}
	t.uses = make(map[string]*lastUse, len(rev.Secrets))
	for id := range rev.Secrets {
		if old != nil && old.uses[id] != nil {
			if t.uses[id] = old.uses[id]; old.rev.Epoch != rev.Epoch { // an older document came back, which may not have it
				t.uses[id].noted.Store(-1)
			}
			continue
		}
		rec, u := rev.Doc.Tokens[id], &lastUse{}
		u.at.Store(int64(rec.Used))
		u.foreign.Store(foreign(rec))
		t.uses[id] = u
	}
	return t
}

// roomyLocked is the current table, with room for one more scope. Most scopes of thousands are not asked for between one
// commit and the next, and to make places for all of them would be much of what a commit takes. c.mu is held.
func (c *tokenCache) roomyLocked(t *table) *table {
	if 4*(t.scopes.used+1) <= len(t.scopes.slots) {
		return t
	}
	larger := &table{delta: t.delta, scopes: newScopes(2 * t.scopes.used), plain: t.plain, other: t.other, byWall: t.byWall, uses: t.uses, rev: t.rev}
	larger.term.Store(t.term.Load())
	for i := range t.scopes.slots {
		if e := t.scopes.slots[i].Load(); e != nil {
			larger.scopes.add(e)
		}
	}
	c.table.Store(larger)
	return larger
}

// add enters an entry into a table, and has its hits counted for its scope.
func (c *tokenCache) add(t *table, e *entry) {
	e.hits.Store(c.usage.scope(e.scope).Hits(e.sort))
	t.add(e)
}

// addPersonal enters the personal token, if there is one that serves. One that is good for any scope has the hits of those
// without a token of their own counted with the others.
func (c *tokenCache) addPersonal(t *table, in *inputs, now timeline.Instant) {
	byWall := in.personal.endsByWall() // first: a token that comes in between has the table made again
	e := in.personalEntry(t, now)
	if e == nil {
		return
	}
	t.byWall = byWall
	c.add(t, e)
	if e.scope == "" {
		if t.other = in.personalEntry(t, now); t.other != nil {
			t.other.ends = e.ends
			t.other.hits.Store(c.usage.others.Hits(e.sort))
		}
	}
}

// displaced has the hits of a scope that lost its place counted with the others, until its next table. One whose table is
// just being made may count for the place's new name in that table.
func (c *tokenCache) displaced(scope string, place *counts.Place) {
	t := c.table.Load()
	if t == nil {
		return
	}
	e := t.plain
	if scope != "" {
		e = t.scopes.find(scope)
	}
	if e != nil {
		e.hits.CompareAndSwap(place.Hits(e.sort), c.usage.others.Hits(e.sort))
	}
}

func (t *table) add(e *entry) {
	if len(e.scope) <= longestName {
		e.name = nameOf(e.scope)
	}
	e.ends = int64(e.until - t.delta)
	if e.scope == "" {
		t.plain = e
	} else {
		t.scopes.add(e)
	}
}

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
