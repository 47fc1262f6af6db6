package template

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokenguard/tokenguard/internal/redact"
)

// scanner turns a folded text into a template in one pass.
//
// A template is its own template. That holds because each token it writes is
// read back as itself with no need of the punctuation that was around it, and
// because the rules of mask.go leave no two neighbours that they would join.
type scanner struct {
	src  string
	pos  int
	full bool
	n    int
	out  [maxOutput]byte
}

func (m *scanner) scan() {
	for m.pos < len(m.src) && !m.full {
		c := m.src[m.pos]
		switch {
		case c == ' ':
			m.pos++
		case isAlnum(c):
			if !m.plainWord() {
				m.run()
			}
		case isHan(m.src, m.pos):
			w := m.src[m.pos : m.pos+3]
			m.pos += 3
			m.pushCJK(w, rune(w[0]&0x0F)<<12|rune(w[1]&0x3F)<<6|rune(w[2]&0x3F))
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(m.src[m.pos:])
			switch {
			case isCJK(r):
				m.pos += size
				m.pushCJK(m.src[m.pos-size:m.pos], r)
			case inWord(r):
				m.run()
			default:
				m.pos += size
			}
		case c == '#':
			m.pos++
			m.pushMask()
		case c == '?' && m.query():
			m.pos = urlEnd(m.src, m.pos)
			m.pushMask()
		default:
			m.pos++
		}
	}
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) }

// query reports whether the '?' at pos begins a query string: something before
// it and a name with its '=' after it.
func (m *scanner) query() bool {
	if m.pos == 0 || !isAlnum(m.src[m.pos-1]) && m.src[m.pos-1] != '/' {
		return false
	}
	i := m.pos + 1
	for i < len(m.src) && (isAlnum(m.src[i]) || strings.IndexByte("_-.[]", m.src[i]) >= 0) {
		i++
	}
	return i > m.pos+1 && i < len(m.src) && m.src[i] == '='
}

// urlEnd returns where the URL that covers i ends: at a space, a quote, a
// closing bracket or the first byte outside ASCII.
func urlEnd(s string, i int) int {
	for i < len(s) && s[i] > ' ' && s[i] < utf8.RuneSelf && strings.IndexByte("\"'`<>()[]{}|\\", s[i]) < 0 {
		i++
	}
	return i
}

// shape is what is in a run, to pass by the rules that cannot apply.
type shape struct{ wide, digit, joined bool }

// runEnd returns the end of the longest stretch from i of words joined by one
// of - _ . @ + % ~ or, between letters, an apostrophe.
func runEnd(s string, i int) (end int, has shape) {
	for i < len(s) {
		c := s[i]
		switch {
		case isLetter(c):
			i++
		case isDigit(c):
			has.digit = true
			i++
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if isCJK(r) || !inWord(r) {
				return i, has
			}
			has.wide = true
			i += size
		case i+1 < len(s) && isAlnum(s[i+1]) && (isJoiner(c) || c == '\'' && isLetter(s[i+1]) && isLetter(s[i-1])):
			has.joined = true
			i++
		default:
			return i, has
		}
	}
	return i, has
}

func isJoiner(c byte) bool {
	switch c {
	case '-', '_', '.', '@', '+', '%', '~':
		return true
	}
	return false
}

// plainWord is run for a word of letters that nothing follows which could make it a part of more, as most are.
func (m *scanner) plainWord() bool {
	start, end := m.pos, m.pos
	for end < len(m.src) && isLetter(m.src[end]) {
		end++
	}
	if end < len(m.src) && goesOn[m.src[end]] {
		return false
	}
	w := m.src[start:end]
	if m.pos = end; end < len(m.src) && m.src[end] == ' ' { // as is most often so
		m.pos++
	}
	switch {
	case len(w) > maxWord:
		m.word(start, end, 0, false)
	case len(w) >= 8 && (allHex(w) || strings.EqualFold(w, "localhost") || redact.Random(w)): // isVarying, of letters alone
		m.pushMask()
	default:
		m.push(w)
	}
	return true
}

// goesOn are the bytes that may follow a word of letters in a run, or make an address of it.
var goesOn = func() (set [256]bool) {
	for c := range set {
		b := byte(c)
		set[c] = b >= utf8.RuneSelf || isDigit(b) || isJoiner(b) || b == '\'' || b == ':'
	}
	return set
}()

