package replay

import (
	"fmt"
	"slices"
	"strings"
)

// Fields are what a column map may name.
var Fields = []string{"at", "cause", "caller", "scope", "status", "body", "class", "failing"}

// None, as the text of the field failing, leaves unnamed what names no token.
const None = "none"

// Columns say where a foreign log keeps the fields of a call. The zero value means the known names.
type Columns struct {
	from map[string][]string // columns by field; several are joined by a space
	text map[string]string   // by field, what every line says
}

// named reports whether the map names columns, and not texts alone.
func (c *Columns) named() bool { return len(c.from) > 0 }

// ParseColumns reads FIELD=COLUMN,... where COLUMN is a name, a name in double quotes, several of them joined by +, or
// a text in single quotes. The words current and none are texts of the field failing.
func ParseColumns(maps []string) (c Columns, err error) {
	c = Columns{from: map[string][]string{}, text: map[string]string{}}
	for _, s := range maps {
		if err := c.parse(s); err != nil {
			return c, fmt.Errorf("tokenguard: --map %q: %w", s, err)
		}
	}
	return c, nil
}

func (c *Columns) parse(s string) error {
	for rest := s; ; {
		field, after, ok := strings.Cut(rest, "=")
		if field = strings.TrimSpace(field); !ok {
			return fmt.Errorf("want FIELD=COLUMN,... such as at=time,status=code")
		}
		if !slices.Contains(Fields, field) {
			return fmt.Errorf("no field %q: the fields are %s", field, strings.Join(Fields, ", "))
		}
		if len(c.from[field]) > 0 || c.text[field] != "" {
			return fmt.Errorf("%s is given twice", field)
		}
		var err error
		if rest, err = c.value(field, after); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		if rest == "" {
			return nil
		}
		rest = rest[1:] // the comma
	}
}

// value reads what stands behind FIELD= and returns what follows it: nothing, or what begins with a comma.
func (c *Columns) value(field, s string) (rest string, err error) {
	for {
		var part string
		quote := byte(0)
		if s != "" && (s[0] == '"' || s[0] == '\'') {
			quote = s[0]
			if part, s, err = quoted(s); err != nil {
				return "", err
			}
			if s != "" && s[0] != '+' && s[0] != ',' {
				return "", fmt.Errorf("%q follows a quoted column: want a comma or +", s)
			}
		} else {
			end := strings.IndexAny(s, ",+")
			if end < 0 {
				end = len(s)
			}
			part, s = strings.TrimSpace(s[:end]), s[end:]
		}
		if part == "" {
			return "", fmt.Errorf("the column is missing")
		}
		more := s != "" && s[0] == '+'
		literal := quote == '\'' || quote == 0 && field == "failing" && (part == Current || part == None)
		switch {
		case !literal:
			c.from[field] = append(c.from[field], part)
		case more || len(c.from[field]) > 0:
			return "", fmt.Errorf("a text cannot be joined with +")
		default:
			c.text[field] = part
		}
		if !more {
			return s, nil
		}
		s = s[1:]
	}
}

// quoted reads a quoted name; a doubled quote in it is one.
func quoted(s string) (name, rest string, err error) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != quote:
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == quote:
			b.WriteByte(quote)
			i++
		default:
			return b.String(), s[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("a quote is not closed")
}

// get is a field of a row whose columns are read by column.
func (c *Columns) get(field string, column func(string) string) string {
	if text, ok := c.text[field]; ok {
		return text
	}
	var parts []string
	for _, name := range c.from[field] {
		if v := column(name); v != "" {
			parts = append(parts, v)
		}
	}
	if len(parts) < len(c.from[field]) && field == "at" {
		return "" // half an instant is none
	}
	return strings.Join(parts, " ")
}
