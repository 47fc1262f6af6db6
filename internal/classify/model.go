package classify

import (
	_ "embed"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// The model is a linear one over words, pairs of words, parts of words, the
// status, the ideas found, each two of them, each under the status, and the class
// that the rules give. It is asked where the rules say unknown or disagree
// with the status, and never gives a class that permits a new token; its agreement
// with the rules is part of the confidence. Its weights are written by the program in train, and
// all of its arithmetic is on integers, so that every machine gives the same
// answer.

// Buckets is how many features the model tells apart; others share one.
const Buckets = 1 << 15

// modelClasses are the classes in the order of the weights.
var modelClasses = [...]string{QuotaExhausted, RateLimited, AuthInvalid, Forbidden, Transient, ClientError, Unknown}

//go:generate go run ./train -o weights.bin ../../testdata/api-errors.jsonl testdata/api-errors-2.jsonl testdata/api-errors-3.jsonl testdata/extra.jsonl testdata/fresh-1.jsonl
//go:embed weights.bin
var weights string

// modelText bounds what of a normalised text the model reads: what matters
// comes early, and the time is bounded.
const modelText = 512

// Features returns the features of in, all below [Buckets], none twice.
func Features(in Input) []uint32 {
	ev := newEvidence(weights)
	defer ev.free()
	ev.read(in)
	return slices.Clone(ev.features())
}

func (ev *evidence) features() []uint32 {
	var seen [Buckets / 64]uint64
	list := ev.buckets[:0]
	add := func(h uint32) {
		h = (h ^ h>>15) % Buckets
		if seen[h/64]&(1<<(h%64)) == 0 {
			seen[h/64] |= 1 << (h % 64)
			list = append(list, h)
		}
	}
	status := ev.status()
	add(hash("status", uint32(status)))
	add(hash("status of a hundred", uint32(status/100)))
	add(hash("bias", 0))
	add(hash(ev.class, 0))
	add(hash(ev.class, uint32(status)+1))
	for rest := uint64(ev.said); rest != 0; rest &= rest - 1 {
		idea := uint32(bits.TrailingZeros64(rest))
		add(hashPair(seedIdea, idea, 0))
		add(hashPair(seedStatus, idea, uint32(status)))
		for other := rest & (rest - 1); other != 0; other &= other - 1 {
			add(hashPair(seedIdea, idea, uint32(bits.TrailingZeros64(other))))
		}
	}
	if ev.used || ev.usedLong || ev.retry {
		add(hash("headers close a window", 0))
	}
	text := ev.text[:min(len(ev.text), modelText)]
	last := uint32(0)
	for i := 0; i < len(text); {
		if text[i] == ' ' || text[i] == clauseEnd {
			i++
			continue
		}
		n := min(wordLen(text[i:]), len(text)-i)
		word := text[i : i+n]
		i += n
		if isDigit(word[0]) {
			continue // numbers are the answer's own
		}
		h := hashBytes(seedWord, word)
		add(h)
		add(h*31 + last)
		last = h
		for k := 0; k+4 <= len(word) && word[0] < utf8.RuneSelf; k++ {
			add(hashBytes(seedPart, word[k:k+4]))
		}
	}
	ev.buckets = list
	return list
}

const (
	seedWord   = 2166136261
	seedPart   = 2654435769
	seedIdea   = 2246822519
	seedStatus = 3266489917
)

func hashPair(seed, a, b uint32) uint32 {
	return ((seed^a)*16777619 ^ b) * 16777619
}

func hashBytes(h uint32, b []byte) uint32 {
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

func hash(name string, n uint32) uint32 {
	h := uint32(seedWord)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return (h ^ n) * 16777619
}

// modelSays is what came of asking the model.
type modelSays int

const (
	notAsked  modelSays = iota
	agrees              // it finds the class of the rules best
	differs             // it finds another best, but not by enough, or one that it may not give
	answers             // the rules said unknown
	doubts              // it does not confirm what the rules say: nobody can tell
	overrules           // the rules said another class
)

// How far the model must be ahead to overrule, to call for doubt, to answer
// where not one idea was found, and to confirm a permission that the status
// does not.
const (
	leadToOverrule = 20
	leadToDoubt    = 50
	leadOfLetters  = 100
	leadToPermit   = 100
)

// ask lets the model answer for unknown, or overrule class. It never gives a
// class that permits a new token, and one of the rules that it does not confirm
// is unknown.
func (ev *evidence) ask(class string) (string, modelSays) {
	guess, lead := ev.guess(ev.weights)
	switch {
	case guess == class && permits(class) && lead < leadToPermit:
		return Unknown, doubts
	case guess == class:
		return class, agrees
	case permits(guess):
		return class, differs
	case class == Unknown && (!ev.foreign() || lead >= leadOfLetters):
		return guess, answers
	case class == Unknown:
		return class, differs
	case guess == Unknown && (permits(class) || lead >= leadToDoubt):
		return Unknown, doubts
	case guess != Unknown && lead >= leadToOverrule:
		return guess, overrules
	case permits(class):
		return Unknown, doubts
	}
	return class, differs
}

// foreign reports a text that says nothing of an API: no status, no header that counts, not one idea. Most such texts are
// a program's own, as "segmentation fault" is: the model knows no more than their letters, and must be sure.
func (f *facts) foreign() bool {
	return f.said == 0 && f.status() == 0 && !f.used && !f.usedLong && !f.retry
}

// guess is the class that the model finds best, and by how much: the lead over
// the second, 0 to a few hundred.
func (ev *evidence) guess(weights string) (class string, lead int) {
	var sums [len(modelClasses)]int32
	list := ev.features()
	for _, b := range list {
		of := weights[int(b)*len(sums):][:len(sums)]
		for c := range sums {
			sums[c] += int32(int8(of[c]))
		}
	}
	best, second := 0, 1
	if sums[1] > sums[0] {
		best, second = 1, 0
	}
	for c := 2; c < len(sums); c++ {
		switch {
		case sums[c] > sums[best]:
			best, second = c, best
		case sums[c] > sums[second]:
			second = c
		}
	}
	return modelClasses[best], int(sums[best]-sums[second]) * 4 / root(len(list))
}

// root is the integer square root of n > 0.
func root(n int) int {
	r := 1
	for (r+1)*(r+1) <= n {
		r++
	}
	return r
}

// Classes are the classes in the order of the model's weights.
func Classes() []string { return modelClasses[:] }

// permits reports the two classes that permit a new token.
func permits(class string) bool { return class == QuotaExhausted || class == AuthInvalid }
