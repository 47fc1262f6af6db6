package classify

import (
	"strings"
	"unicode/utf8"
)

// clauseEnd separates clauses in normalised text; words inside one are
// separated by a space.
const clauseEnd = '\n'

// truncate cuts text to at most n bytes, on a rune boundary.
func truncate(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// normaliser rewrites a text so that machine codes and prose read alike:
// lower-case words, one separator between two of them. InsufficientQuota,
// insufficient_quota and "Insufficient quota" all become "insufficient quota".
// Links, mail addresses and markup are dropped, because the words in them
// (".../docs/rate-limits") say nothing about this answer.
type normaliser struct {
	src        string
	pos        int
	out        []byte
	prev       byte // class of the last character written: 'a' lower, 'A' upper, '0' digit, 'c' wide, 0 separator
	wideBefore bool // the last character that is no blank was wide
	dot        bool // the chunk since the last blank holds a dot between letters, as host names do
	noGT       bool // no '>' follows: markup cannot end any more
}

// normalise appends the normalised form of text to buf.
func normalise(buf []byte, text string) []byte {
	n := normaliser{src: text, out: buf}
	n.separate(clauseEnd)
	for n.pos < len(n.src) {
		n.step()
	}
	n.separate(clauseEnd)
	return n.out
}

// separate ends the current word; a clause end outranks a space.
func (n *normaliser) separate(sep byte) {
	n.prev = 0
	if last := len(n.out) - 1; last >= 0 && (n.out[last] == ' ' || n.out[last] == clauseEnd) {
		if sep == clauseEnd {
			n.out[last] = clauseEnd
		}
		return
	}
	n.out = append(n.out, sep)
}

func (n *normaliser) peek(ahead int) byte {
	if n.pos+ahead < len(n.src) {
		return n.src[n.pos+ahead]
	}
	return 0
}

func (n *normaliser) step() {
	c := n.src[n.pos]
	if c >= utf8.RuneSelf {
		if isHan(n.src, n.pos) {
			r := hanAt(n.src, n.pos)
			n.pos += 3
			n.joined(simplified(r))
			return
		}
		r, size := utf8.DecodeRuneInString(n.src[n.pos:])
		n.pos += size
		n.wide(r)
		return
	}
	n.pos++
	if c == ' ' {
		n.dot = false
		n.separate(' ')
		return
	}
	if isLower(c) && (n.prev == 'a' || n.prev == 0) { // a word in small letters, most of any text
		src, end := n.src, n.pos
		for end < len(src) && isLower(src[end]) {
			end++
		}
		n.out, n.wideBefore = append(n.out, src[n.pos-1:end]...), false
		if n.pos, n.prev = end, 'a'; end < len(src) && src[end] == ' ' { // and what most often follows it
			n.out, n.prev, n.dot = append(n.out, ' '), 0, false
			n.pos++
		}
		return
	}
	n.ascii(c)
}

func (n *normaliser) ascii(c byte) {
	switch {
	case isLower(c):
		n.letter(c, 'a')
	case isUpper(c):
		n.letter(c+'a'-'A', 'A')
	case isDigit(c):
		if n.prev == 'c' {
			n.separate(' ')
		}
		n.out, n.prev, n.wideBefore = append(n.out, c), '0', false
	default:
		n.punctuation(c)
	}
}

// letter writes a letter, parting words joined in camel case.
func (n *normaliser) letter(c, kind byte) {
	switch {
	case n.prev == 'c':
		n.separate(' ')
	case kind == 'A' && n.prev == 'a':
		n.separate(' ')
	case kind == 'A' && n.prev == 'A' && isLower(n.peek(0)) && isLower(n.peek(1)):
		n.separate(' ') // the last capital of "APIKey" starts the next word
	}
	n.out, n.prev, n.wideBefore = append(n.out, c), kind, false
}

func (n *normaliser) punctuation(c byte) {
	next := n.peek(0)
	switch c {
	case '\\':
		n.escape(next)
	case '<':
		n.markup(next)
	case ':':
		if next == '/' && n.peek(1) == '/' && n.prev != 0 {
			n.dropWord()
			n.skipLink()
			return
		}
		n.separate(' ')
	case '@':
		if n.prev != 0 {
			n.dropWord() // a mail address
			n.skipLink()
			return
		}
		n.separate(' ')
	case '/':
		if n.prev != 0 && n.dot {
			n.dropWord() // the path of a host name without a scheme
			n.skipLink()
			return
		}
		n.separate(' ')
		n.out, n.wideBefore = append(n.out, '/', ' '), false // "5/min" says per minute
	case '\'', '`':
		if n.apostrophe() {
			return
		}
		if next == ',' || next == '}' {
			n.separate(clauseEnd)
			return
		}
		n.separate(' ')
	case '"':
		if next == ',' || next == '}' || next == ']' {
			n.separate(clauseEnd)
			return
		}
		n.separate(' ')
	case ',':
		if n.prev == '0' && isDigit(next) {
			return // thousands
		}
		if next == '"' {
			n.separate(clauseEnd)
			return
		}
		n.separate(' ')
	case '.':
		if isAlnum(next) {
			n.dot = n.dot || n.prev != 0 && n.prev != '0'
			n.separate(' ')
			return
		}
		n.separate(clauseEnd)
	case '!', '?', ';', '\n', '[', ']', '|':
		n.dot = false
		n.separate(clauseEnd)
	case '{', '}':
		n.dot = false
		if isAlnum(next) || c == '}' && next == ' ' {
			n.separate(' ') // a placeholder
			return
		}
		n.separate(clauseEnd)
	default:
		if c == ' ' { // that was escaped
			n.dot = false
		}
		n.separate(' ')
	}
}

// apostrophe reports one inside a word: "don't", but not "l'accès", which is
// two. Where a vowel was left out the next word starts with a vowel or an h.
func (n *normaliser) apostrophe() bool {
	next := n.peek(0)
	return isAlnum(next) && (n.prev == 'a' || n.prev == 'A') && strings.IndexByte("aeiouhAEIOUH", next) < 0
}

// escape reads what follows a backslash in a JSON string.
func (n *normaliser) escape(next byte) {
	switch next {
	case 'n', 'r':
		n.pos++
		n.separate(clauseEnd)
	case 't', '/':
		n.pos++
		n.separate(' ')
	case 'u':
		r, ok := hexRune(n.src[n.pos+1:])
		if !ok {
			n.separate(' ')
			return
		}
		n.pos += 5
		if r < utf8.RuneSelf {
			n.ascii(byte(r))
			return
		}
		n.wide(r)
	default:
		n.separate(' ')
	}
}

// dropWord takes back what was written of a link before it was known as one.
func (n *normaliser) dropWord() {
	for len(n.out) > 0 {
		last := n.out[len(n.out)-1]
		if last == ' ' || last == clauseEnd {
			break
		}
		n.out = n.out[:len(n.out)-1]
	}
	n.prev = 0
	n.wideBefore = len(n.out) > 1 && n.out[len(n.out)-2] >= utf8.RuneSelf
}

// skipLink moves to the end of a link or address.
func (n *normaliser) skipLink() {
	for n.pos < len(n.src) {
		c := n.src[n.pos]
		if c <= ' ' || c >= utf8.RuneSelf || strings.IndexByte("\"'`<>()[]{},;|\\", c) >= 0 {
			break
		}
		n.pos++
	}
	n.dot = false
	if n.src[n.pos-1] == '.' {
		n.separate(clauseEnd)
		return
	}
	n.separate(' ')
}

func hexRune(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		c := s[i] | 0x20
		switch {
		case isDigit(s[i]):
			r = r<<4 | rune(s[i]-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func isLower(c byte) bool { return c-'a' < 26 }
func isUpper(c byte) bool { return c-'A' < 26 }
func isDigit(c byte) bool { return c-'0' < 10 }
func isAlnum(c byte) bool { return c|0x20-'a' < 26 || c-'0' < 10 }
