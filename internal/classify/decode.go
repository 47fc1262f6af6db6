package classify

import (
	"html"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// maxLayers is how often one encoding may wrap another: JSON in JSON in a
// percent-encoded field is three.
const maxLayers = 4

// Decode returns the first [MaxText] bytes of an answer's text as UTF-8 and
// without the escapes of JSON (also of JSON inside JSON), of HTML, and of
// percent-encoding, so that its words can be read. A text in GBK or Big5 is
// known by the charset of its Content-Type, else by its bytes. What is
// malformed or cut stays as it is. A text without any of this is returned
// unchanged, without a copy.
func Decode(text string, header map[string][]string) string {
	text = truncate(text, MaxText)
	if !utf8.ValidString(text) {
		text = fromLegacy(text, charset(header))
	}
	for range maxLayers {
		next := text
		if hasEscapes(next) {
			next = unescapeJSON(next)
		}
		if hasPercent(next) {
			next = unescapePercent(next)
		}
		if hasEntities(next) {
			next = html.UnescapeString(next)
		}
		if next == text {
			break
		}
		text = next
	}
	return truncate(text, MaxText)
}

// charset is what the Content-Type says of the text's encoding, in lower case.
func charset(header map[string][]string) string {
	for name, values := range header {
		if !strings.EqualFold(name, "Content-Type") || len(values) == 0 {
			continue
		}
		if _, after, ok := strings.Cut(strings.ToLower(values[0]), "charset="); ok {
			after, _, _ = strings.Cut(after, ";")
			return strings.Trim(after, "\"' ")
		}
	}
	return ""
}

// fromLegacy reads text that is not UTF-8. Bytes that no encoding explains are
// read as Latin-1, where they cannot become part of a word of the lexicons by
// chance.
func fromLegacy(text, charset string) string {
	switch {
	case mostlyUTF8(text):
		return strings.ToValidUTF8(text, string(utf8.RuneError))
	case strings.HasPrefix(charset, "gb"), charset == "" && looksGBK(text):
		if s, err := simplifiedchinese.GBK.NewDecoder().String(text); err == nil {
			return s
		}
	case strings.HasPrefix(charset, "big5"), charset == "" && looksBig5(text):
		if s, err := traditionalchinese.Big5.NewDecoder().String(text); err == nil {
			return s
		}
	}
	var b strings.Builder
	for i := range len(text) {
		b.WriteRune(rune(text[i]))
	}
	return b.String()
}

// mostlyUTF8 reports a text whose only fault is a cut or a stray byte.
func mostlyUTF8(text string) bool {
	good, bad := 0, 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			bad++
		case size > 1:
			good++
		}
		i += size
	}
	return good > 2*bad
}

// doubleBytes calls f with every two-byte character of a double-byte encoding and
// reports that f took all of them; a lead byte cut off at the end is allowed.
func doubleBytes(text string, f func(lead, trail byte) bool) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < utf8.RuneSelf {
			continue
		}
		if i+1 == len(text) {
			break
		}
		if !f(text[i], text[i+1]) {
			return false
		}
		i++
	}
	return true
}

// looksGBK: what people write is in GB 2312, the part of GBK whose second byte
// is above 0xA0, too. Big5 uses both halves in any text of a few characters.
func looksGBK(text string) bool {
	return doubleBytes(text, func(lead, trail byte) bool {
		return lead >= 0xA1 && lead <= 0xF7 && trail >= 0xA1 && trail != 0xFF
	})
}

func looksBig5(text string) bool {
	return doubleBytes(text, func(lead, trail byte) bool {
		return lead >= 0xA1 && lead <= 0xF9 && (trail >= 0x40 && trail <= 0x7E || trail >= 0xA1 && trail <= 0xFE)
	})
}

// hasEscapes reports an escape that hides a character: \u and \x, or a
// backslash that is escaped itself. The rest separate words as they stand.
func hasEscapes(text string) bool {
	for {
		i := strings.IndexByte(text, '\\')
		if i < 0 || i+1 == len(text) {
			return false
		}
		if c := text[i+1]; c == 'u' || c == 'x' || c == '\\' {
			return true
		}
		text = text[i+1:]
	}
}

