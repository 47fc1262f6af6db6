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
	return bytes.IndexByte(text, '\\') >= 0 || bytes.IndexByte(text, '%') >= 0 || bytes.IndexByte(text, '&') >= 0
}

// undo appends a text without the escapes of one layer.
func undo(to, text []byte) []byte {
	var char [utf8.UTFMax]byte
	for i := 0; i < len(text); {
		n, size := 0, 0
		if c := text[i]; c == '\\' || c == '%' || c == '&' {
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

// escape reads what URLs, JSON, Go, C or HTML put in place of a character: it gives the n bytes that the first size bytes
// of text stand for. A size of 0 is no escape.
func escape(text []byte, char *[utf8.UTFMax]byte) (n, size int) {
	put := func(r rune, size int) (int, int) { return len(utf8.AppendRune(char[:0], r)), size }
	switch text[0] {
	case '%':
		if v, ok := number(text, 1, 2, 16); ok {
			char[0] = byte(v)
			return 1, 3
		}
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
	"lsqb": '[', "rsqb": ']', "rbrack": ']', "lcub": '{', "lbrace": '{', "rcub": '}', "rbrace": '}', "nbsp": ' ', "Hat": '^',
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
