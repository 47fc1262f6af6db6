package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/tokenguard/tokenguard/internal/timeline"
)

// errNewer is a document written by a later version.
var errNewer = errors.New("the state was written by a newer version of tokenguard: update this program; the state was left as it is")

// Decode reads a document. It never panics, whatever the bytes are.
func Decode(data []byte) (*Document, error) {
	d := New()
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("the state does not decode: %w", err)
	}
	if d.Version > documentVersion {
		return nil, errNewer
	}
	if d.Version < 1 {
		return nil, fmt.Errorf("the state names version %d: not a state of tokenguard", d.Version)
	}
	if d.Scopes == nil {
		d.Scopes = map[string]*Scope{}
	}
	if d.Tokens == nil {
		d.Tokens = map[string]*Token{}
	}
	maps.DeleteFunc(d.Scopes, func(_ string, k *Scope) bool { return k == nil })
	maps.DeleteFunc(d.Tokens, func(_ string, r *Token) bool { return r == nil })
	for id, r := range d.Tokens {
		r.ID = id
		r.migrate()
	}
	d.shortenScopes()
	d.Index()
	return d, nil
}

// migrate turns what documents without evidence by operation say of an anonymous token's quota into that of callers
// without a name. A rejection in one stays what it was, for everybody.
func (r *Token) migrate() {
	if r.Kind != Anonymous || r.Suspect == 0 && r.Spent == 0 {
		return
	}
	e := r.byFor("", max(r.Suspect, r.Spent))
	e.Quota, e.QuotaLast, e.Spent, e.Reset, e.Refusals = max(r.Suspect, 1), max(r.Suspect, r.Heard), r.Spent != 0, r.Reset, 1
	r.Suspect, r.Spent, r.Reset, r.Heard = 0, 0, 0, 0
}

// Index derives byScope.
func (d *Document) Index() {
	d.moved, d.indexed = true, true // tokens came or went
	index := make(map[string][]*Token, len(d.Tokens))
	for _, r := range d.Tokens {
		if r.Kind == Anonymous {
			for scope := range r.scopes {
				index[scope] = append(index[scope], r)
			}
		}
	}
	d.ByScope = ScopeIndex{base: index}
	for _, rs := range index {
		slices.SortFunc(rs, newerFirst)
	}
}

// newerFirst is the order of an index.
func newerFirst(a, b *Token) int {
	if a.Seq != b.Seq {
		return cmpDesc(a.Seq, b.Seq)
	}
	if a.Acquired != b.Acquired {
		return cmpDesc(a.Acquired, b.Acquired)
	}
	return cmpDesc(a.ID, b.ID)
}

// reindex is Index where one token came, or took the place of another of its ID: old, or nil.
func (d *Document) reindex(old *Token, id string) {
	d.moved, d.indexed = true, true
	without := func(scope string) []*Token {
		return slices.DeleteFunc(slices.Clone(d.ByScope.Of(scope)), func(r *Token) bool { return r.ID == id })
	}
	if old != nil {
		for scope := range old.scopes {
			d.ByScope.set(scope, without(scope))
		}
	}
	r := d.Tokens[id]
	if r.Kind != Anonymous {
		return
	}
	for scope := range r.scopes {
		list := append(without(scope), r)
		slices.SortFunc(list, newerFirst)
		d.ByScope.set(scope, list)
	}
}

func cmpDesc[T uint64 | timeline.Instant | string](a, b T) int {
	if a > b {
		return -1
	}
	if a < b {
		return 1
	}
	return 0
}

// CheckForms, if it is set, is asked for each frozen record whether Encode writes it anew and compares: one that was
// changed panics. For tests: a record that was changed stays so, so that some are enough where documents are written often.
var CheckForms func() bool

// form is a frozen record as a document has it, with its name, once it was encoded, and its encodedSize.
type form struct {
	text atomic.Pointer[[]byte]
	size atomic.Int64 // 0: not known yet
}

// sized is a size that is found out once, or each time where f is nil, since the record may still change.
func (f *form) sized(find func() int) int {
	if f == nil {
		return find()
	}
	size := f.size.Load()
	if size == 0 {
		size = int64(find())
		f.size.Store(size)
	}
	return int(size)
}

// record is what a document holds many of.
type record interface {
	*Token | *Scope
	shared() *form // nil: it may still change
}

func (r *Token) shared() *form { return r.form }
func (k *Scope) shared() *form { return k.form }