// run reads the stretch of joined words that begins at pos.
func (m *scanner) run() {
	start := m.pos
	end, has := runEnd(m.src, start)
	run := m.src[start:end]
	if end < len(m.src) && m.src[end] == ':' {
		if strings.HasPrefix(m.src[end:], "://") {
			m.skipHost(end + len("://"))
			m.pushMask()
			return
		}
		if addr := hexColonEnd(m.src, start); addr > end {
			m.pos = addr
			m.pushMask()
			return
		}
	}
	m.pos = end
	switch {
	case has.wide:
		m.segments(start, end)
	case !has.digit && !has.joined:
		m.word(start, end, 0, false)
	case start > 0 && m.src[start-1] == '/' && isDigit(run[0]) && string(m.top()) == "http":
		// The version in HTTP/1.1 stands between the word and the status.
	case has.digit && m.isModel(run):
		m.push(run)
	case isVarying(run):
		m.pushMask()
	default:
		m.segments(start, end)
	}
}

// skipHost moves to the end of a URL's user, host and port.
func (m *scanner) skipHost(i int) {
	end := urlEnd(m.src, i)
	if n := strings.IndexAny(m.src[i:end], "/?#,;"); n >= 0 {
		end = i + n
	}
	m.pos = end
}

// hexColonEnd returns the end of an IPv6 or hardware address at i, or i if there is
// none: at least two colons and between them groups of up to four hex digits.
func hexColonEnd(s string, i int) int {
	const longest = 48 // an IPv6 address that ends in an IPv4 one has 45
	end, colons, group := i, 0, 0
	for j := i; j < len(s); j++ {
		if j-i > longest {
			return i
		}
		switch {
		case s[j] == ':':
			colons++
			group = 0
		case isHex(s[j]):
			if group++; group > 4 {
				return i
			}
			end = j + 1
		case isLetter(s[j]) || s[j] == '_':
			return i
		default:
			j = len(s)
		}
	}
	if colons < 2 {
		return i
	}
	return end
}

// isVarying reports whether an ASCII run is one varying thing as a whole, though
// some of its words alone might pass as ordinary ones: a hex number or UUID, an
// address of mail, a host name, a key.
func isVarying(run string) bool {
	if len(run) < 4 {
		return false
	}
	if len(run) >= 8 && hexDashed(run) {
		return true
	}
	dot := strings.LastIndexByte(run, '.')
	if dot > 0 && (strings.IndexByte(run[:dot], '@') > 0 || isDomain(run[dot+1:])) {
		return true
	}
	return strings.EqualFold(run, "localhost") || redact.Random(run)
}

func hexDashed(run string) bool {
	for i := range len(run) {
		if !isHex(run[i]) && run[i] != '-' {
			return false
		}
	}
	return true
}

// segments reads a run word by word.
func (m *scanner) segments(start, end int) {
	for i := start; i < end && !m.full; {
		c := m.src[i]
		if isJoiner(c) {
			i++
			continue
		}
		j, digits, wide := i, 0, false
		for j < end && !isJoiner(m.src[j]) {
			switch {
			case isDigit(m.src[j]):
				digits++
				j++
			case m.src[j] < utf8.RuneSelf:
				j++
			default:
				r, size := utf8.DecodeRuneInString(m.src[j:])
				wide = true
				if unicode.IsNumber(r) {
					digits++
				}
				j += size
			}
		}
		m.word(i, j, digits, wide)
		i = j
	}
}

// word reads one word, src[i:j], which holds so many digits.
func (m *scanner) word(i, j, digits int, wide bool) {
	w := m.src[i:j]
	if !wide && digits == len(w) {
		m.number(i, j)
		return
	}
	w = cut(w, maxWord)
	if digits == 0 {
		if !wide && isVarying(w) {
			m.pushMask()
			return
		}
		m.push(w)
		return
	}
	letters := 0
	for letters < len(w) && isLetter(w[letters]) {
		letters++
	}
	name, rest := w[:letters], w[letters:]
	if wide || j-i > maxWord || len(rest) != digits || letters < 3 || isVarying(name) || allHex(name) {
		m.pushMask() // not a name and its number, as in worker12
		return
	}
	var buf [maxKeyword]byte
	switch kind := string(lowered(&buf, name)); {
	case kind == "http" && isStatus(rest), kind == "code" && isCode(rest):
		m.pushKept(kind, rest)
		return
	}
	m.push(name)
	m.number(i+letters, j)
}

func allHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}
