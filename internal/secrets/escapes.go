package secrets

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// mostLayers bounds how often a text is freed of its escapes: JSON in JSON in a query are three layers.
const mostLayers = 3

// escaped reports whether there may be an escape in a text.
func escaped(text []byte) bool {
	for _, c := range []byte("\\%&\xC2\xE2\xEF") {
		if bytes.IndexByte(text, c) >= 0 {
			return true
		}
	}
	for i := 0; ; i++ { // most texts with an equals sign hold nothing that is quoted
		next := bytes.IndexByte(text[i:], '=')
		if next < 0 {
			return false
		}
		if i += next; quoted(text[i:]) != 0 {
			return true
		}
	}
}

// quoted is how many bytes of text, which begins with an equals sign, stand for a sign in a mail: =3D, or for nothing at the end
// of a line. 0: it is an ordinary one, as in limit=20. So digits alone, and lower case, which no mail has, count as no sign.
func quoted(text []byte) (size int) {
	switch {
	case len(text) > 1 && text[1] == '\n':
		return 2
	case len(text) < 3:
		return 0
	case text[1] == '\r' && text[2] == '\n':
		return 3
	}
	high, low := text[1], text[2]
	if digitOf[high] > 15 || digitOf[low] > 15 || high >= 'a' || low >= 'a' || high < 'A' && low < 'A' {
		return 0
	}
	return 3
}

// unseen is how many bytes at the beginning of text are a sign that nobody sees, and that says where a line may break.
func unseen(text []byte) (size int) {
	for _, sign := range [...]string{"\u00AD", "\u200B", "\u200C", "\u200D", "\u2060", "\uFEFF"} {
		if len(text) >= len(sign) && string(text[:len(sign)]) == sign {
			return len(sign)
		}
	}
	return 0
}

// escapes are the bytes with which an escape may begin.
var escapes = [256]bool{'\\': true, '%': true, '&': true, '=': true, 0xC2: true, 0xE2: true, 0xEF: true}

// undo appends a text without the escapes of one layer.
func undo(to, text []byte) []byte {
	var char [utf8.UTFMax]byte
	for i := 0; i < len(text); {
		n, size := 0, 0
		if escapes[text[i]] {
			n, size = escape(text[i:], &char)
		}
		if size == 0 {
			to = append(to, text[i])
			i++
			continue
		}
		to = append(to, char[:n]...)
		i += size
	}
	return to
}

// escape reads what URLs, JSON, Go, C, HTML or mails put in place of a character, or into a word: it gives the n bytes that
// the first size bytes of text stand for. A size of 0 is no escape.
func escape(text []byte, char *[utf8.UTFMax]byte) (n, size int) {
	put := func(r rune, size int) (int, int) { return len(utf8.AppendRune(char[:0], r)), size }
	switch text[0] {
	case '%':
		if v, ok := number(text, 1, 2, 16); ok {
			char[0] = byte(v)
			return 1, 3
		}
		if len(text) > 1 && text[1] == 'u' { // of old browsers and servers
			if v, ok := number(text, 2, 4, 16); ok {
				return put(v, 6)
			}
		}
	case '=':
		if size := quoted(text); size != 3 || text[1] == '\r' {
			return 0, size
		}
		char[0] = digitOf[text[1]]<<4 | digitOf[text[2]]
		return 1, 3
	case 0xC2, 0xE2, 0xEF:
		return 0, unseen(text)
	case '&':
		return entity(text, char)
	case '\\':
		if len(text) == 1 {
			return 0, 0
		}
		switch c := text[1]; c {
		case 'u':
			if v, ok := number(text, 2, 4, 16); ok {
				if utf16.IsSurrogate(v) && len(text) > 7 && text[6] == '\\' && text[7] == 'u' {
					if low, ok := number(text, 8, 4, 16); ok && utf16.DecodeRune(v, low) != utf8.RuneError {
						return put(utf16.DecodeRune(v, low), 12)
					}
				}
				return put(v, 6)
			}
			if end := bytes.IndexByte(text[:min(len(text), 10)], '}'); len(text) > 2 && text[2] == '{' && end > 3 {
				if v, ok := number(text, 3, end-3, 16); ok {
					return put(v, end+1)
				}
			}
		case 'U':
			if v, ok := number(text, 2, 8, 16); ok {
				return put(v, 10)
			}
		case 'x':
			if v, ok := number(text, 2, 2, 16); ok {
				char[0] = byte(v)
				return 1, 4
			}
		case '0', '1', '2', '3':
			if v, ok := number(text, 1, 3, 8); ok {
				char[0] = byte(v)
				return 1, 4
			}
		case 'n', 'r':
			char[0] = '\n'
			return 1, 2
		case 't':
			char[0] = '\t'
			return 1, 2
		}
		char[0] = text[1]
		return 1, 2
	}
	return 0, 0
}

// entities are the names that HTML has for the signs that stand in secrets.
var entities = map[string]byte{
	"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "sol": '/', "bsol": '\\', "plus": '+', "equals": '=', "lowbar": '_',
	"hyphen": '-', "dash": '-', "colon": ':', "semi": ';', "period": '.', "comma": ',', "num": '#', "percnt": '%', "commat": '@', "excl": '!',
	"dollar": '$', "ast": '*', "quest": '?', "verbar": '|', "vert": '|', "tilde": '~', "grave": '`', "lpar": '(', "rpar": ')', "lbrack": '[',
	"lsqb": '[', "rsqb": ']', "rbrack": ']', "lcub": '{', "lbrace": '{', "rcub": '}', "rbrace": '}', "nbsp": ' ', "shy": ' ', "Hat": '^',
}

const longestEntity = 10 // with its signs

// entity is escape for those of HTML.
func entity(text []byte, char *[utf8.UTFMax]byte) (n, size int) {
	end := bytes.IndexByte(text[:min(len(text), longestEntity)], ';')
	if end < 3 {
		return 0, 0
	}
	name := text[1:end]
	if name[0] != '#' {
		if c, ok := entities[string(name)]; ok {
			char[0] = c
			return 1, end + 1
		}
		return 0, 0
	}
	v, ok := rune(0), false
	if name[1]|0x20 == 'x' {
		v, ok = number(name, 2, len(name)-2, 16)
	} else {
		v, ok = number(name, 1, len(name)-1, 10)
	}
	if !ok {
		return 0, 0
	}
	return len(utf8.AppendRune(char[:0], v)), end + 1
}

// number reads so many digits of text[at:].
func number(text []byte, at, digits int, base rune) (v rune, ok bool) {
	if digits == 0 || at+digits > len(text) {
		return 0, false
	}
	for _, c := range text[at : at+digits] {
		d := rune(digitOf[c])
		if d >= base {
			return 0, false
		}
		v = v*base + d
	}
	return v, true
}

// digitOf is the value of each hexadecimal digit; of other bytes more than any.
var digitOf = func() (of [256]byte) {
	for c := range of {
		switch c := byte(c); {
		case c >= '0' && c <= '9':
			of[c] = c - '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			of[c] = c | 0x20 - 'a' + 10
		default:
			of[c] = 0xFF
		}
	}
	return of
}()
