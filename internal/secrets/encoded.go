package secrets

import "sync"

// What an upstream echoes may be base64 of what it got, of both alphabets and wherever in it the secret begins, broken
// into lines or not; or hexadecimal; or either of them once more, as in the file with the passwords of registries.

const (
	mostEncodings = 2         // one in another
	leastBase64   = 11        // characters of 8 bytes
	leastHex      = 16        // likewise
	wrapped       = 60        // characters of a line after which base64 may go on in the next
	maxKept       = 64 * 1024 // bytes of scratch
)

// scratch is what looking through a text takes, to be used again.
type scratch struct {
	text    []byte
	undone  [mostEncodings + 1][2][]byte
	decoded [mostEncodings + 1][]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (r *scratch) free() {
	if cap(r.text) > maxKept {
		*r = scratch{}
	}
	scratches.Put(r)
}

// suspects reports whether one of the known beginnings may be in a text, in whatever form.
func (w *windows) suspects(text []byte, r *scratch, encodings int) bool {
	for layer := 0; ; layer++ {
		if w.starts.inText(text) || encodings > 0 && w.inEncoded(text, r, encodings-1) {
			return true
		}
		if layer == mostLayers || !escaped(text) {
			return false
		}
		room := &r.undone[encodings][layer%2]
		*room = undo((*room)[:0], text)
		if len(*room) == len(text) {
			return false
		}
		text = *room
	}
}

// inEncoded is suspects for what is encoded in text.
func (w *windows) inEncoded(text []byte, r *scratch, encodings int) bool {
	for from, to := nextRun(text, 0); from < to; from, to = nextRun(text, to) {
		run := text[from:to]
		for skip := range min(4, len(run)-leastBase64+1) { // later ones hold fewer than the 8 bytes of any beginning
			if found, nested := w.inBase64(run[skip:], &r.decoded[encodings]); found || nested && w.suspects(r.decoded[encodings], r, encodings) {
				return true
			}
		}
		for from, to := nextHex(run, 0); from < to; from, to = nextHex(run, to) {
			for skip := range 2 {
				r.decoded[encodings] = fromHex(r.decoded[encodings][:0], run[from+skip:to])
				if w.suspects(r.decoded[encodings], r, encodings) {
					return true
				}
			}
		}
	}
	return false
}

// inBase64 decodes a run, and reports whether a known beginning is in it, and whether there may be more to undo.
func (w *windows) inBase64(run []byte, to *[]byte) (found, nested bool) {
	out := (*to)[:0]
	last, word, have, length := uint64(0), uint32(0), 0, 0
	for _, c := range run {
		v := sextets[c]
		if v == noSextet {
			continue
		}
		word = word<<6 | uint32(v)
		if have += 6; have < 8 {
			continue
		}
		have -= 8
		c := byte(word >> have)
		out = append(out, c)
		if sextets[c] == noSextet {
			nested = nested || c == '%' || c == '\\' || c == '&'
			length = 0
		} else if length++; length >= leastBase64 {
			nested = true
		}
		if c = folding[c]; c == 0 {
			continue
		}
		if last = last<<8 | uint64(c); last>>56 != 0 && w.starts.has(last) {
			*to = out
			return true, nested
		}
	}
	*to = out
	return false, nested
}

// findEncoded looks into what may be encoded in a text. Where in it the secret ends does not matter: all of it is hidden.
func (w *windows) findEncoded(spans []span, of *reading) []span {
	for from, to := nextRun(of.text, 0); from < to; from, to = nextRun(of.text, to) {
		if id := w.inRun(of.text[from:to], mostEncodings-1); id != "" {
			spans = append(spans, span{of.from[from], of.to[to-1], id})
		}
	}
	return spans
}

// inRun returns the ID of the secret that a run is an encoding of, or holds.
func (w *windows) inRun(run []byte, encodings int) string {
	for skip := range 4 {
		if id := w.holds(fromBase64(nil, run[skip:]), encodings); id != "" {
			return id
		}
	}
	for from, to := nextHex(run, 0); from < to; from, to = nextHex(run, to) {
		for skip := range 2 {
			if id := w.holds(fromHex(nil, run[from+skip:to]), encodings); id != "" {
				return id
			}
		}
	}
	return ""
}

// holds returns the ID of a secret that is in a text, in whatever form.
func (w *windows) holds(text []byte, encodings int) string {
	var layer, folded reading
	for range 1 + mostLayers {
		layer.plain(string(text))
		folded.fold(&layer)
		if found := w.find(nil, &folded, &layer, string(text)); len(found) > 0 {
			return found[0].id
		}
		if encodings > 0 {
			for from, to := nextRun(text, 0); from < to; from, to = nextRun(text, to) {
				if id := w.inRun(text[from:to], encodings-1); id != "" {
					return id
				}
			}
		}
		undone := undo(nil, text)
		if len(undone) == len(text) {
			break
		}
		text = undone
	}
	return ""
}

// nextRun returns where the next run from i on begins that may be base64, and where it ends: at once if there is none.
func nextRun(text []byte, i int) (from, to int) {
search:
	for len(text)-i >= leastBase64 {
		for j := i + leastBase64 - 1; j >= i; j-- { // from the end: most words are too short, and few of their bytes are looked at
			if sextets[text[j]] == noSextet {
				i = j + 1
				continue search
			}
		}
		from, line := i, i
		for i < len(text) {
			if sextets[text[i]] != noSextet {
				i++
				continue
			}
			next := lineEnd(text, i)
			if i-line < wrapped || next == i || next == len(text) || sextets[text[next]] == noSextet {
				break
			}
			i, line = next, next
		}
		return from, i
	}
	return len(text), len(text)
}

// lineEnd returns where the next line begins if one ends at i, else i.
func lineEnd(text []byte, i int) int {
	for n := 0; n < 2 && i < len(text) && (text[i] == '\r' || text[i] == '\n'); n++ {
		i++
	}
	return i
}

// nextHex is nextRun for hexadecimal digits.
func nextHex(text []byte, i int) (from, to int) {
	for len(text)-i >= leastHex {
		for from = i; i < len(text) && digitOf[text[i]] < 16; i++ {
		}
		if i-from >= leastHex {
			return from, i
		}
		i++
	}
	return len(text), len(text)
}

func fromBase64(to, run []byte) []byte {
	word, have := uint32(0), 0
	for _, c := range run {
		v := sextets[c]
		if v == noSextet {
			continue
		}
		word = word<<6 | uint32(v)
		if have += 6; have >= 8 {
			have -= 8
			to = append(to, byte(word>>have))
		}
	}
	return to
}

func fromHex(to, digits []byte) []byte {
	for i := 0; i+1 < len(digits); i += 2 {
		to = append(to, digitOf[digits[i]]<<4|digitOf[digits[i+1]])
	}
	return to
}

const noSextet = 0xFF

// sextets are the values of the characters of base64, of both alphabets.
var sextets = func() (of [256]byte) {
	for i := range of {
		of[i] = noSextet
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		of[c] = byte(i)
	}
	of['-'], of['_'] = of['+'], of['/']
	return of
}()
