// Package template decides whether two error texts say the same thing. Of masks
// what varies from one occurrence to the next (ids, numbers, times, addresses,
// keys), Same compares what remains.
package template

import "unicode/utf8"

// Template is a text with all that varies masked: its words in lower case with
// one space between them (none between characters of Chinese, Japanese and
// Korean, which are words of their own), and a '#' for each row of masked
// parts. Three kinds of numbers survive, because another one means another
// failure: an HTTP status as http429, an error code as code1302, and the
// version in a model's name. It takes at most 1 KiB beside a string header; ==
// compares it. The zero value is the template of an empty text.
type Template struct{ text string }

// Of returns the template of text, of which it looks at the first 4 KiB. Bytes
// that are not UTF-8 count as spaces. A caller's name and its error's text
// belong on two lines, so that a status which begins the error is seen as one.
func Of(text string) Template {
	m := scanner{src: fold(cut(text, maxInput))}
	m.scan()
	return Template{string(m.out[:m.n])}
}

// String returns the masked text, which is safe to store and to show.
func (t Template) String() string { return t.text }

// Parse returns the template whose String is s. Any other text is taken as it
// is, up to 1 KiB of it; Of(s) masks it.
func Parse(s string) Template {
	return Template{cut(s, maxOutput)}
}

// lastWord returns where the last word of a template's text begins.
func lastWord(text []byte) int {
	if r, size := utf8.DecodeLastRune(text); size > 1 && isCJK(r) {
		return len(text) - size
	}
	i := len(text)
	for i > 0 && text[i-1] != ' ' {
		i--
	}
	return i
}
