// Package redact keeps secrets out of what is stored and logged of texts that
// others wrote.
package redact

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	mark     = "[secret]"
	ellipsis = "…"
)

// Secrets returns text with every part that may be a secret replaced by
// "[secret]": JWTs, API keys by their known beginnings, random words of 20 bytes
// and more (see Random), what follows Bearer, Basic, Authorization, Cookie and the
// names of keys, tokens and passwords, the user and query of a URL, addresses of
// mail. A random word that is shorter and has no name before it stays.
//
// The result is one line of valid UTF-8 with no control characters and at most
// max bytes, the last of them an ellipsis if something was cut. Of a long text
// only the first 4*max + 4096 bytes are looked at.
func Secrets(text string, max int) string {
	if max < 0 {
		max = 0
	}
	r := redactors.Get().(*redactor)
	defer r.free()
	r.src = text
	if limit := 4*max + 4096; len(text) > limit {
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		for limit > 0 && isWord(text[limit-1]) { // half a key would pass for a word
			limit--
		}
		r.src, r.more = text[:limit], true
	}
	for r.pos < len(r.src) && len(r.out) <= max {
		r.next()
	}
	if len(r.out) <= max && !r.more {
		return string(r.out)
	}
	keep, end := max-len(ellipsis), ellipsis
	if keep < 0 {
		keep, end = max, ""
	}
	keep = min(keep, len(r.out))
	for keep > 0 && keep < len(r.out) && !utf8.RuneStart(r.out[keep]) {
		keep--
	}
	r.out = append(r.out[:keep], end...)
	return string(r.out)
}

var redactors = sync.Pool{New: func() any { return new(redactor) }}

// maxKept bounds the room that is kept for the next text.
const maxKept = 64 << 10

func (r *redactor) free() {
	out := r.out[:0]
	if cap(out) > maxKept {
		out = nil
	}
	*r = redactor{out: out}
	redactors.Put(r)
}

type redactor struct {
	src  string
	pos  int
	more bool // text follows src
	url  int  // the end of the URL that pos is in
	out  []byte
}

func (r *redactor) next() {
	c := r.src[r.pos]
	switch {
	case isAlnum(c):
		r.word()
	case c == '?' && r.query():
		r.out = append(append(r.out, '?'), mark...)
		r.pos = urlEnd(r.src, r.pos)
	case c == '#' && r.query(): // OAuth's implicit flow returns the token in the fragment
		r.out = append(append(r.out, '#'), mark...)
		r.pos = urlEnd(r.src, r.pos)
	case c < ' ' || c == 0x7F:
		r.out = append(r.out, ' ')
		r.pos++
	case c < utf8.RuneSelf:
		r.out = append(r.out, c)
		r.pos++
	default:
		ch, size := utf8.DecodeRuneInString(r.src[r.pos:])
		r.pos += size
		if unicode.IsControl(ch) || unicode.Is(unicode.Zl, ch) || unicode.Is(unicode.Zp, ch) || unicode.Is(unicode.Bidi_Control, ch) {
			ch = ' '
		}
		r.out = utf8.AppendRune(r.out, ch)
	}
}

// word reads the stretch of word bytes at pos and what its last name governs.
func (r *redactor) word() {
	start := r.pos
	end := start
	for end < len(r.src) && isWord(r.src[end]) {
		end++
	}
	padded := end
	for padded < len(r.src) && padded < end+2 && r.src[padded] == '=' {
		padded++
	}
	w := r.src[start:end]
	switch {
	case strings.HasPrefix(r.src[end:], "://"):
		r.out = append(append(r.out, w...), "://"...)
		r.pos = end + len("://")
		r.url = urlEnd(r.src, r.pos)
		r.userinfo()
		return
	case end < len(r.src) && r.src[end] == '@' && r.mail(start, end):
		return
	case start >= r.url && Random(w): // a path is looked at piece by piece
		r.out = append(r.out, mark...)
		r.pos = end
		if padded == len(r.src) || !isAlnum(r.src[padded]) {
			r.pos = padded
		}
		return
	}
	for w := w; w != ""; {
		body, slash := w, ""
		if i := strings.IndexByte(w, '/'); i >= 0 {
			body, slash = w[:i], "/"
		}
		if isKey(body) || len(body) >= minRandom && (Random(body) || hasRandomPart(body)) {
			r.out = append(r.out, mark...)
		} else {
			r.out = append(r.out, body...)
		}
		r.out = append(r.out, slash...)
		w = w[len(body)+len(slash):]
	}
	r.pos = end
	r.governed(w)
}

