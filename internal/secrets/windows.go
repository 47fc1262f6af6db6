package secrets

import (
	"cmp"
	"encoding/base64"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Upstreams echo a secret in many forms: escaped for a URL or for JSON, quoted, in base64, in upper case, cut short. All
// come down to one if escapes are undone, letters are lower case and signs are left out. What is kept of a secret is no
// value but keyed hashes of that form: of its beginning, by which it is found, and of the whole, by which its end is.

const (
	windowsKept = 4096 // beginnings that are known
	tailsKept   = 8    // secrets with the same beginning; of those beyond, all of the word is hidden
	windowMost  = 16   // characters of a secret by which it is found
	windowLeast = 8    // letters and digits among them: fewer may be a part of any text
)

// windows finds secrets in texts in whatever form. It is safe for concurrent use.
type windows struct {
	seed maphash.Seed

	mu      sync.RWMutex // guards what follows
	heads   map[uint64]*head
	starts  prefixes            // of heads
	order   []uint64            // keys of heads, oldest first from next
	next    int                 // the one that gives way
	lengths [windowMost + 1]int // heads by the length of their window
}

// head is a beginning that secrets share.
type head struct {
	length int
	mark   uint64 // of its prefix
	tails  []tail // newest first
}

// tail is one secret with it.
type tail struct {
	length int
	sum    uint64
	id     string
}

func newWindows() *windows {
	return &windows{seed: maphash.MakeSeed(), heads: map[uint64]*head{}, starts: newPrefixes()}
}

// add makes a secret known, and reports whether it was not.
func (w *windows) add(value, id string) bool {
	whole := folded(value)
	length := max(len(folded(value[:min(len(value), windowMost)])), windowLeast)
	if len(whole) < length {
		return false // too few letters: only the value itself is looked for
	}
	key, t := w.sum(whole[:length]), tail{len(whole), w.sum(whole), id}
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.heads[key]
	if h == nil {
		h = &head{length: length, mark: w.starts.mark(prefixOf(whole))}
		if len(w.order) < windowsKept {
			w.order = append(w.order, key)
		} else {
			w.lengths[w.heads[w.order[w.next]].length]--
			delete(w.heads, w.order[w.next])
			w.order[w.next] = key
			w.next = (w.next + 1) % windowsKept
		}
		w.heads[key] = h
		w.lengths[length]++
		if !w.starts.add(h.mark) { // those that gave way are still in it, too
			w.starts.reset(len(w.heads))
			for _, h := range w.heads {
				w.starts.add(h.mark)
			}
		}
	}
	if slices.Contains(h.tails, t) {
		return false
	}
	h.tails = slices.Insert(h.tails, 0, t)
	h.tails = h.tails[:min(len(h.tails), tailsKept)]
	return true
}

func (w *windows) sum(text []byte) uint64 { return maphash.Bytes(w.seed, text) }

// span is a part of a text in which a secret is.
type span struct {
	from, to int
	id       string
}

// hide replaces what it finds by the IDs of the secrets.
func (w *windows) hide(text string) string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.heads) == 0 {
		return text
	}
	r := readings.Get().(*scratch)
	defer readings.Put(r)
	if !w.suspects(text, r) {
		return text
	}
	return w.replace(text, r)
}

