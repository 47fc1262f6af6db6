package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

const (
	maxLine  = 4 << 20         // bytes of a line
	disorder = 5 * time.Second // by which a line may be older than the one above, as concurrent writers make it
)

// source is one file of a log.
type source struct {
	log       *Log
	name      string
	in        *bufio.Reader
	format    Format
	separator rune // of CSV; 0: found in the heading
	columns   Columns
	last      time.Time
	lines     int // read so far
	packed    bool
}

// newSource looks at the beginning of a file: it may be compressed and have a byte order mark.
func newSource(l *Log, f File, opts Options) (*source, error) {
	s := &source{log: l, name: f.Name, in: bufio.NewReaderSize(f.In, 1<<20), format: opts.Format, separator: opts.Separator, columns: opts.Columns}
	if magic, _ := s.in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		s.packed = true
		unpacked, err := gzip.NewReader(s.in)
		if err != nil {
			return nil, s.broken(err)
		}
		s.in = bufio.NewReaderSize(unpacked, 1<<20)
	}
	start, err := s.in.Peek(3)
	if err != nil && err != io.EOF {
		return nil, s.broken(err)
	}
	switch {
	case bytes.Equal(start, []byte("\uFEFF")):
		_, _ = s.in.Discard(len(start))
	case bytes.HasPrefix(start, []byte{0xff, 0xfe}), bytes.HasPrefix(start, []byte{0xfe, 0xff}):
		return nil, fmt.Errorf("tokenguard: %s is UTF-16: make it UTF-8 first, as with iconv -f UTF-16 -t UTF-8", s.name)
	}
	if s.format == "" {
		s.format = s.guess()
	}
	return s, nil
}

// guess finds the format by the file's name and by what most of its first lines look like.
func (s *source) guess() Format {
	name := strings.TrimSuffix(strings.ToLower(s.name), ".gz")
	if strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".tsv") {
		return CSV
	}
	head, _ := s.in.Peek(64 << 10)
	const looked = 20
	votes, lines := map[Format]int{}, 0
	for line := range bytes.Lines(head) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if lines++; lines > looked {
			break
		}
		f := formatOf(line)
		if _, columns := separatorOf(line); lines == 1 && f == "" && columns > 1 { // a heading, and nothing else
			return CSV
		}
		votes[f]++
	}
	best := JSON
	for _, f := range Formats {
		if votes[f] > votes[best] {
			best = f
		}
	}
	return best
}

// formatOf is what a line looks like; "" for none that can be told by a line.
func formatOf(line []byte) Format {
	switch {
	case line[0] == '{':
		return JSON
	case accessLine.Match(line):
		return Access
	case pairs.Match(line):
		return Logfmt
	}
	return ""
}

// next reads one line without its end.
func (s *source) next() ([]byte, error) {
	var long []byte
	for {
		part, err := s.in.ReadSlice('\n')
		if len(part) == 0 && long == nil && err != nil {
			return nil, err
		}
		if err == nil && long == nil {
			s.lines++
			return part, nil
		}
		if len(long) <= maxLine {
			long = append(long, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		s.lines++
		switch {
		case len(long) > maxLine:
			return nil, errLong
		case err != nil && err != io.EOF:
			return nil, err
		}
		return long, nil
	}
}

var errLong = fmt.Errorf("the line has more than %d bytes", maxLine)

// broken is a file that cannot be read on.
func (s *source) broken(err error) error {
	if s.packed {
		err = fmt.Errorf("its gzip is cut off or damaged: %w", err)
	}
	return fmt.Errorf("tokenguard: %s, after line %d: %w", s.name, s.lines, err)
}

// calls yields the calls of the file; an error ends it.
func (s *source) calls(yield func(Call, error) bool) {
	read := map[Format]func([]byte) (Call, bool, error){JSON: s.jsonLine, Logfmt: s.logfmtLine, Access: s.access}[s.format]
	if read == nil {
		s.table(yield)
		return
	}
	for {
		line, err := s.next()
		if err == io.EOF {
			return
		}
		if err != nil && !errors.Is(err, errLong) {
			yield(Call{}, s.broken(err))
			return
		}
		line = bytes.TrimSpace(line)
		var c Call
		ok := false
		if err == nil {
			if len(line) == 0 {
				continue
			}
			c, ok, err = read(line)
		}
		if !s.hand(c, ok, err, yield) {
			return
		}
	}
}

// hand passes a call on. What is wrong with its line is noted, and the rest goes on.
func (s *source) hand(c Call, ok bool, err error, yield func(Call, error) bool) bool {
	if err == nil && !ok {
		s.log.Skipped++
		return true
	}
	c.Line = s.lines
	if s.log.several {
		c.File = s.name
	}
	if err == nil && !s.log.sort {
		err = s.order(&c)
	}
	if err != nil {
		s.log.wrong(Mistake{s.name, s.lines, err})
		return true
	}
	return yield(c, nil)
}

// order takes small disorder for the same instant.
func (s *source) order(c *Call) error {
	if back := s.last.Sub(c.At); back > disorder {
		return fmt.Errorf("%s is %v before a line above: sort the log by time, or use --sort", c.At.Format(time.RFC3339Nano), back)
	} else if back > 0 {
		c.At = s.last
	}
	s.last = c.At
	return nil
}

// row makes a call of the columns that are mapped; one without an instant is none.
func (s *source) row(column func(string) string) (c Call, ok bool, err error) {
	at := s.columns.get("at", column)
	if at == "" && len(s.columns.from["at"]) == 0 {
		at = column("at")
		for _, name := range []string{"time", "ts"} {
			if at == "" {
				at = column(name)
			}
		}
	}
	if at == "" {
		return c, false, nil
	}
	t, err := instant(at)
	if err != nil {
		return c, false, err
	}
	return s.call(t, func(field string) string { return s.columns.get(field, column) })
}

// call makes a call of its fields, over which the texts of the column map go.
func (s *source) call(at time.Time, get func(field string) string) (c Call, ok bool, err error) {
	field := func(name string) string {
		if text, ok := s.columns.text[name]; ok {
			return text
		}
		return get(name)
	}
	c = Call{At: at, Cause: field("cause"), Caller: field("caller"), Scope: field("scope"), Body: field("body"), Failing: field("failing")}
	if c.Class, err = class(field("class")); err != nil {
		return c, false, err
	}
	if c.Status, err = status(field("status")); err != nil {
		return c, false, err
	}
	return c, true, nil
}

// namesToken reports whether the failure is of a class that says something about a token.
func namesToken(c tokenguard.Class) bool {
	return c == tokenguard.ClassQuotaExhausted || c == tokenguard.ClassAuthInvalid
}
