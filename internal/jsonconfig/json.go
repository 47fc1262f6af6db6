package jsonconfig

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Encode returns the fields of c that are not zero as JSON, durations as Go duration strings. Decode reads it back.
func (t *Table[C]) Encode(c *C) ([]byte, error) {
	doc := map[string]map[string]any{}
	for _, f := range t.Fields {
		v := f.Value(c)
		if v.IsZero() {
			continue
		}
		section, name, _ := strings.Cut(f.Path, ".")
		if doc[section] == nil {
			doc[section] = map[string]any{}
		}
		doc[section][name] = v.Interface() // a Text writes itself
		if d, ok := v.Interface().(time.Duration); ok {
			doc[section][name] = d.String()
		}
	}
	return json.Marshal(doc)
}

// Decoded is what a document says.
type Decoded[C any] struct {
	Config   C                // the fields that are stated and in bounds; the others are zero
	Offsets  map[string]int64 // of the values that are stated, by path; nil: the data is not JSON
	Mistakes []Mistake        // in the document's order, without lines and columns
}

// Decode reads a document. Unknown and repeated fields, null and values out of bounds are mistakes; an explicit 0 is a
// field that is not set.
func (t *Table[C]) Decode(data []byte) Decoded[C] {
	d := decoder[C]{table: t, sections: t.Sections()}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		m := Mistake{Field: "config", Value: "not JSON (" + err.Error() + ")", Bound: "one JSON object"}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			m.Offset = max(syntax.Offset-1, 0)
		}
		d.out.Mistakes = []Mistake{m}
		return d.out
	}
	d.out.Offsets = map[string]int64{}
	d.object("", data, 0)
	return d.out
}

// decoder walks a document that is known to be valid JSON.
type decoder[C any] struct {
	table    *Table[C]
	sections []string
	out      Decoded[C]
}

func (d *decoder[C]) mistake(offset int64, path, value, bound string) {
	d.out.Mistakes = append(d.out.Mistakes, Mistake{Field: path, Value: value, Bound: bound, Offset: offset})
}

// object decodes the object at path, "" for the document; data starts at base.
func (d *decoder[C]) object(path string, data []byte, base int64) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, _ := dec.Token(); t != json.Delim('{') {
		d.mistake(base, cmp.Or(path, "config"), Shorten(string(data)), "an object")
		return
	}
	seen := map[string]bool{}
	for dec.More() {
		rest := data[dec.InputOffset():]
		keyAt := base + dec.InputOffset() + int64(len(rest)-len(bytes.TrimLeft(rest, " \t\r\n,")))
		token, _ := dec.Token()
		key, _ := token.(string)
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return // not reached: the whole document was valid
		}
		child := key
		if path != "" {
			child = path + "." + key
		}
		if seen[key] {
			d.mistake(keyAt, showPath(child), "a repeated field", "stated once")
		}
		seen[key] = true
		if strings.Contains(key, ".") { // or it would pass for a path
			d.mistake(keyAt, showPath(child), "a field with a dot", "an object in an object")
			continue
		}
		d.field(child, raw, keyAt, base+dec.InputOffset()-int64(len(raw)))
	}
}

// field decodes the value at path.
func (d *decoder[C]) field(path string, raw json.RawMessage, keyAt, offset int64) {
	d.out.Offsets[path] = offset
	if slices.Contains(d.sections, path) {
		d.object(path, raw, offset)
		return
	}
	if why, ok := d.table.AlwaysTrue[path]; ok {
		if string(raw) != "true" {
			d.mistake(offset, path, Shorten(string(raw)), "true: "+why)
		}
		return
	}
	i := slices.IndexFunc(d.table.Fields, func(f Field[C]) bool { return f.Path == path })
	if i < 0 {
		d.mistake(keyAt, showPath(path), "an unknown field", d.table.suggest(path))
		return
	}
	f := d.table.Fields[i]
	v := f.Value(&d.out.Config)
	if v.Kind() == reflect.Bool {
		if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil || raw[0] == 'n' {
			d.mistake(offset, path, Shorten(string(raw)), f.Bound())
		}
		return
	}
	if text, ok := v.Addr().Interface().(Text); ok {
		var stated string
		if raw[0] != '"' || json.Unmarshal(raw, &stated) != nil {
			d.mistake(offset, path, Shorten(string(raw)), f.Bound())
		} else if err := text.UnmarshalText([]byte(stated)); err != nil {
			d.mistake(offset, path, Shorten(string(raw))+because(err), f.Bound())
		}
		return
	}
	_, isDuration := v.Interface().(time.Duration)
	n, ok := number(raw, isDuration)
	switch {
	case !ok && isDuration:
		d.mistake(offset, path, Shorten(string(raw)), f.Bound()+`, as a number of seconds or a text such as "90s"`)
	case !ok, n != 0 && !f.InBounds(n), v.Kind() == reflect.Int && n != math.Trunc(n):
		d.mistake(offset, path, Shorten(string(raw)), f.Bound())
	case v.Kind() == reflect.Float64:
		v.SetFloat(n)
	default:
		v.SetInt(int64(math.Round(n)))
	}
}

// number reads a JSON number; as a duration, in nanoseconds, a number of seconds or a text. What is too large for a
// float64 is infinite, and what is too small for it, though not zero, is NaN: neither is in any bounds.
func number(raw json.RawMessage, duration bool) (n float64, ok bool) {
	text := string(raw)
	if duration && raw[0] == '"' {
		if json.Unmarshal(raw, &text) != nil {
			return 0, false
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, false
		}
		n = float64(d)
	} else {
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return 0, false
		}
		n, _ = strconv.ParseFloat(text, 64) // the one error left is a range error, with n infinite
		if duration {
			n *= float64(time.Second)
		}
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	if n == 0 && strings.ContainsAny(mantissa, "123456789") {
		n = math.NaN()
	}
	return n, true
}
