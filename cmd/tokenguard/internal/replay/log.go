// Package replay runs a log of calls for a token through a real guard on the log's own clock.
package replay

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Call is one line of a log: somebody wanted a token, or said how one did.
type Call struct {
	Line    int
	At      time.Time
	Cause   string
	Caller  string
	Scope   string
	Status  int              // what the call ended with for which a token is wanted; 0: not known
	Body    string           // its text
	Class   tokenguard.Class // what an earlier guard made of it; "": Status and Body decide
	Failing string           // the token with which it failed: an ID, any name, or Current
	Event   tokenguard.EventKind
	Repeats int // like calls at the same instant
}

// Current, as Call.Failing, is the token that the replay handed out last.
const Current = "current"

// Fields are what a column map may name.
var Fields = []string{"at", "cause", "caller", "scope", "status", "body", "class", "failing"}

// record holds the fields of all known kinds of lines: calls, events of the library, its log records.
type record struct {
	At      time.Time            `json:"at"`
	Time    time.Time            `json:"time"`
	Cause   string               `json:"cause"`
	Caller  string               `json:"caller"`
	Scope   string               `json:"scope"`
	Status  int                  `json:"status"`
	Body    string               `json:"body"`
	Class   tokenguard.Class     `json:"class"`
	Failing string               `json:"failing"`
	Kind    tokenguard.EventKind `json:"kind"`
	Msg     string               `json:"msg"`
	Text    string               `json:"text"`
	Repeats int                  `json:"repeats"`
	Verdict struct {
		Class tokenguard.Class `json:"class"`
	} `json:"verdict"`
}

const (
	maxLine  = 4 << 20         // bytes of a line
	disorder = 5 * time.Second // by which a line may be older than the one above, as concurrent writers make it
)

// Log reads a log line by line.
type Log struct {
	name    string
	columns map[string]string // by field; nil: the known names
	in      *bufio.Reader
	csv     bool
	last    time.Time
	Lines   int // read so far
	Skipped int // that are no calls
}

// Open prepares a log for reading. name stands in errors; one that ends in .csv is read as CSV with a heading, anything
// else as one JSON object a line. columns names, for each field, the JSON path (dots between) or the CSV column.
func Open(name string, in io.Reader, columns map[string]string) (*Log, error) {
	for field := range columns {
		if !slices.Contains(Fields, field) {
			return nil, fmt.Errorf("tokenguard: --map names %q: the fields are %s", field, strings.Join(Fields, ", "))
		}
	}
	if len(columns) > 0 && columns["at"] == "" {
		return nil, errors.New("tokenguard: --map lacks at: say which column holds the instant, as in --map at=time")
	}
	return &Log{name: name, columns: columns, in: bufio.NewReaderSize(in, 1<<20), csv: strings.HasSuffix(name, ".csv")}, nil
}

// Calls yields the calls in order, each with the mistake that ends the log, if there is one.
func (l *Log) Calls() iter.Seq2[Call, error] {
	lines := l.json
	if l.csv {
		lines = l.table
	}
	return func(yield func(Call, error) bool) {
		found := false
		for c, err := range lines {
			if err == nil {
				err = l.order(&c)
			}
			if err != nil {
				yield(Call{}, fmt.Errorf("tokenguard: %s:%d: %w", l.name, l.Lines, err))
				return
			}
			if found = true; !yield(c, nil) {
				return
			}
		}
		if !found {
			yield(Call{}, fmt.Errorf("tokenguard: %s: none of %d lines is a call: want one JSON object a line with \"at\", the library's events or log, or --map at=COLUMN", l.name, l.Lines))
		}
	}
}

// order takes small disorder for the same instant.
func (l *Log) order(c *Call) error {
	if back := l.last.Sub(c.At); back > disorder {
		return fmt.Errorf("%s is %v before a line above: sort the log by time", c.At.Format(time.RFC3339Nano), back)
	} else if back > 0 {
		c.At = l.last
	}
	l.last = c.At
	return nil
}

func (l *Log) json(yield func(Call, error) bool) {
	lines := bufio.NewScanner(l.in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		l.Lines++
		data := lines.Bytes()
		if len(bytes.TrimSpace(data)) == 0 {
			continue
		}
		read := l.known
		if l.columns != nil {
			read = l.mapped
		}
		c, ok, err := read(data)
		if err == nil && !ok {
			l.Skipped++
			continue
		}
		if !yield(c, err) || err != nil {
			return
		}
	}
	if err := lines.Err(); err != nil {
		l.Lines++
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("the line has more than %d bytes", maxLine)
		}
		yield(Call{}, err)
	}
}

