package tokenguard

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

// ParseConfig decodes a Config from a JSON document and checks it as New would, over the defaults. The error joins a
// *ConfigError with line and column for each mistake.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	mistakes := c.decode(data)
	if len(mistakes) == 0 {
		return c, nil
	}
	for _, e := range mistakes {
		before := data[:min(e.Offset, int64(len(data)))]
		e.Line = 1 + bytes.Count(before, []byte("\n"))
		e.Column = len(before) - bytes.LastIndexByte(before, '\n')
	}
	return Config{}, join(mistakes)
}

// UnmarshalJSON decodes as ParseConfig does, over what c holds: an absent field and a 0 keep it. On error c stays as it
// was. Offsets count from the start of the Config's own JSON. As for other types, null changes nothing.
func (c *Config) UnmarshalJSON(data []byte) error {
	if string(bytes.TrimSpace(data)) == "null" {
		return nil
	}
	next := *c
	if mistakes := next.decode(data); len(mistakes) > 0 {
		return join(mistakes)
	}
	*c = next
	return nil
}

// MarshalJSON encodes the fields that are not zero, durations as Go duration strings. Decoding it gives the same Config
// again.
func (c Config) MarshalJSON() ([]byte, error) {
	doc := map[string]map[string]any{}
	for _, s := range settings {
		v := s.value(&c)
		if v.IsZero() {
			continue
		}
		section, name, _ := strings.Cut(s.path, ".")
		if doc[section] == nil {
			doc[section] = map[string]any{}
		}
		doc[section][name] = v.Interface()
		if d, ok := v.Interface().(time.Duration); ok {
			doc[section][name] = d.String()
		}
	}
	return json.Marshal(doc)
}

func join(mistakes []*ConfigError) error {
	errs := make([]error, len(mistakes))
	for i, e := range mistakes {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// pathFailureBackoff is a switch that operators know and that has one position.
const pathFailureBackoff = "rate_limit.consecutive_failure_backoff"

// configDecoder walks a document that is known to be valid JSON.
type configDecoder struct {
	config   Config
	offsets  map[string]int64 // of the values seen, by path
	mistakes []*ConfigError
}

// decode lays the document over c. The mistakes come in the document's order, the one between two fields last.
func (c *Config) decode(data []byte) []*ConfigError {
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		e := &ConfigError{Field: "config", Value: "not JSON (" + err.Error() + ")", Bound: "one JSON object"}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			e.Offset = max(syntax.Offset-1, 0)
		}
		return []*ConfigError{e}
	}
	d := configDecoder{offsets: map[string]int64{}}
	d.object("", data, 0)
	c.overlay(d.config) // holds only what is in bounds
	complete := Conservative()
	complete.overlay(*c)
	if e := complete.checkTogether(); e != nil && !slices.ContainsFunc(d.mistakes, aboutBackoff) {
		e.Offset = max(d.offsets[pathMaxBackoff], d.offsets[pathBackoffBase])
		d.mistakes = append(d.mistakes, e)
	}
	return d.mistakes
}

// aboutBackoff reports whether a comparison of the two pauses would only repeat e.
func aboutBackoff(e *ConfigError) bool {
	return e.Field == pathMaxBackoff || e.Field == pathBackoffBase
}

func (d *configDecoder) mistake(offset int64, path, value, bound string) {
	d.mistakes = append(d.mistakes, &ConfigError{Field: path, Value: value, Bound: bound, Offset: offset})
}

// object decodes the object at path, "" for the document; data starts at base.
func (d *configDecoder) object(path string, data []byte, base int64) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, _ := dec.Token(); t != json.Delim('{') {
		d.mistake(base, cmp.Or(path, "config"), cut(string(data)), "an object")
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
func (d *configDecoder) field(path string, raw json.RawMessage, keyAt, offset int64) {
	d.offsets[path] = offset
	if slices.Contains(sections, path) {
		d.object(path, raw, offset)
		return
	}
	if path == pathFailureBackoff {
		if string(raw) != "true" {
			d.mistake(offset, path, cut(string(raw)), "true: nothing switches a limit off")
		}
		return
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.path == path })
	if i < 0 {
		d.mistake(keyAt, showPath(path), "an unknown field", known(path))
		return
	}
	s := settings[i]
	v := s.value(&d.config)
	if v.Kind() == reflect.Bool {
		if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil || raw[0] == 'n' {
			d.mistake(offset, path, cut(string(raw)), s.bound())
		}
		return
	}
	_, isDuration := v.Interface().(time.Duration)
	f, ok := number(raw, isDuration)
	switch {
	case !ok && isDuration:
		d.mistake(offset, path, cut(string(raw)), s.bound()+`, as a number of seconds or a text such as "90s"`)
	case !ok, f != 0 && !s.inBounds(f), v.Kind() == reflect.Int && f != math.Trunc(f):
		d.mistake(offset, path, cut(string(raw)), s.bound())
	case v.Kind() == reflect.Float64:
		v.SetFloat(f)
	default:
		v.SetInt(int64(math.Round(f)))
	}
}

// number reads a JSON number; as a duration, in nanoseconds, a number of seconds or a text. What is too large for a
// float64 is infinite, and what is too small for it, though not zero, is NaN.
func number(raw json.RawMessage, duration bool) (f float64, ok bool) {
	text := string(raw)
	if duration && raw[0] == '"' {
		if json.Unmarshal(raw, &text) != nil {
			return 0, false
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, false
		}
		f = float64(d)
	} else {
		if raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
			return 0, false
		}
		f, _ = strconv.ParseFloat(text, 64) // the one error left is a range error, with f infinite
		if duration {
			f *= float64(time.Second)
		}
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	if f == 0 && strings.ContainsAny(mantissa, "123456789") {
		f = math.NaN()
	}
	return f, true
}
