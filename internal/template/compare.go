package template

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

// maxWords bounds the words of a template: each takes a byte and a space, or
// three bytes in a script without spaces.
const maxWords = maxOutput/2 + 1

// words is a template cut into its words, each as a hash and where it begins.
type words struct {
	text string
	n    int
	hash [maxWords]uint64
	at   [maxWords + 1]uint16
}

func (w *words) split(text string) {
	w.text = text
	for i := 0; i < len(text) && w.n < maxWords; {
		if text[i] == ' ' {
			i++
			continue
		}
		end := wordEnd(text, i)
		w.at[w.n] = uint16(i)
		w.hash[w.n] = hashWord(text[i:end])
		w.n++
		i = end
	}
	w.at[w.n] = uint16(len(text))
}

// wordEnd returns the end of the word that begins at text[i].
func wordEnd(text string, i int) int {
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
	h := uint64(14695981039346656037)
	for i := range len(word) {
		h = (h ^ uint64(word[i])) * 1099511628211
	}
	return h
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

// shingleSet is a hash table of the places of a text's distinct shingles, each
// plus one. Its size is a power of two and at least twice maxWords.
type shingleSet struct {
	words *words
	size  int
	slots [2048]uint16
}

func (s *shingleSet) fill(w *words) {
	s.words = w
	for i := range w.shingles() {
		if slot, found := s.find(w.shingle(i)); !found {
			s.slots[slot] = uint16(i + 1)
			s.size++
		}
	}
}

// find returns the slot of a shingle, or the free one where it belongs.
func (s *shingleSet) find(shingle uint64) (slot int, found bool) {
	for slot = int(shingle % uint64(len(s.slots))); s.slots[slot] != 0; slot = (slot + 1) % len(s.slots) {
		if s.words.shingle(int(s.slots[slot])-1) == shingle {
			return slot, true
		}
	}
	return slot, false
}

// jaccard returns the shared share of the two sets of shingles.
func jaccard(a, b *words) float64 {
	var sa, sb shingleSet
	sa.fill(a)
	sb.fill(b)
	shared := 0
	for _, place := range sb.slots {
		if place != 0 {
			if _, found := sa.find(b.shingle(int(place) - 1)); found {
				shared++
			}
		}
	}
	if sa.size+sb.size == 0 {
		return 1
	}
	return float64(shared) / float64(sa.size+sb.size-shared)
}

// Similarity returns how alike two templates are, from 0 to 1: the Jaccard index
// of their sets of word pairs (Broder's shingles of width 2; in scripts without
// spaces a character is a word). It is symmetric, and 1 for equal templates.
func Similarity(a, b Template) float64 {
	if a == b {
		return 1
	}
	var wa, wb words
	wa.split(a.text)
	wb.split(b.text)
	return jaccard(&wa, &wb)
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
	var wa, wb words
	wa.split(a.text)
	wb.split(b.text)
	return jaccard(&wa, &wb) >= threshold && !vetoed(&wa, &wb)
}