// replace is hide for a text in which a secret may be.
func (w *windows) replace(text string, r *scratch) string {
	r.source.unescape(text)
	r.folded.fold(&r.source)
	spans := w.find(nil, &r.folded, text)
	spans = w.findEncoded(spans, r)
	if len(r.source.text) != len(text) { // a secret may look like an escape itself
		r.source.plain(text)
		r.folded.fold(&r.source)
		spans = w.find(spans, &r.folded, text)
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	var out strings.Builder
	at := 0
	for _, s := range spans {
		if s.from >= at {
			out.WriteString(text[at:s.from])
			out.WriteString(s.id)
		}
		at = max(at, s.to)
	}
	return out.String() + text[at:]
}

// suspects reports whether one of the known beginnings may be in a text, in whatever form.
func (w *windows) suspects(text string, r *scratch) bool {
	r.plain = append(r.plain[:0], text...)
	read := r.plain
	if strings.IndexByte(text, '\\') >= 0 || strings.IndexByte(text, '%') >= 0 {
		r.undone = r.undone[:0]
		eachByte(text, func(c byte, _, _ int) { r.undone = append(r.undone, c) })
		if read = r.undone; len(read) != len(text) && w.starts.inText(r.plain) {
			return true
		}
	}
	return w.starts.inText(read) || w.starts.inBase64(read)
}

// scratch is what reading a text takes, to be used again.
type scratch struct {
	source, folded, inner, innerFolded reading
	run, decoded                       []byte
	plain, undone                      []byte
}

var readings = sync.Pool{New: func() any { return new(scratch) }}

// find looks for all known beginnings at every place.
func (w *windows) find(spans []span, f *reading, text string) []span {
	for length, n := range w.lengths {
		if n == 0 {
			continue
		}
		for i := 0; i+length <= len(f.text); i++ {
			h := w.heads[w.sum(f.text[i:i+length])]
			if h == nil || h.length != length {
				continue
			}
			s := span{from: f.from[i], to: -1}
			for _, t := range h.tails {
				if end := i + t.length; end <= len(f.text) && f.to[end-1] > s.to && w.sum(f.text[i:end]) == t.sum {
					s.to, s.id = f.to[end-1], t.id
				}
			}
			if s.to < 0 { // it was cut short, or another has its beginning
				s.to, s.id = f.to[i+length-1], h.tails[0].id
				for s.to < len(text) && strings.IndexByte(" \t\r\n\"'`<>,;&()[]{}|", text[s.to]) < 0 {
					s.to++
				}
			}
			spans = append(spans, s)
		}
	}
	return spans
}

const leastBase64 = 11 // characters of 8 bytes

// findEncoded looks into what may be base64, of both alphabets, wherever it may begin.
func (w *windows) findEncoded(spans []span, r *scratch) []span {
	source := r.source.text
	for i := 0; i < len(source); i++ {
		from := i
		for i < len(source) && sextets[source[i]] != noSextet {
			i++
		}
		if i-from < leastBase64 {
			continue
		}
		r.run = append(r.run[:0], source[from:i]...)
		for n, c := range r.run {
			switch c {
			case '-':
				r.run[n] = '+'
			case '_':
				r.run[n] = '/'
			}
		}
		for skip := range 4 {
			chunk := r.run[skip:]
			if len(chunk)%4 == 1 {
				chunk = chunk[:len(chunk)-1]
			}
			r.decoded = slices.Grow(r.decoded[:0], base64.RawStdEncoding.DecodedLen(len(chunk)))
			n, _ := base64.RawStdEncoding.Decode(r.decoded[:cap(r.decoded)], chunk) // stray bits at its end are no matter
			r.inner.reset()
			for at, c := range r.decoded[:n] {
				r.inner.add(c, at, at+1)
			}
			r.innerFolded.fold(&r.inner)
			// Where its end is found does not matter: all of the run is hidden.
			if found := w.find(nil, &r.innerFolded, ""); len(found) > 0 {
				spans = append(spans, span{r.source.from[from], r.source.to[i-1], found[0].id})
				break
			}
		}
	}
	return spans
}

// reading is a text in another form, each byte with the part of the source that it stands for.
type reading struct {
	text     []byte
	from, to []int
}

func (r *reading) add(c byte, from, to int) {
	r.text, r.from, r.to = append(r.text, c), append(r.from, from), append(r.to, to)
}

func (r *reading) reset() { r.text, r.from, r.to = r.text[:0], r.from[:0], r.to[:0] }

// plain reads a text as it is.
func (r *reading) plain(text string) {
	r.reset()
	for i := range len(text) {
		r.add(text[i], i, i+1)
	}
}

// folded is what is left of a value.
func folded(value string) []byte {
	var whole, f reading
	whole.plain(value)
	f.fold(&whole)
	return f.text
}

// unescape reads a text without its escapes.
func (r *reading) unescape(text string) {
	r.reset()
	eachByte(text, r.add)
}

// eachByte calls add with each byte of a text of which is undone what URLs, JSON and Go put in place of a character, and
// with the part that it stands for.
func eachByte(text string, add func(c byte, from, to int)) {
	hex := func(at, digits int) (v rune, ok bool) {
		if at+digits > len(text) {
			return 0, false
		}
		for _, c := range []byte(text[at : at+digits]) {
			switch {
			case c >= '0' && c <= '9':
				v = v<<4 | rune(c-'0')
			case c|0x20 >= 'a' && c|0x20 <= 'f':
				v = v<<4 | rune(c|0x20-'a'+10)
			default:
				return 0, false
			}
		}
		return v, true
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '%':
			if v, ok := hex(i+1, 2); ok {
				add(byte(v), i, i+3)
				i += 3
				continue
			}
		case c == '\\' && i+1 < len(text):
			switch text[i+1] {
			case 'u':
				if v, ok := hex(i+2, 4); ok {
					var buf [utf8.UTFMax]byte
					for _, b := range utf8.AppendRune(buf[:0], v) {
						add(b, i, i+6)
					}
					i += 6
					continue
				}
			case 'x':
				if v, ok := hex(i+2, 2); ok {
					add(byte(v), i, i+4)
					i += 4
					continue
				}
			}
			add(text[i+1], i, i+2)
			i += 2
			continue
		}
		add(c, i, i+1)
		i++
	}
}

// fold keeps of a text the letters and digits, in lower case.
func (r *reading) fold(of *reading) {
	r.reset()
	for i, c := range of.text {
		if c = folding[c]; c != 0 {
			r.add(c, of.from[i], of.to[i])
		}
	}
}
