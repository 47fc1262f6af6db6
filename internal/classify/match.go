package classify

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A phrase is a pattern of a lexicon: words of normalised text, or a run of
// Chinese characters. A trailing '*' in the lexicon makes it a stem.
type phrase struct {
	text string
	stem bool
	says concept
}

// matcher finds the longest phrase at a position. Phrases are filed under
// their first three bytes, which is one Chinese character or the start of a
// word.
type matcher map[[3]byte][]phrase

var phrases = sync.OnceValue(func() matcher {
	m := matcher{}
	for _, lexicon := range [][]entry{english, chinese} {
		for _, e := range lexicon {
			for pattern := range strings.SplitSeq(e.patterns, "|") {
				pattern = strings.TrimSpace(pattern)
				text, stem := strings.CutSuffix(pattern, "*")
				m.add(phrase{text, stem, e.says})
			}
		}
	}
	for _, list := range m {
		slices.SortStableFunc(list, func(a, b phrase) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return m
})

// add files p; a phrase that stands in several rows says what all of them do.
func (m matcher) add(p phrase) {
	k := key(p.text)
	for i, known := range m[k] {
		if known.text == p.text && known.stem == p.stem {
			m[k][i].says |= p.says
			return
		}
	}
	m[k] = append(m[k], p)
}

// entry is a row of a lexicon: what all of the patterns say.
type entry struct {
	says     concept
	patterns string // separated by '|'
}

func key[T string | []byte](s T) (k [3]byte) {
	for i := range k {
		k[i] = ' '
		if i < len(s) && s[i] != clauseEnd {
			k[i] = s[i]
		}
	}
	return k
}

// longest returns the longest phrase that text starts with.
func (m matcher) longest(text []byte) (phrase, bool) {
	for _, p := range m[key(text)] {
		if len(text) < len(p.text) || string(text[:len(p.text)]) != p.text {
			continue
		}
		if p.stem || len(text) == len(p.text) || !isAlnum(p.text[len(p.text)-1]) || !isAlnum(text[len(p.text)]) {
			return p, true
		}
	}
	return phrase{}, false
}

// hit is a phrase found: bytes [start, end) of the normalised text, in the
// clause with that number.
type hit struct {
	says       concept
	start, end int32
	clause     int32
}

// maxHits bounds the work on one text; an answer that matters has said what it
// means long before.
const maxHits = 192

// scan finds the phrases of text from left to right, the longest at each
// place, none inside another: "token limit" is not about a token.
func (ev *evidence) scan(text []byte) {
	m := phrases()
	ev.clause++
	advice := false
	for i := 0; i < len(text) && ev.n < maxHits; {
		c := text[i]
		switch {
		case c == ' ':
			i++
			continue
		case c == clauseEnd:
			i++
			ev.clause++
			advice = opensAdvice(text[i:])
			continue
		}
		width := wordLen(text[i:])
		if isDigit(c) {
			ev.number(text, i, i+width)
		}
		p, ok := m.longest(text[i:])
		if !ok {
			i += width
			continue
		}
		says := p.says
		if advice {
			says &= survivesAdvice
		}
		if says != 0 {
			base := ev.base
			ev.hits[ev.n] = hit{says, base + int32(i), base + int32(i+len(p.text)), ev.clause}
			ev.n++
			ev.said |= says
		}
		i += len(p.text)
		if p.stem && i < len(text) && isAlnum(text[i]) {
			i += wordLen(text[i:])
		}
	}
	ev.base += int32(len(text))
}

// opensAdvice reports a clause that supposes something instead of stating it.
func opensAdvice(clause []byte) bool {
	return strings.HasPrefix(string(clause[:min(len(clause), 3)]), "if ")
}

// wordLen is the length of the ASCII word, or of the one wide character, at
// the start of text.
func wordLen(text []byte) int {
	if text[0] >= utf8.RuneSelf {
		_, size := utf8.DecodeRune(text)
		return size
	}
	n := 1
	for n < len(text) && text[n] != ' ' && text[n] != clauseEnd {
		n++
	}
	return n
}

// number takes a three-digit number as a status if the word before it says so
// or nothing stands before it.
func (ev *evidence) number(text []byte, start, end int) {
	if ev.inText != 0 || end-start != 3 || text[start] < '4' || text[start] > '5' || !isDigit(text[start+1]) || !isDigit(text[start+2]) {
		return
	}
	before := strings.TrimRight(string(text[max(0, start-12):start]), " \n")
	if i := strings.LastIndexAny(before, " \n"); i >= 0 {
		before = before[i+1:]
	}
	switch before {
	case "", "http", "status", "code", "error", "2", "cod", "errcode", "response", "errors":
		ev.inText = int(text[start]-'0')*100 + int(text[start+1]-'0')*10 + int(text[start+2]-'0')
	}
}
