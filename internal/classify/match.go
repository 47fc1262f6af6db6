package classify

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// A phrase is a pattern of a lexicon: words of normalised text, or a run of
// wide characters. A trailing '*' in the lexicon makes it a stem.
type phrase struct {
	text string
	stem bool
	says concept
}

// entry is a row of a lexicon: what all of its patterns say.
type entry struct {
	says     concept
	patterns string // separated by '|'
}

// matcher finds the longest phrase at a position: a tree over the bytes of the
// phrases, whose branches with one phrase left are not grown.
type matcher struct {
	sorted []phrase
	nodes  []node
	root   [256]int32 // the node of each first byte, 0 if there is none

	begin sieve // how the phrases begin, by which most words of a text are told apart from all of them at once
}

// node stands for the phrases that share their bytes up to a depth.
type node struct {
	label    byte
	children uint8
	first    int32 // of the children, which stand together
	phrase   int32 // the phrase that ends here, or the only one; -1 if none
	only     bool
}

var lexicons = [][]entry{
	english, chinese, japanese, korean, german, french, spanish, portuguese, italian, russian, turkish, polish, indonesian, vietnamese, dutch, arabic, thai, czech, swedish, ukrainian,
}

var phrases = sync.OnceValue(func() *matcher {
	var list []phrase
	for _, lexicon := range lexicons {
		for _, e := range lexicon {
			for pattern := range strings.SplitSeq(e.patterns, "|") {
				text, stem := strings.CutSuffix(pattern, "*")
				list = append(list, phrase{text: normalPattern(text), stem: stem, says: e.says})
			}
		}
	}
	return newMatcher(list)
})

// normalPattern is a pattern as it stands in normalised text.
func normalPattern(pattern string) string {
	return strings.TrimSpace(string(normalise(nil, pattern)))
}

// newMatcher sorts list. A phrase that stands in several rows says what all of
// them do.
func newMatcher(list []phrase) *matcher {
	slices.SortStableFunc(list, func(a, b phrase) int { return strings.Compare(a.text, b.text) })
	m := &matcher{nodes: make([]node, 1)}
	for _, p := range list {
		if last := len(m.sorted) - 1; last >= 0 && m.sorted[last].text == p.text {
			m.sorted[last].says |= p.says
			m.sorted[last].stem = m.sorted[last].stem || p.stem
			continue
		}
		m.sorted = append(m.sorted, p)
		m.begin.add(p.text)
	}
	first, n := m.branch(0, len(m.sorted), 0)
	for i := first; i < first+n; i++ {
		m.root[m.nodes[i].label] = i
	}
	return m
}

// branch makes the nodes that part the phrases [low, high) by their byte at
// depth, and what stands below them.
func (m *matcher) branch(low, high, depth int) (first, n int32) {
	first = int32(len(m.nodes))
	var starts []int
	for i := low; i < high; i++ {
		if i == low || m.sorted[i].text[depth] != m.sorted[i-1].text[depth] {
			starts = append(starts, i)
			m.nodes = append(m.nodes, node{label: m.sorted[i].text[depth], phrase: -1})
		}
	}
	starts = append(starts, high)
	for k := range len(starts) - 1 {
		low, high, at := starts[k], starts[k+1], first+int32(k)
		if high-low == 1 {
			m.nodes[at].phrase, m.nodes[at].only = int32(low), true
			continue
		}
		if len(m.sorted[low].text) == depth+1 {
			m.nodes[at].phrase = int32(low)
			low++
		}
		below, count := m.branch(low, high, depth+1)
		m.nodes[at].first, m.nodes[at].children = below, uint8(count)
	}
	return first, int32(len(starts) - 1)
}

// longest returns the longest phrase that text starts with, nil if none does.
func (m *matcher) longest(text []byte) *phrase {
	if !m.begin.mayHold(text) {
		return nil
	}
	at := m.root[text[0]]
	if at == 0 {
		return nil
	}
	var best *phrase
	for depth := 1; ; depth++ {
		n := &m.nodes[at]
		if n.phrase >= 0 {
			p := &m.sorted[n.phrase]
			if n.only {
				if len(text) < len(p.text) || string(text[depth:len(p.text)]) != p.text[depth:] {
					return best
				}
			}
			if p.endsIn(text) {
				best = p
			}
			if n.only {
				return best
			}
		}
		if depth == len(text) {
			return best
		}
		low, high := n.first, n.first+int32(n.children)
		for high-low > 4 {
			if mid := (low + high) / 2; m.nodes[mid].label <= text[depth] {
				low = mid
			} else {
				high = mid
			}
		}
		for low < high && m.nodes[low].label != text[depth] {
			low++
		}
		if low == high {
			return best
		}
		at = low
	}
}

// endsIn reports that text, which starts with p, has no word that goes on
// where p ends, or that p is a stem.
func (p *phrase) endsIn(text []byte) bool {
	return p.stem || len(text) == len(p.text) || !isAlnum(p.text[len(p.text)-1]) || !isAlnum(text[len(p.text)])
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
			if end := fullCounter(text, i, i+width); end > 0 && !advice {
				ev.hits[ev.n] = hit{consumed, ev.base + int32(i), ev.base + int32(end), ev.clause}
				ev.n++
				ev.said |= consumed
			}
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

// fullCounter reads "50 of 50", "50 / 50" or "50 out of 50" and returns its
// end, 0 if the number at start is no such counter or is below its maximum.
func fullCounter(text []byte, start, end int) int {
	if end-start > 9 {
		return 0
	}
	rest := text[end:]
	for _, sep := range []string{" of ", " / ", " out of "} {
		if !bytes.HasPrefix(rest, []byte(sep)) || len(rest) == len(sep) || !isDigit(rest[len(sep)]) {
			continue
		}
		at := end + len(sep)
		n := wordLen(text[at:])
		used, maximum := text[start:end], text[at:at+n]
		if maximum[0] == '0' || n > end-start || n == end-start && bytes.Compare(used, maximum) < 0 || !allDigits(used) || !allDigits(maximum) ||
			bytes.HasPrefix(text[at+n:], []byte(" /")) || start > 1 && text[start-2] == '/' { // a date
			return 0
		}
		return at + n
	}
	return 0
}

func allDigits(s []byte) bool {
	for _, c := range s {
		if !isDigit(c) {
			return false
		}
	}
	return true
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
