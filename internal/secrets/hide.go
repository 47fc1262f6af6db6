package secrets

import (
	"iter"
	"strings"
	"sync"
)

// seenKept bounds the values that Hide knows, beside what the sources yield, where they are too short for windows.
const seenKept = 256

// AddSource lets Hide take out what the source yields at that moment, however much of it there is. Each of its secrets
// is registered before it is yielded first. Sources are added before the Keeper is used.
func (k *Keeper) AddSource(source iter.Seq[*Secret]) { k.sources = append(k.sources, source) }

// Register makes a secret one that Hide knows, served or not, with its refresh token and its further secrets: for as long
// as it is among the last 4,096 or a source yields it, and in whatever form. Of a secret with fewer than 8 letters and
// digits only the value itself is hidden, while it is among the last 256. Seal and Open do so by themselves.
func (k *Keeper) Register(s *Secret) {
	if s == nil {
		return
	}
	if k.register(s); s.Refresh != "" {
		k.register(New(s.Refresh))
	}
	for _, value := range s.Further {
		k.register(New(value))
	}
}

func (k *Keeper) register(s *Secret) {
	if s.Value == "" {
		return
	}
	// One after the other: who comes second would find it known before it counts, and could meet a list without it.
	k.registering.Lock()
	defer k.registering.Unlock()
	_, known := k.seen.Get(s.ID)
	k.seen.Add(s.ID, s)
	if k.windows.add(s.Value, s.ID) || !known {
		k.generation.Add(1)
	}
}

// Generation changes when Hide knows another secret: what was read of texts before may hold its value.
func (k *Keeper) Generation() uint64 { return k.generation.Load() }

// Hide replaces the secrets that this process has met by their IDs, in the forms in which upstreams echo them: as they
// are, escaped for URLs, JSON, Go, HTML or mails, in base64 or hexadecimal, in lower or upper case, with other signs between
// their words, and cut short after 16 characters or more. Masking alone knows a secret only by its looks. A text in which
// there is none is returned without allocating.
func (k *Keeper) Hide(text string) string {
	h := hiders.Get().(*hider)
	defer hiders.Put(h)
	before := k.short()
	h.text, h.read = k.windows.hide(text), false // first: it knows of two values the longer one
	now := k.short()
	for _, s := range now.secrets {
		h.take(s)
	}
	if before != now { // what came or went meanwhile the windows may have missed
		for _, s := range k.seen.Values() {
			h.take(s)
		}
	}
	for _, source := range k.sources {
		source(h.take)
	}
	text, h.text = h.text, ""
	return text
}

// hider takes secrets out of a text. A closure made on each call would have to be allocated for each source.
type hider struct {
	text  string
	grams grams
	read  bool // grams are those of text
	take  func(*Secret) bool
}

var hiders = sync.Pool{New: func() any {
	h := new(hider)
	h.take = func(s *Secret) bool {
		h.part(s.Value, s.ID)
		h.part(s.Refresh, "")
		for _, value := range s.Further {
			h.part(value, "")
		}
		return true
	}
	return h
}}

// part takes out one value, which has that ID or one that is to be computed.
func (h *hider) part(value, id string) {
	if value == "" {
		return
	}
	if !h.read {
		h.grams.of(h.text)
		h.read = true
	}
	if !h.grams.mayHold(value) || !strings.Contains(h.text, value) {
		return
	}
	if id == "" {
		id = ID(value)
	}
	h.text, h.read = verbatim(h.text, value, id), false
}

// grams is a set of the runs of four bytes of a text that begin at every fourth: those of what the text holds are in it.
type grams [1 << 15 / 64]uint64

const (
	leastForGrams = 4 + 3 // bytes: a run that is in the set may begin at any of the first four
	maxForGrams   = 32    // bytes of a value that are looked at
)

func gram(s string) uint32 {
	return (uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24) * 0x9E3779B1 >> (32 - 15)
}

func (g *grams) of(text string) {
	clear(g[:])
	for i := 0; i+4 <= len(text); i += 4 {
		n := gram(text[i : i+4])
		g[n/64] |= 1 << (n % 64)
	}
}

// mayHold reports false only if the text does not hold value.
func (g *grams) mayHold(value string) bool {
	if len(value) < leastForGrams {
		return true
	}
starts:
	for start := range 4 { // one of these is a fourth byte of the text
		for i := start; i+4 <= min(len(value), maxForGrams); i += 4 {
			if n := gram(value[i : i+4]); g[n/64]&(1<<(n%64)) == 0 {
				continue starts
			}
		}
		return true
	}
	return false
}

// registered are secrets as of a generation.
type registered struct {
	of, gone uint64
	secrets  []*Secret
}

// short returns those of the secrets that were registered last which the windows do not find: nearly always those that are
// too short for them.
func (k *Keeper) short() *registered {
	of, gone := k.generation.Load(), k.windows.gone.Load() // before they are listed: what changes meanwhile is listed again
	if r := k.listed.Load(); r != nil && r.of == of && r.gone == gone {
		return r
	}
	r := &registered{of: of, gone: gone}
	for _, s := range k.seen.Values() {
		if !k.windows.findAll(s) {
			r.secrets = append(r.secrets, s)
		}
	}
	k.listed.Store(r)
	return r
}

// shortValue is the length below which a value is hidden only as a word of its own: it may be a part of any.
const shortValue = 8

// Without replaces one secret in a text by its ID, in whatever form.
func Without(text, value, id string) string {
	w := newWindows()
	w.add(value, id)
	return verbatim(w.hide(text), value, id)
}

// verbatim replaces a value in a text as it is.
func verbatim(text, value, id string) string {
	switch {
	case value == "" || !strings.Contains(text, value):
		return text
	case len(value) >= shortValue:
		return strings.ReplaceAll(text, value, id)
	}
	inWord := func(at int) bool {
		return at >= 0 && at < len(text) && (text[at] >= '0' && text[at] <= '9' || text[at]|0x20 >= 'a' && text[at]|0x20 <= 'z')
	}
	var out strings.Builder
	from := 0
	for {
		i := strings.Index(text[from:], value)
		if i < 0 {
			return out.String() + text[from:]
		}
		start, end := from+i, from+i+len(value)
		out.WriteString(text[from:start])
		if inWord(start-1) || inWord(end) {
			out.WriteString(value)
		} else {
			out.WriteString(id)
		}
		from = end
	}
}
