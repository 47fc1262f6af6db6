package guardhttp

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// Internationalised hosts. A request may name one in Unicode or in its ASCII form (xn--...), and so may AllowedHosts; they
// are compared in the latter. What net/http makes of a name beyond that (it folds case and width before it looks the host
// up) is not repeated here: to be wrong about that would send a token to another host.

// isASCII reports whether a host needs no conversion.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// toASCII is a host's ASCII form, as net/http writes it in the Host header; "": it has none. A host that is not written
// as its registry has it, in small letters say, gets a form that stands for no host.
func toASCII(name string) string {
	var b bytes.Buffer
	if (&http.Request{Method: http.MethodGet, URL: &url.URL{Host: lowerASCII(name)}}).Write(&b) != nil {
		return ""
	}
	req, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		return ""
	}
	return req.Host
}

// lowerASCII leaves all other letters as they are: not all of them become what a resolver makes of them.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// isPlain reports whether a host is written as its registry has it, as far as can be told: in small letters, composed, and
// with no other dots than '.'.
func isPlain(name string) bool {
	for _, r := range name {
		switch {
		case r < 0x80, r == '·', r == '・', r == '\u200c', r == '\u200d':
		case 0x300 <= r && r <= 0x36f, 0xff00 <= r && r <= 0xffef: // combining accents, and other widths
			return false
		case unicode.IsUpper(r), unicode.IsTitle(r), !unicode.In(r, unicode.L, unicode.M, unicode.N):
			return false
		}
	}
	return true
}

// resembles returns the allowed host that a request's probably stands for, which is written as no registry has it; "": none.
func resembles(hosts []host, name string) string {
	if isPlain(name) { // also what is ASCII
		return ""
	}
	folded := toASCII(strings.TrimSuffix(strings.Map(fold, name), "."))
	for _, h := range hosts {
		if folded != "" && strings.EqualFold(h.name, folded) {
			return h.name
		}
	}
	return ""
}

// fold makes letters small and dots '.', but for letters that would become ASCII: İ is not i.
func fold(r rune) rune {
	if r == '。' {
		return '.'
	}
	if small := unicode.ToLower(r); r < 0x80 || small >= 0x80 {
		return small
	}
	return r
}
