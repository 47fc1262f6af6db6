package template

import (
	"math/bits"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxWords bounds the words of a template: each takes a byte and a space, or
// three bytes in a script without spaces.
const maxWords = maxOutput/2 + 1

// words is a template cut into its words, each as a hash and where it begins,
// and the set of its distinct shingles.
type words struct {
	text string
	n    int
	hash [maxWords]uint64
	at   [maxWords + 1]uint16

	distinct int    // shingles
	mask     uint64 // slots in use, less one
	slots    [2048]uint16
}

// pair holds two texts under comparison. It is reused, for clearing 18 KiB takes
// longer than comparing two short texts. So is what it read: one new text is
// compared with each that is remembered, and those of a storm with the same one.
type pair struct{ a, b *words }

var pairs = sync.Pool{New: func() any { return &pair{new(words), new(words)} }}

// read makes a and b those of two templates that differ.
func (p *pair) read(a, b Template) {
	if p.a.text == b.text || p.b.text == a.text {
		p.a, p.b = p.b, p.a
	}
	p.a.read(a)
	p.b.read(b)
}

func (w *words) read(t Template) {
	if w.text == t.text && w.mask != 0 {
		return
	}
	w.split(t.text)
	w.collect()
}

func (w *words) split(text string) {
	w.text, w.n = text, 0
	for i := 0; i < len(text) && w.n < maxWords; {
		if text[i] == ' ' {
			i++
			continue
		}
		w.at[w.n] = uint16(i)
		if isHan(text, i) {
			w.hash[w.n] = mix(uint64(text[i])<<16 | uint64(text[i+1])<<8 | uint64(text[i+2]))
			w.n++
			i += 3
			continue
		}
		end := wordEnd(text, i)
		w.hash[w.n] = hashWord(text[i:end])
		w.n++
		i = end
	}
	w.at[w.n] = uint16(len(text))
}

// wordEnd returns the end of the word that begins at text[i].
func wordEnd(text string, i int) int {
	if isHan(text, i) {
		return i + 3
	}
	for j := i; j < len(text); {
		switch {
		case text[j] == ' ':
			return j
		case text[j] < utf8.RuneSelf:
			j++
		default:
			r, size := utf8.DecodeRuneInString(text[j:])
			if isCJK(r) {
				if j > i {
					return j
				}
				return j + size
			}
			j += size
		}
	}
	return len(text)
}

// hashWord hashes a word without its plural s, since a number that varies takes
// it along: 1 request, 2 requests.
func hashWord(word string) uint64 {
	if n := len(word); n > 3 && word[n-1] == 's' && strings.IndexByte("siu'", word[n-2]) < 0 {
		word = word[:n-1]
	}
	h := uint64(len(word))
	for len(word) > 8 {
		h = mix(h ^ eight(word))
		word = word[8:]
	}
	last := uint64(0)
	for i := range len(word) {
		last = last<<8 | uint64(word[i])
	}
	return mix(h ^ last)
}

func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// mix spreads what differs between two words over all bits.
func mix(h uint64) uint64 {
	high, low := bits.Mul64(h^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return high ^ low
}

func (w *words) word(i int) string {
	return strings.TrimSuffix(w.text[w.at[i]:w.at[i+1]], " ")
}

// shingles returns how many pairs of neighbours there are, and pair i. A single
// word is its own pair.
func (w *words) shingles() int { return max(w.n-1, min(w.n, 1)) }

func (w *words) shingle(i int) uint64 {
	if w.n == 1 {
		return w.hash[0]
	}
	hi, lo := bits.Mul64(w.hash[i]^0x9E3779B97F4A7C15, bits.RotateLeft64(w.hash[i+1], 31)|1)
	return hi ^ lo
}

// collect fills the hash table of distinct shingles: their places, each plus one.
func (w *words) collect() {
	n := w.shingles()
	size := 1 << bits.Len(uint(2*n))
	w.distinct, w.mask = 0, uint64(size-1)
	clear(w.slots[:size])
	for i := range n {
		if slot, found := w.find(w.shingle(i)); !found {
			w.slots[slot] = uint16(i + 1)
			w.distinct++
		}
	}
}

// find returns the slot of a shingle, or the free one where it belongs.
func (w *words) find(shingle uint64) (slot uint64, found bool) {
	for slot = shingle & w.mask; w.slots[slot] != 0; slot = (slot + 1) & w.mask {
		if w.shingle(int(w.slots[slot])-1) == shingle {
			return slot, true
		}
	}
	return slot, false
}

// jaccard returns the shared share of the two sets of shingles.
func jaccard(a, b *words) float64 {
	shared := 0
	for _, place := range b.slots[:b.mask+1] {
		if place != 0 {
			if _, found := a.find(b.shingle(int(place) - 1)); found {
				shared++
			}
		}
	}
	if a.distinct+b.distinct == 0 {
		return 1
	}
	return float64(shared) / float64(a.distinct+b.distinct-shared)
}

// Similarity returns how alike two templates are, from 0 to 1: the Jaccard index
// of their sets of word pairs (Broder's shingles of width 2; in scripts without
// spaces a character is a word). It is symmetric, and 1 for equal templates.
func Similarity(a, b Template) float64 {
	if a == b {
		return 1
	}
	p := pairs.Get().(*pair)
	defer pairs.Put(p)
	p.read(a, b)
	return jaccard(p.a, p.b)
}

// Same reports whether a and b are the template of one failure: they are equal,
// or at least threshold (0 to 1) similar with no difference that tells two
// failures apart: another HTTP status, ordinary words that take the place of
// others, or words on one side alone that turn the meaning, as a negation does.
// It is symmetric.
func Same(a, b Template, threshold float64) bool {
	if a == b {
		return true
	}
	if b.text < a.text { // the alignment below prefers one side in a tie
		a, b = b, a
	}
	p := pairs.Get().(*pair)
	defer pairs.Put(p)
	p.read(a, b)
	return jaccard(p.a, p.b) >= threshold && !vetoed(p.a, p.b)
}
