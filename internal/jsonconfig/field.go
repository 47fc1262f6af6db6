// Package jsonconfig reads a configuration from strict JSON: every mistake is reported, with its place and what would be
// right. It knows the configuration only through a table of its fields.
package jsonconfig

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	Field        string // its path; "config" for the document as a whole
	Value        string // what was given, shortened, or what is wrong with the field itself
	Bound        string // what would be right
	Offset       int64  // of the value in the document, in bytes; of an unknown or repeated field, of its name
	Line, Column int    // see Locate
}

// Locate sets the line and column of every mistake, counted from 1, columns in bytes.
func Locate(mistakes []Mistake, data []byte) {
	for i := range mistakes {
		m := &mistakes[i]
		before := string(data[:min(m.Offset, int64(len(data)))])
		m.Line = 1 + strings.Count(before, "\n")
		m.Column = len(before) - strings.LastIndexByte(before, '\n')
	}
}

// Field is one field of a configuration C: its path in JSON, "section.name", and its bounds. A value is above 0 up to
// Max; the zero value stands for a field that is not set.
type Field[C any] struct {
	Path  string
	At    func(*C) any // *int, *time.Duration, *float64, *bool, or a Text
	Max   float64      // durations in nanoseconds; booleans and texts have none
	Below bool         // Max itself is too much
	Form  string       // of a text
}

// Text is a field that is written as a text, "" where it is not set. What its errors wrap says why it cannot be.
type Text interface {
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}

// Value returns the field of c.
func (f Field[C]) Value(c *C) reflect.Value { return reflect.ValueOf(f.At(c)).Elem() }

// InBounds reports whether a number other than 0 is allowed; durations are in nanoseconds. NaN is not.
func (f Field[C]) InBounds(n float64) bool {
	least := 1.0
	if _, ok := f.At(new(C)).(*float64); ok {
		least = math.SmallestNonzeroFloat64
	}
	return n >= least && (n < f.Max || n == f.Max && !f.Below)
}

// Bound describes the values that are allowed.
func (f Field[C]) Bound() string {
	switch f.At(new(C)).(type) {
	case *bool:
		return "true or false"
	case *int:
		return fmt.Sprintf("a whole number from 1 to %.0f", f.Max)
	case Text:
		return f.Form
	case *time.Duration:
		return fmt.Sprintf("a duration above 0 up to %v", time.Duration(f.Max))
	}
	if f.Below {
		return fmt.Sprintf("a number above 0 and below %g", f.Max)
	}
	return fmt.Sprintf("a number above 0 up to %g", f.Max)
}

// Table describes a configuration C.
type Table[C any] struct {
	Fields []Field[C]
	// AlwaysTrue are switches that operators know from another system and that have one position here, by path, with the
	// reason. They may be stated, as true, and set nothing.
	AlwaysTrue map[string]string
}

// Sections are the objects that hold the fields, in the table's order.
func (t *Table[C]) Sections() []string {
	var out []string
	for i := range t.Fields {
		if section, _, _ := strings.Cut(t.Fields[i].Path, "."); !slices.Contains(out, section) {
			out = append(out, section)
		}
	}
	return out
}

// Overlay sets the fields of c that are not zero in over, and returns the mistakes among these.
func (t *Table[C]) Overlay(c *C, over C) (mistakes []Mistake) {
	for _, f := range t.Fields {
		v := f.Value(&over)
		if v.IsZero() {
			continue
		}
		f.Value(c).Set(v)
		if text, ok := v.Addr().Interface().(Text); ok {
			if _, err := text.MarshalText(); err != nil {
				mistakes = append(mistakes, Mistake{Field: f.Path, Value: "not one" + because(err), Bound: f.Bound()})
			}
			continue
		}
		if v.CanConvert(reflect.TypeFor[float64]()) && !f.InBounds(v.Convert(reflect.TypeFor[float64]()).Float()) {
			mistakes = append(mistakes, Mistake{Field: f.Path, Value: fmt.Sprint(v), Bound: f.Bound()})
		}
	}
	return mistakes
}

// because is the reason that an error of a Text wraps.
func because(err error) string {
	if reason := errors.Unwrap(err); reason != nil {
		err = reason
	}
	return " (" + err.Error() + ")"
}
