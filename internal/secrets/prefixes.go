package secrets

import (
	"math/bits"
	"math/rand/v2"
	"unicode/utf8"
)

// Nearly no text holds a secret, and nearly all time goes by in finding that out. So what reads a text first is a set of
// how the known beginnings begin: it costs one look-up for each character, and needs no place of anything. Only where
// that finds something is the text read with all that hiding takes.

// prefixLength is how many characters of a beginning stand in the set: all have at least so many.
const prefixLength = windowLeast

// prefixes is a set of strings of 8 bytes, none of them zero, by keyed hashes. What it holds may be stale.
type prefixes struct {
	key1, key2 uint64
	slots      []uint32 // at most half of them taken; 0: free
	sieve      []uint64 // a bit for each that is in slots, at most one in 64: what it lets through is nearly always there
	n          int
}

const leastSlots = 256

func newPrefixes() prefixes {
	p := prefixes{key1: rand.Uint64(), key2: rand.Uint64() | 1}
	p.reset(0)
	return p
}

// mark is the keyed hash of a prefix.
func (p *prefixes) mark(prefix uint64) uint64 {
	high, low := bits.Mul64(prefix^p.key1, p.key2)
	return high ^ low
}

// add reports whether there was room for it.
func (p *prefixes) add(mark uint64) bool {
	tag := uint32(mark>>32) | 1
	i := mark & uint64(len(p.slots)-1)
	for p.slots[i] != 0 {
		if p.slots[i] == tag {
			return true
		}
		i = (i + 1) & uint64(len(p.slots)-1)
	}
	if 2*p.n >= len(p.slots) {
		return false
	}
	p.slots[i] = tag
	n := p.bit(mark)
	p.sieve[n/64] |= 1 << (n % 64)
	p.n++
	return true
}

// reset makes it an empty set with room for twice as many as will be added.
func (p *prefixes) reset(adding int) {
	size := leastSlots
	for size < 4*adding {
		size *= 2
	}
	if len(p.slots) == size {
		clear(p.slots)
		clear(p.sieve)
	} else {
		p.slots, p.sieve = make([]uint32, size), make([]uint64, size/2)
	}
	p.n = 0
}

// bit is that of a mark in the sieve.
func (p *prefixes) bit(mark uint64) uint64 { return mark >> 24 & uint64(64*len(p.sieve)-1) }

func (p *prefixes) has(prefix uint64) bool {
	mark := p.mark(prefix)
	n := p.bit(mark)
	return p.sieve[n/64]>>(n%64)&1 != 0 && p.holds(mark)
}

// holds is has without the sieve.
func (p *prefixes) holds(mark uint64) bool {
	slots := p.slots
	for i := mark; ; i++ {
		slot := slots[i&uint64(len(slots)-1)]
		if slot == uint32(mark>>32)|1 {
			return true
		}
		if slot == 0 {
			return false
		}
	}
}

// prefixOf is the prefix of a beginning.
func prefixOf(folded []byte) (prefix uint64) {
	for _, c := range folded[:prefixLength] {
		prefix = prefix<<8 | uint64(c)
	}
	return prefix
}

// inText reports whether one of the set is in a text of which nothing but letters and digits counts.
func (p *prefixes) inText(text []byte) bool {
	last := uint64(0) // the last eight; with a zero in it it is none of the set
	key1, key2, sieve := p.key1, p.key2, p.sieve
	for _, c := range text {
		if c = folding[c]; c == 0 {
			continue
		}
		if last = last<<8 | uint64(c); last>>56 == 0 {
			continue
		}
		// This is has, which is not inlined, and here it is asked for each character.
		high, low := bits.Mul64(last^key1, key2)
		mark := high ^ low
		n := mark >> 24 & uint64(64*len(sieve)-1)
		if sieve[n/64]>>(n%64)&1 != 0 && p.holds(mark) {
			return true
		}
	}
	return false
}

// folding is what is left of each byte: of letters and digits their lower case, of signs nothing.
var folding = func() (to [256]byte) {
	for c := range 256 {
		switch c := byte(c); {
		case c >= 'A' && c <= 'Z':
			to[c] = c | 0x20
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= utf8.RuneSelf:
			to[c] = c
		}
	}
	return to
}()
