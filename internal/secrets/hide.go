package secrets

import (
	"iter"
	"strings"
)

// seenKept bounds the secrets that Hide knows although no source yields them any more.
const seenKept = 256

// AddSource lets Hide take out what the source yields at that moment, however much of it there is. Each of its secrets
// is registered before it is yielded first. Sources are added before the Keeper is used.
func (k *Keeper) AddSource(source iter.Seq[*Secret]) { k.sources = append(k.sources, source) }

// Register makes a secret one that Hide knows, for as long as it is among the last 256 or a source yields it. Seal and
// Open do so by themselves.
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
	if _, known := k.seen.Get(s.ID); known {
		return
	}
	k.seen.Add(s.ID, s)
	k.generation.Add(1)
}

// Generation changes when Hide knows another secret: what was read of texts before may hold its value.
func (k *Keeper) Generation() uint64 { return k.generation.Load() }

// Hide replaces the values of the tokens that this process knows by their IDs. Masking alone knows a secret only by its
// looks.
func (k *Keeper) Hide(text string) string {
	for _, s := range k.seen.Values() {
		text = Without(text, s.Value, s.ID)
	}
	for _, source := range k.sources {
		for s := range source {
			text = Without(text, s.Value, s.ID)
		}
	}
	return text
}

// shortValue is the length below which a value is hidden only as a word of its own: it may be a part of any.
const shortValue = 8

// Without replaces a token's value in a text by its ID.
func Without(text, value, id string) string {
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