// unescapeJSON takes the escapes of however many layers off at once: JSON in
// JSON doubles the backslashes only.
func unescapeJSON(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			b.WriteByte(text[i])
			i++
			continue
		}
		start := i
		for i < len(text) && text[i] == '\\' {
			i++
		}
		if i == len(text) {
			break // cut
		}
		switch text[i] {
		case 'u':
			r, ok := hexRune(text[i+1:])
			if !ok {
				b.WriteString(text[start:i])
				continue
			}
			i += 5
			if utf16.IsSurrogate(r) {
				rest := strings.TrimLeft(text[i:], "\\")
				if low, ok := hexRune(strings.TrimPrefix(rest, "u")); ok && rest != text[i:] && rest[0] == 'u' && utf16.DecodeRune(r, low) != utf8.RuneError {
					r, i = utf16.DecodeRune(r, low), len(text)-len(rest)+5
				} else {
					r = utf8.RuneError
				}
			}
			b.WriteRune(r)
		case 'x': // bytes as Python and C print them
			raw, n := rawBytes(text[i-1:])
			if !utf8.ValidString(raw) || n == 0 {
				b.WriteString(text[start:i])
				continue
			}
			b.WriteString(raw)
			i += n - 1
		case 'n', 'r':
			b.WriteByte('\n')
			i++
		case 't', 'b', 'f':
			b.WriteByte(' ')
			i++
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return b.String()
}

// rawBytes reads a run of \xHH and returns the bytes and how long the run is.
func rawBytes(text string) (string, int) {
	var b []byte
	i := 0
	for i+3 < len(text) && text[i] == '\\' && text[i+1] == 'x' {
		c, ok := hexByte(text[i+2:])
		if !ok {
			break
		}
		b, i = append(b, c), i+4
	}
	for i > 0 && !utf8.Valid(b) && len(b) > 0 && i+3 >= len(text) {
		b = b[:len(b)-1] // cut inside a character
	}
	return string(b), i
}

// hasPercent reports a '%' that two hexadecimal digits follow.
func hasPercent(text string) bool {
	for {
		i := strings.IndexByte(text, '%')
		if i < 0 {
			return false
		}
		text = text[i+1:]
		if _, ok := hexByte(text); ok {
			return true
		}
	}
}

// unescapePercent decodes %HH where it is one: a printable ASCII character or
// part of a valid UTF-8 sequence. "100%de" is neither.
func unescapePercent(text string) string {
	var b strings.Builder
	plus := strings.IndexByte(text, ' ') < 0 // then '+' may stand for a blank
	decoded := false
	for i := 0; i < len(text); {
		if text[i] != '%' {
			b.WriteByte(text[i])
			i++
			continue
		}
		var raw [utf8.UTFMax]byte
		n := 0
		for n < len(raw) && i+3*n+2 < len(text) && text[i+3*n] == '%' {
			c, ok := hexByte(text[i+3*n+1:])
			if !ok {
				break
			}
			raw[n], n = c, n+1
		}
		r, size := utf8.DecodeRune(raw[:n])
		if n == 0 || r == utf8.RuneError || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			b.WriteByte('%')
			i++
			continue
		}
		b.WriteRune(r)
		i += 3 * size
		decoded = true
	}
	if !decoded {
		return text
	}
	if plus {
		return strings.ReplaceAll(b.String(), "+", " ")
	}
	return b.String()
}

func hexByte(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	high, ok1 := hexDigit(s[0])
	low, ok2 := hexDigit(s[1])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch lower := c | 0x20; {
	case isDigit(c):
		return c - '0', true
	case 'a' <= lower && lower <= 'f':
		return lower - 'a' + 10, true
	}
	return 0, false
}

// hasEntities reports an HTML entity: "&#..." or "&name;".
func hasEntities(text string) bool {
	for {
		i := strings.IndexByte(text, '&')
		if i < 0 {
			return false
		}
		text = text[i+1:]
		if strings.HasPrefix(text, "#") {
			return true
		}
		n := 0
		for n < len(text) && n < 12 && isAlnum(text[n]) {
			n++
		}
		if n > 1 && n < len(text) && text[n] == ';' {
			return true
		}
	}
}
