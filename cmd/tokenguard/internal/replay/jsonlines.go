package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// record holds the fields of all known kinds of lines: calls, events of the library, its log records, and other records
// of slog that say how a call ended.
type record struct {
	At      moment               `json:"at"`
	Time    moment               `json:"time"`
	Cause   text                 `json:"cause"`
	Caller  text                 `json:"caller"`
	Scope   text                 `json:"scope"`
	Status  text                 `json:"status"`
	Body    text                 `json:"body"`
	Class   text                 `json:"class"`
	Failing text                 `json:"failing"`
	Kind    tokenguard.EventKind `json:"kind"`
	Msg     text                 `json:"msg"`
	Text    text                 `json:"text"`
	Token   text                 `json:"token"`
	TokenID text                 `json:"token_id"`
	Repeats int                  `json:"repeats"`
	Verdict struct {
		Class text `json:"class"`
	} `json:"verdict"`
}

// moment is an instant as a text or a number.
type moment struct{ time.Time }

func (m *moment) UnmarshalJSON(data []byte) (err error) {
	var s text
	if err = s.UnmarshalJSON(data); err == nil && s != "" {
		m.Time, err = instant(string(s))
	}
	return err
}

// text is a text, or a number or a switch as one.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '"':
		return json.Unmarshal(data, (*string)(t))
	case '{', '[':
		return fmt.Errorf("%s: want a text or a number", shorten(string(data)))
	case 'n':
		return nil
	}
	*t = text(data)
	return nil
}

// jsonLine reads a line that holds one JSON object.
func (s *source) jsonLine(data []byte) (Call, bool, error) {
	if s.columns.named() {
		return s.mappedJSON(data)
	}
	if data[0] != '{' {
		return Call{}, false, errors.New("not a JSON object (for other logs give --map at=FIELD,...)")
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return Call{}, false, fmt.Errorf("not a known line: %w (for other logs give --map at=FIELD,...)", err)
	}
	return s.known(&r)
}

// known makes a call of a line that needs no column map.
func (s *source) known(r *record) (c Call, ok bool, err error) {
	if kind, ok := strings.CutPrefix(string(r.Msg), "token "); ok && r.At.IsZero() {
		r.At, r.Kind, r.Verdict.Class = r.Time, tokenguard.EventKind(kind), r.Class
	}
	if r.Kind != "" {
		return s.event(r)
	}
	if r.At.IsZero() && (r.Status != "" || r.Class != "" || r.Failing != "") {
		r.At = r.Time
	}
	if r.At.IsZero() {
		return c, false, nil
	}
	return s.call(r.At.Time, r.field)
}

// field is a field of a call.
func (r *record) field(name string) string {
	switch name {
	case "cause":
		return string(r.Cause)
	case "caller":
		return string(r.Caller)
	case "scope":
		return string(r.Scope)
	case "status":
		return string(r.Status)
	case "body":
		return string(r.Body)
	case "class":
		return string(r.Class)
	case "failing":
		return string(r.Failing)
	}
	return ""
}

// event reads an event: a call, a report, or how an acquisition ended. The latter stands for the call that started it.
func (s *source) event(r *record) (c Call, ok bool, err error) {
	switch r.Kind {
	case tokenguard.EventServed, tokenguard.EventRefused, tokenguard.EventAcquired, tokenguard.EventFailed, tokenguard.EventReported:
	default:
		return c, false, nil
	}
	if r.At.IsZero() {
		return c, false, errors.New(`an event without "at"`)
	}
	if r.Repeats < 0 {
		return c, false, fmt.Errorf("repeats %d: want 0 or more", r.Repeats)
	}
	c = Call{At: r.At.Time, Cause: string(r.Kind), Caller: string(r.Caller), Scope: string(r.Scope), Body: string(r.Text),
		Failing: string(r.Failing), Token: string(r.TokenID), Event: r.Kind, Repeats: r.Repeats}
	if c.Token == "" {
		c.Token = string(r.Token)
	}
	c.Class, err = class(string(r.Verdict.Class))
	return c, err == nil, err
}

// mappedJSON reads a line with the column map.
func (s *source) mappedJSON(data []byte) (Call, bool, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return Call{}, false, fmt.Errorf("not a JSON object: %w", err)
	}
	return s.row(func(column string) string { return path(object, column) })
}

// path finds a value by its key, or by keys with dots between.
func path(object map[string]any, name string) string {
	if v, ok := object[name]; ok {
		if list, ok := v.([]any); ok && len(list) == 1 { // as a header is logged
			v = list[0]
		}
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	}
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		if inner, ok := object[name[:i]].(map[string]any); ok {
			if v := path(inner, name[i+1:]); v != "" {
				return v
			}
		}
	}
	return ""
}
