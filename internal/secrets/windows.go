package secrets

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Upstreams echo a secret in many forms: escaped for a URL, JSON, HTML or a mail, quoted, in base64, in upper case, cut short. All
// come down to one if that is undone, letters are lower case and signs are left out. What is kept of a secret is no
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
	gone    atomic.Uint64       // how many did
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
	length := windowOf(value)
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
			w.gone.Add(1)
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

// findAll reports whether hide finds every value of a secret.
func (w *windows) findAll(s *Secret) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, value := range s.Further {
		if !w.finds(value) {
			return false
		}
	}
	return w.finds(s.Value) && w.finds(s.Refresh)
}

// finds reports whether hide finds a value. w.mu is held.
func (w *windows) finds(value string) bool {
	if value == "" {
		return true
	}
	whole := folded(value)
	length := windowOf(value)
	if len(whole) < length {
		return false
	}
	h := w.heads[w.sum(whole[:length])]
	if h == nil {
		return false
	}
	sum := w.sum(whole)
	return slices.ContainsFunc(h.tails, func(t tail) bool { return t.length == len(whole) && t.sum == sum })
}

// windowOf is how many letters and digits of a value it is found by.
func windowOf(value string) int {
	return max(len(folded(value[:min(len(value), windowMost)])), windowLeast)
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
	r := scratches.Get().(*scratch)
	defer r.free()
	r.text = append(r.text[:0], text...)
	if !w.suspects(r.text, r, mostEncodings) {
		return text
	}
	return w.replace(text)
}

// replace is hide for a text in which a secret may be.
func (w *windows) replace(text string) string {
	var spans []span
	var layer, folded, next reading
	layer.plain(text) // a secret may look like an escape itself
	for range 1 + mostLayers {
		folded.fold(&layer)
		spans = w.find(spans, &folded, &layer, text)
		spans = w.findEncoded(spans, &layer)
		if !escaped(layer.text) || !next.unescape(&layer) {
			break
		}
		layer, next = next, layer
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortStableFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
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

// endsIn reports whether c, for which source stands, ends a word: an escaped blank does not, an escaped quote does.
func endsIn(c byte, source string) bool {
	const blanks, signs = " \t\r\n", "\"'`<>,;&()[]{}|"
	return strings.IndexByte(blanks, c) >= 0 && strings.ContainsAny(source, blanks) || strings.IndexByte(signs, c) >= 0 && strings.ContainsAny(source, signs)
}

// find looks for all known beginnings at every place of f. Where one was cut short its word is hidden to the end: that of
// text, and of what is left of it without escapes, of which f is the fold.
func (w *windows) find(spans []span, f, of *reading, text string) []span {
	for length, n := range w.lengths {
		if n == 0 {
			continue
		}
		var word span // of the last that was cut short, in of
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
				at, _ := slices.BinarySearch(of.from, s.to)
				from := at
				if word.from <= at && at < word.to { // the same word: however many are in it, its end is looked for once
					at = word.to
				}
				for at < len(of.text) && !endsIn(of.text[at], text[of.from[at]:of.to[at]]) {
					at++
				}
				if word.from, word.to = from, at; at > from {
					s.to = of.to[at-1]
				}
			}
			spans = append(spans, s)
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
	text := make([]byte, 0, len(value))
	for i := range len(value) {
		if c := folding[value[i]]; c != 0 {
			text = append(text, c)
		}
	}
	return text
}

// unescape reads of without the escapes of one layer, and reports whether there are any.
func (r *reading) unescape(of *reading) bool {
	r.reset()
	var char [utf8.UTFMax]byte
	for i := 0; i < len(of.text); {
		n, size := escape(of.text[i:], &char)
		if size == 0 {
			r.add(of.text[i], of.from[i], of.to[i])
			i++
			continue
		}
		for _, c := range char[:n] {
			r.add(c, of.from[i], of.to[i+size-1])
		}
		i += size
	}
	return len(r.text) != len(of.text)
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
