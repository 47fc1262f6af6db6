package classify

import "encoding/binary"

// sieve is a set of how texts begin, which may be asked what nobody put into it. Words as common as "for" begin many
// phrases, so it takes eight bytes to tell them apart.
type sieve struct {
	eights [1 << 17 / 64]uint64 // a bit for the first eight bytes of each text
	fours  [1 << 15 / 64]uint64 // of those that are shorter, for the first four
	twos   [1 << 13 / 64]uint64 // of those that are shorter still, for the first two
	ones   [256]bool            // and of those of one byte
}

// sieved spreads the beginning of a text over bits.
func sieved(start uint64) uint64 { return start * 0x9E3779B97F4A7C15 >> 40 }

// add makes mayHold true of all that begins with text.
func (s *sieve) add(text string) {
	start := []byte(text)
	set := func(bits []uint64, start uint64) {
		h := sieved(start) % uint64(64*len(bits))
		bits[h/64] |= 1 << (h % 64)
	}
	switch {
	case len(start) >= 8:
		set(s.eights[:], binary.LittleEndian.Uint64(start))
	case len(start) >= 4:
		set(s.fours[:], uint64(binary.LittleEndian.Uint32(start)))
	case len(start) >= 2:
		set(s.twos[:], uint64(binary.LittleEndian.Uint16(start)))
	default:
		s.ones[start[0]] = true
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
	h := sieved(start) % uint64(64*len(s.eights))
	has := s.eights[h/64] >> (h % 64)
	h = sieved(start&0xFFFF_FFFF) % uint64(64*len(s.fours))
	has |= s.fours[h/64] >> (h % 64)
	h = sieved(start&0xFFFF) % uint64(64*len(s.twos))
	has |= s.twos[h/64] >> (h % 64)
	return has&1 != 0 || s.ones[byte(start)]
}