// known reads a line of a kind that needs no column map.
func (l *Log) known(data []byte) (Call, bool, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return Call{}, false, fmt.Errorf("not a known line: %w (for other logs give --map at=FIELD,...)", err)
	}
	if kind, ok := strings.CutPrefix(r.Msg, "token "); ok && r.At.IsZero() {
		r.At, r.Kind, r.Verdict.Class = r.Time, tokenguard.EventKind(kind), r.Class
	}
	if r.Kind != "" {
		return l.event(&r)
	}
	if r.At.IsZero() {
		return Call{}, false, nil
	}
	return Call{Line: l.Lines, At: r.At, Cause: r.Cause, Caller: r.Caller, Scope: r.Scope, Status: r.Status, Body: r.Body,
		Class: r.Class, Failing: r.Failing}, true, nil
}

// event reads an event: a call, a report, or how an acquisition ended. The latter stands for the call that started it.
func (l *Log) event(r *record) (Call, bool, error) {
	switch r.Kind {
	case tokenguard.EventServed, tokenguard.EventRefused, tokenguard.EventAcquired, tokenguard.EventFailed, tokenguard.EventReported:
	default:
		return Call{}, false, nil
	}
	if r.At.IsZero() {
		return Call{}, false, errors.New(`an event without "at"`)
	}
	return Call{Line: l.Lines, At: r.At, Cause: string(r.Kind), Caller: r.Caller, Scope: r.Scope, Body: r.Text,
		Class: r.Verdict.Class, Event: r.Kind, Repeats: r.Repeats}, true, nil
}

// mapped reads a line with the column map.
func (l *Log) mapped(data []byte) (Call, bool, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return Call{}, false, fmt.Errorf("not a JSON object: %w", err)
	}
	return l.call(func(column string) string {
		var v any = object
		for part := range strings.SplitSeq(column, ".") {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	})
}

func (l *Log) table(yield func(Call, error) bool) {
	rows := csv.NewReader(l.in)
	rows.ReuseRecord = true
	l.Lines = 1
	heading, err := rows.Read()
	if err != nil {
		yield(Call{}, fmt.Errorf("no heading: %w", err))
		return
	}
	index := map[string]int{}
	for i, h := range heading {
		index[strings.TrimPrefix(h, "\uFEFF")] = i
	}
	if l.columns == nil {
		l.columns = map[string]string{}
		for _, f := range Fields {
			if _, ok := index[f]; ok {
				l.columns[f] = f
			}
		}
	}
	for field, column := range l.columns {
		if _, ok := index[column]; !ok {
			yield(Call{}, fmt.Errorf("no column %q for %s: the heading has %s", column, field, strings.Join(slices.Sorted(maps.Keys(index)), ", ")))
			return
		}
	}
	if l.columns["at"] == "" {
		yield(Call{}, errors.New(`no column "at": give --map at=COLUMN`))
		return
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(Call{}, err)
			return
		}
		l.Lines, _ = rows.FieldPos(0)
		c, ok, err := l.call(func(column string) string { return row[index[column]] })
		if err == nil && !ok {
			l.Skipped++
			continue
		}
		if !yield(c, err) || err != nil {
			return
		}
	}
}

// call makes a call of the columns; one without an instant is none.
func (l *Log) call(column func(string) string) (c Call, ok bool, err error) {
	get := func(field string) string {
		if name := l.columns[field]; name != "" {
			return column(name)
		}
		return ""
	}
	at := get("at")
	if at == "" {
		return c, false, nil
	}
	c = Call{Line: l.Lines, Cause: get("cause"), Caller: get("caller"), Scope: get("scope"), Body: get("body"),
		Class: tokenguard.Class(get("class")), Failing: get("failing")}
	if c.At, err = instant(at); err != nil {
		return c, false, err
	}
	if s := get("status"); s != "" {
		if c.Status, err = strconv.Atoi(s); err != nil {
			return c, false, fmt.Errorf("status %q: want a number", s)
		}
	}
	return c, true, nil
}

// instant reads RFC 3339, the same without a zone (UTC), or a number: Unix seconds, or milliseconds, microseconds,
// nanoseconds, by its size.
func instant(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 {
		for n < 1e17 {
			if n < 1e11 {
				n *= int64(time.Second)
				break
			}
			n *= 1000
		}
		return time.Unix(0, n).UTC(), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f > 0 && f < 1e10 {
		return time.Unix(0, int64(f*1e6)*1000).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("instant %q: want RFC 3339 or Unix seconds", s)
}