// Encode writes a document. What would be escaped for a page of HTML is written as it is: foreign text can then take at
// most two bytes for each of its own, but for control characters, which no part of a document holds more than a few of.
//
// The bytes are those that encoding/json makes of d; those of frozen records are made once. They must not be modified: the
// next document takes from them what did not change.
func (d *Document) Encode() ([]byte, error) {
	frame := *d
	if len(d.Scopes) > 0 {
		frame.Scopes = noScopes
	}
	if len(d.Tokens) > 0 {
		frame.Tokens = noTokens
	}
	enc := newEncoder()
	rest, err := enc.frame(&frame)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, d.size+d.size/50+len(rest)+1024)
	if out, rest, err = put(enc, out, rest, noScopesText, d.Scopes, d.sortedScopes()); err != nil {
		return nil, err
	}
	if out, rest, err = d.putTokens(enc, out, rest); err != nil {
		return nil, err
	}
	out = append(out, rest...)
	if d.descends() {
		d.size = len(out)
	}
	return out, nil
}

// Places of the scopes and of the tokens in a document that is encoded without them. Nothing else that is left in it has
// names that others give to objects.
var (
	noScopes     = map[string]*Scope{"": {}}
	noScopesText = []byte(`"":{}`)
	noTokens     = map[string]*Token{"": {}}
	noTokensText = []byte(`"":{"kind":"","acquired":0}`)
)

// put appends what rest holds before a place, and then the records that belong there, by name. It returns the rest after
// the place.
func put[R record](enc *encoder, out, rest, place []byte, records map[string]R, names []string) (_, after []byte, err error) {
	if len(records) == 0 {
		return out, rest, nil
	}
	before, after, _ := bytes.Cut(rest, place)
	out = append(out, before...)
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		text, err := encoded(enc, name, records[name])
		if err != nil {
			return nil, nil, err
		}
		out = append(out, text...)
	}
	return out, after, nil
}

// encoded is a record as a document has it, with its name. It holds until the next one is asked for.
func encoded[R record](enc *encoder, name string, r R) ([]byte, error) {
	f := r.shared()
	if f != nil && f.text.Load() != nil && (CheckForms == nil || !CheckForms()) {
		return *f.text.Load(), nil
	}
	text, err := enc.named(name, r)
	if err != nil || f == nil {
		return text, err
	}
	if old := f.text.Load(); old != nil && !bytes.Equal(*old, text) {
		panic(fmt.Sprintf("tokenguard: the frozen record %q was changed", name))
	}
	text = bytes.Clone(text) // without the room of the buffer
	f.text.Store(&text)
	return text, nil
}

// sortedIDs are the IDs of the tokens in their order. They mostly stay the same from one published document to the next.
func (d *Document) sortedIDs() []string {
	if isNamed(d.Tokens, d.ids) {
		return d.ids
	}
	ids := slices.Sorted(maps.Keys(d.Tokens))
	if d.descends() {
		d.ids = ids
	}
	return ids
}

// sortedScopes is sortedIDs for the scopes.
func (d *Document) sortedScopes() []string {
	if isNamed(d.Scopes, d.scopes) {
		return d.scopes
	}
	scopes := slices.Sorted(maps.Keys(d.Scopes))
	if d.descends() {
		d.scopes = scopes
	}
	return scopes
}

// isNamed reports whether these are the names of the records.
func isNamed[R record](records map[string]R, names []string) bool {
	return len(names) == len(records) && !slices.ContainsFunc(names, func(name string) bool { return records[name] == nil })
}

// encoder writes JSON without ends of lines and without what only pages of HTML ask for, all of it into the same room.
type encoder struct {
	room bytes.Buffer
	json *json.Encoder
	kept int // bytes of room that stay
}

func newEncoder() *encoder {
	e := new(encoder)
	e.json = json.NewEncoder(&e.room)
	e.json.SetEscapeHTML(false)
	return e
}

// frame is v as JSON.
func (e *encoder) frame(v any) ([]byte, error) {
	if err := e.add(v); err != nil {
		return nil, err
	}
	from := e.kept
	e.kept = e.room.Len()
	return e.room.Bytes()[from:], nil
}

// named is v as JSON with its name in an object. It holds until the next call.
func (e *encoder) named(name string, v any) ([]byte, error) {
	e.room.Truncate(e.kept)
	if isPlain(name) {
		e.room.WriteByte('"')
		e.room.WriteString(name)
		e.room.WriteByte('"')
	} else if err := e.add(name); err != nil {
		return nil, err
	}
	e.room.WriteByte(':')
	if err := e.add(v); err != nil {
		return nil, err
	}
	return e.room.Bytes()[e.kept:], nil
}

// add appends v.
func (e *encoder) add(v any) error {
	err := e.json.Encode(v)
	if n := e.room.Len(); err == nil && n > 0 {
		e.room.Truncate(n - 1) // the end of the line
	}
	return err
}

// isPlain reports whether a text stands in a string of JSON as it is.
func isPlain(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
