package classify

import (
	"strings"
	"unicode/utf8"
)

// timeWords are the words that a time may begin with, by their first byte.
var timeWords = func() (by [256][]timeWord) {
	add := func(text string, kind timeKind) {
		w := timeWord{text, kind, wordLength(text)}
		by[text[0]] = append(by[text[0]], w)
		if r, _ := utf8.DecodeRuneInString(text); r >= utf8.RuneSelf {
			if upper := strings.ToUpper(string(r)); upper[0] != text[0] {
				by[upper[0]] = append(by[upper[0]], w)
			}
		}
	}
	for _, w := range numeralWords {
		for text := range strings.SplitSeq(w.text, "|") {
			add(text, aNumber)
		}
	}
	for _, names := range months {
		for text := range strings.SplitSeq(names, "|") {
			add(text, aDate)
		}
	}
	for _, text := range weekdays {
		add(text, aDate)
	}
	for _, w := range dayWords {
		add(w.text, aDay)
	}
	return by
}()

func shape(s string, length int) int {
	second := byte(' ')
	if length > 1 {
		second = lowers[s[1]]
	}
	return (int(lowers[s[0]])*37 + int(second)*131 + length*523) & (1<<12 - 1)
}

type timeKind uint8

const (
	aNumber timeKind = iota + 1
	aDate
	aDay
)

type timeWord struct {
	text  string
	kind  timeKind
	first int // bytes of its first word
}

func wordLength(s string) (n int) {
	for n < len(s) && wordBytes[s[n]] {
		n++
	}
	return n
}

// shapedWords are those of timeWords that begin in ASCII, by the beginnings and lengths of their first words, by which
// nearly every other word is told apart at once.
var shapedWords = func() (by [1 << 12][]timeWord) {
	for first := range timeWords {
		for _, w := range timeWords[first] {
			if w.text[0] >= utf8.RuneSelf {
				continue
			}
			at := shape(w.text, w.first)
			by[at] = append(by[at], w)
		}
	}
	return by
}()

// shapes are those that some of them have: a set that stays in the nearest memory.
var shapes = func() (set [1 << 12 / 64]uint64) {
	for at, words := range shapedWords {
		if words != nil {
			set[at/64] |= 1 << (at % 64)
		}
	}
	return set
}()

// startsTimeWord reports that the word that s begins with may begin a time.
func startsTimeWord(s string) bool {
	return oneStarts(s, wordLength(s), timeWords[lowerByte(s[0])])
}

// oneStarts is startsTimeWord for some of the words, and the length of the first of s.
func oneStarts(s string, first int, words []timeWord) bool {
	for i := range words {
		w := &words[i]
		if w.first != first || first > 1 && w.text[1] < utf8.RuneSelf && lowerByte(s[1]) != w.text[1] {
			continue
		}
		size, ok := prefixFold(s, w.text)
		if !ok || startsWithLetter(s[size:]) && w.text != "mezz'" {
			continue
		}
		if w.kind != aNumber || w.text == "полчаса" {
			return true
		}
		if _, _, ok := cutUnit(s[size:]); ok {
			return true
		}
	}
	return false
}

// startsISO reports the beginning of an ISO 8601 duration.
func startsISO(s string) bool {
	return s[0] == 'P' && len(s) > 2 && (isDigit(s[1]) || s[1] == 'T' && isDigit(s[2]))
}

func startsWeekday(s string) bool {
	t := cutWeekday(s)
	return len(t) < len(s) && (t != "" && isDigit(t[0]) || startsMonth(t))
}
