package template

import (
	"unicode"
	"unicode/utf8"
)

const (
	maxInput  = 4 << 10
	maxOutput = 1 << 10
	maxWord   = 64
)

// cut returns at most max bytes of s, never ending inside a rune.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// fold makes every rune outside ASCII what the scanner works on: full-width
// forms become ASCII, letters lower case, invalid bytes spaces. ASCII keeps its
// case, which the scanner needs to tell keys from words.
func fold(s string) string {
	if isASCII(s) {
		return s
	}
	var buf [maxInput]byte
	out := buf[:0]
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			out = append(out, s[i])
			i++
			continue
		}
		if isHan(s, i) {
			if len(out)+3 > maxInput {
				break
			}
			out = append(out, s[i], s[i+1], s[i+2])
			i += 3
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r == utf8.RuneError:
			r = ' '
		case r >= 0xFF01 && r <= 0xFF5E:
			r -= 0xFEE0
		case r == 0x2019: // the apostrophe of typeset text
			r = '\''
		case !isCJK(r):
			r = unicode.ToLower(r)
		}
		if len(out)+utf8.RuneLen(r) > maxInput {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

// isHan reports whether s[i:] begins with one of the common Han characters, U+5000
// to U+9FFF. It says so from the bytes alone, which spares most of the decoding
// of a Chinese text.
func isHan(s string, i int) bool {
	return s[i] >= 0xE5 && s[i] <= 0xE9 && i+2 < len(s) && s[i+1]&0xC0 == 0x80 && s[i+2]&0xC0 == 0x80
}

// isCJK reports whether r belongs to a script that is compared by rune: Han,
// kana, Hangul, and what is written among them.
func isCJK(r rune) bool {
	if r >= 0x4E00 && r <= 0x9FFF {
		return true
	}
	if r < 0x1100 {
		return false
	}
	switch {
	case r <= 0x11FF, r >= 0x2E80 && r <= 0x2FDF, r >= 0x3005 && r <= 0x31FF, r >= 0x3400 && r <= 0x4DBF,
		r >= 0xA960 && r <= 0xA97F, r >= 0xAC00 && r <= 0xD7FF, r >= 0xF900 && r <= 0xFAFF,
		r >= 0xFF66 && r <= 0xFFDC, r >= 0x20000 && r <= 0x3FFFF:
		return unicode.IsLetter(r)
	}
	return false
}

func isLetter(c byte) bool { return (c|0x20)-'a' < 26 }
func isDigit(c byte) bool  { return c-'0' < 10 }
func isAlnum(c byte) bool  { return isLetter(c) || isDigit(c) }

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// lowers is lower of each byte: to look it up takes no branch.
var lowers = func() (of [256]byte) {
	for c := range of {
		of[c] = lower(byte(c))
	}
	return of
}()

// maxKeyword bounds the words that the rules know by name.
const maxKeyword = 16

// lowered returns w in lower case in buf, or nothing if it is longer than any
// keyword.
func lowered(buf *[maxKeyword]byte, w string) []byte {
	if len(w) > maxKeyword {
		return nil
	}
	for i := range len(w) {
		buf[i] = lower(w[i])
	}
	return buf[:len(w)]
}
