package replay

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// separators that the heading is tried with, in the order in which they win a draw.
var separators = []rune{',', ';', '\t', '|'}

// separatorOf is the one that cuts the heading into the most columns.
func separatorOf(heading []byte) (best rune, columns int) {
	for _, sep := range separators {
		r := csv.NewReader(bytes.NewReader(heading))
		r.Comma, r.LazyQuotes = sep, true
		if row, err := r.Read(); err == nil && len(row) > columns {
			best, columns = sep, len(row)
		}
	}
	return best, columns
}

// table reads CSV with a heading.
func (s *source) table(yield func(Call, error) bool) {
	heading, err := s.heading()
	if err != nil {
		yield(Call{}, fmt.Errorf("tokenguard: %s:%d: %w", s.name, s.lines, err))
		return
	}
	rows := rows{s: s, columns: len(heading)}
	for {
		row, number, wrong, err := rows.next()
		if err == io.EOF {
			return
		}
		if err != nil {
			yield(Call{}, s.broken(err))
			return
		}
		var c Call
		ok := false
		if wrong == nil {
			c, ok, wrong = s.row(func(column string) string { return row[heading[column]] })
		}
		read := s.lines
		s.lines = number
		more := s.hand(c, ok, wrong, yield)
		if s.lines = read; !more {
			return
		}
	}
}

// heading reads the first line, and checks that it has the columns that are asked for.
func (s *source) heading() (map[string]int, error) {
	line, err := s.next()
	if err == nil && bytes.HasPrefix(line, []byte("sep=")) && len(bytes.TrimSpace(line)) == len("sep=")+1 { // a spreadsheet's
		if s.separator == 0 {
			s.separator = rune(line[len("sep=")])
		}
		line, err = s.next()
	}
	if err != nil {
		return nil, errors.New("no heading: want a line with the names of the columns")
	}
	line = bytes.TrimSpace(line)
	if s.separator == 0 {
		if s.separator, _ = separatorOf(line); s.separator == 0 {
			s.separator = ','
		}
	}
	r := csv.NewReader(bytes.NewReader(line))
	r.Comma = s.separator
	names, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("the heading cannot be read: %w", err)
	}
	index := map[string]int{}
	for i, name := range names {
		name = strings.TrimSpace(name)
		if _, twice := index[name]; twice { // so that a row has as many columns as the heading
			name = fmt.Sprintf("%s#%d", name, i+1)
		}
		index[name] = i
	}
	if !s.columns.named() {
		from := map[string][]string{}
		for _, f := range Fields {
			if _, ok := index[f]; ok {
				from[f] = []string{f}
			}
		}
		s.columns.from = from
	}
	for field, columns := range s.columns.from {
		for _, column := range columns {
			if _, ok := index[column]; !ok {
				return nil, fmt.Errorf("no column %q for %s: the heading has %s", column, field, headings(index))
			}
		}
	}
	if len(s.columns.from["at"]) == 0 {
		return nil, fmt.Errorf("no column %q: give --map at=COLUMN; the heading has %s", "at", headings(index))
	}
	return index, nil
}

// headings lists the names of columns, each as --map takes it.
func headings(index map[string]int) string {
	names := slices.Sorted(maps.Keys(index))
	for i, name := range names {
		if strings.ContainsAny(name, `,+="'`) {
			names[i] = `"` + name + `"`
		}
	}
	return strings.Join(names, ", ")
}
