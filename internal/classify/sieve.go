package classify

import "encoding/binary"

// sieve is a set of how texts begin, which may be asked what nobody put into it. Words as common as "for" begin many
// phrases, so it takes eight bytes to tell them apart; and what only begins as a short phrase must not pass for it, so that
// the shorter are apart, by how many of their bytes are looked at.
type sieve struct {
	eights [1 << 11]uint64
	sixes  [1 << 9]uint64
	fours  [1 << 8]uint64
	threes [1 << 6]uint64
	twos   [1 << 6]uint64
	ones   [256]bool
}

// sieved spreads the beginning of a text: it takes two bits of one of that many words.
func sieved(start uint64, words int) (word int, bits uint64) {
	h := start * 0x9E3779B97F4A7C15 >> 40
	return int(h>>12) & (words - 1), 1<<(h&63) | 1<<(h>>6&63)
}

// firstBytes is the first n bytes of what begins with start.
func firstBytes(start uint64, n int) uint64 { return start & (1<<(8*n) - 1) }

// add makes mayHold true of all that begins with text.
func (s *sieve) add(text string) {
	var room [8]byte
	size := copy(room[:], text)
	start := binary.LittleEndian.Uint64(room[:])
	set := func(words []uint64, n int) {
		i, bits := sieved(firstBytes(start, n), len(words))
		words[i] |= bits
	}
	switch size {
	case 8:
		set(s.eights[:], 8)
	case 7, 6:
		set(s.sixes[:], 6)
	case 5, 4:
		set(s.fours[:], 4)
	case 3:
		set(s.threes[:], 3)
	case 2:
		set(s.twos[:], 2)
	default:
		s.ones[room[0]] = true
	}
}

// mayHold reports false only if nothing that was added begins text.
func (s *sieve) mayHold(text []byte) bool {
	var start uint64
	if len(text) >= 8 {
		start = binary.LittleEndian.Uint64(text)
	} else {
		var last [8]byte
		copy(last[:], text)
		start = binary.LittleEndian.Uint64(last[:]) // what is not there is zero, and in no phrase
	}
	if i, bits := sieved(start, len(s.eights)); s.eights[i]&bits == bits {
		return true
	}
	if i, bits := sieved(firstBytes(start, 6), len(s.sixes)); s.sixes[i]&bits == bits {
		return true
	}
	if i, bits := sieved(firstBytes(start, 4), len(s.fours)); s.fours[i]&bits == bits {
		return true
	}
	if i, bits := sieved(firstBytes(start, 3), len(s.threes)); s.threes[i]&bits == bits {
		return true
	}
	if i, bits := sieved(firstBytes(start, 2), len(s.twos)); s.twos[i]&bits == bits {
		return true
	}
	return s.ones[byte(start)]
}