// hasRandomPart reports whether one of the words between dots is random.
func hasRandomPart(w string) bool {
	for part := range strings.SplitSeq(w, ".") {
		if Random(part) {
			return true
		}
	}
	return false
}

// userinfo masks the user and password of the URL whose authority is at pos.
func (r *redactor) userinfo() {
	end := r.url
	if n := strings.IndexAny(r.src[r.pos:end], "/?#"); n >= 0 {
		end = r.pos + n
	}
	if at := strings.LastIndexByte(r.src[r.pos:end], '@'); at >= 0 {
		r.out = append(r.out, mark...)
		r.pos += at
	}
}

// mail masks the address of mail that begins with src[start:end], or the password
// in user:password@host, and reports whether it is one.
func (r *redactor) mail(start, end int) bool {
	host, dot := end+1, false
	for host < len(r.src) && (isAlnum(r.src[host]) || host > end+1 && (r.src[host] == '-' || r.src[host] == '.')) {
		dot = dot || r.src[host] == '.' && host+1 < len(r.src) && isAlnum(r.src[host+1])
		host++
	}
	switch {
	case dot:
		for r.src[host-1] == '.' {
			host--
		}
		r.pos = host
	case start > 1 && r.src[start-1] == ':' && isAlnum(r.src[start-2]) && host > end+1:
		r.pos = end
	default:
		return false
	}
	r.out = append(r.out, mark...)
	return true
}

// query reports whether a query string begins at pos: something before it and a
// name with its '=' after it.
func (r *redactor) query() bool {
	if r.pos == 0 || r.src[r.pos-1] <= ' ' {
		return false
	}
	i := r.pos + 1
	for i < len(r.src) && (isWord(r.src[i]) || r.src[i] == '[' || r.src[i] == ']' || r.src[i] == '%') {
		i++
	}
	return i > r.pos+1 && i < len(r.src) && r.src[i] == '='
}

// governed masks the value that the name at the end of w announces.
func (r *redactor) governed(w string) {
	if !mayName(w) {
		return
	}
	begins := len(w)
	for begins > 0 && w[begins-1] != '.' && w[begins-1] != '/' {
		begins--
	}
	kind := nameKind(w[begins:])
	if kind == plainName {
		return
	}
	i := r.pos
	if kind == schemeName {
		for i < len(r.src) && r.src[i] == ' ' {
			i++
		}
		end := valueEnd(r.src, i)
		if i > r.pos && looksSecret(r.src[i:end]) {
			r.mask(i, end)
		}
		return
	}
	for i < len(r.src) && strings.IndexByte(`"'\ `, r.src[i]) >= 0 {
		i++
	}
	if i == len(r.src) || r.src[i] != ':' && r.src[i] != '=' {
		return
	}
	if kind == codeName && (r.src[i] != '=' || !r.inForm(len(w), i+1)) {
		return
	}
	i++
	quote := byte(0)
	for i < len(r.src) && strings.IndexByte(`"'\ [`, r.src[i]) >= 0 {
		if c := r.src[i]; c == '"' || c == '\'' {
			quote = c
		}
		i++
	}
	end := valueEnd(r.src, i)
	if kind == headerName {
		end = headerEnd(r.src, i, quote)
	}
	if end > i && (kind != tokenName || looksSecret(r.src[i:end])) {
		r.mask(i, end)
	}
}

// inForm reports whether the name of n bytes that ends at pos, with its value at i,
// is one of several fields of a form.
func (r *redactor) inForm(n, i int) bool {
	before, end := r.pos-n-1, valueEnd(r.src, i)
	return before >= 0 && r.src[before] == '&' || end < len(r.src) && r.src[end] == '&'
}

// mask copies up to i, what stands between a name and its value, and writes the
// mark for src[i:end].
func (r *redactor) mask(i, end int) {
	for r.pos < i {
		r.next()
	}
	r.out = append(r.out, mark...)
	r.pos = end
}
