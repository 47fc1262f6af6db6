package classify

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A phrase is a pattern of a lexicon: words of normalised text, or a run of
// Chinese characters. A trailing '*' in the lexicon makes it a stem.
type phrase struct {
	text   string
	stem   bool
	says   concept
	parent int // the longest other phrase that text starts with, -1 if none
}

// entry is a row of a lexicon: what all of its patterns say.
type entry struct {
	says     concept
	patterns string // separated by '|'
}

// matcher finds the longest phrase at a position.
type matcher struct {
	sorted []phrase
	from   [257]int // where the phrases with each first byte start
}

var phrases = sync.OnceValue(func() *matcher {
	var list []phrase
	for _, lexicon := range [][]entry{english, chinese} {
		for _, e := range lexicon {
			for pattern := range strings.SplitSeq(e.patterns, "|") {
				text, stem := strings.CutSuffix(pattern, "*")
				list = append(list, phrase{text: text, stem: stem, says: e.says})
			}
		}
	}
	return newMatcher(list)
})

// newMatcher sorts list. A phrase that stands in several rows says what all of
// them do.
func newMatcher(list []phrase) *matcher {
	slices.SortStableFunc(list, func(a, b phrase) int { return strings.Compare(a.text, b.text) })
	m := &matcher{}
	for _, p := range list {
		last := len(m.sorted) - 1
		if last >= 0 && m.sorted[last].text == p.text {
			m.sorted[last].says |= p.says
			m.sorted[last].stem = m.sorted[last].stem || p.stem
			continue
		}
		for last >= 0 && !strings.HasPrefix(p.text, m.sorted[last].text) {
			last = m.sorted[last].parent
		}
		p.parent = last
		m.sorted = append(m.sorted, p)
	}
	for c := range 256 {
		m.from[c+1] = m.from[c]
		for m.from[c+1] < len(m.sorted) && int(m.sorted[m.from[c+1]].text[0]) == c {
			m.from[c+1]++
		}
	}
	return m
}

// longest returns the longest phrase that text starts with, nil if none does.
// In sorted order that is the last phrase not after text, or one of those that
// it starts with in turn.
func (m *matcher) longest(text []byte) *phrase {
	low, high := m.from[text[0]], m.from[int(text[0])+1]
	first := low
	for low < high {
		mid := (low + high) / 2
		if m.sorted[mid].text <= string(text) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == first {
		return nil
	}
	for i := low - 1; i >= 0; i = m.sorted[i].parent {
		p := &m.sorted[i]
		if len(text) < len(p.text) || string(text[:len(p.text)]) != p.text {
			continue
		}
		if p.stem || len(text) == len(p.text) || !isAlnum(p.text[len(p.text)-1]) || !isAlnum(text[len(p.text)]) {
			return p
		}
	}
	return nil
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
		p := ev.matcher.longest(text[i:])
		if p == nil {
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
