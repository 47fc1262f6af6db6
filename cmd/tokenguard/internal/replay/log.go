// Package replay runs a log of calls for a token through a real guard on the log's own clock.
package replay

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"

	"github.com/tokenguard/tokenguard"
)

// Format is how a log is written.
type Format string

// The formats. Each has a call on a line; CSV begins with a heading.
const (
	JSON   Format = "json"
	Logfmt Format = "logfmt"
	Access Format = "access"
	CSV    Format = "csv"
)

// Formats that Options may name.
var Formats = []Format{JSON, Logfmt, Access, CSV}

// pairs tells logfmt: it begins with a key and its value.
var pairs = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.@/-]*=("|[^\s"]*(\s|$))`)

// File is one file of a log, compressed with gzip or not.
type File struct {
	Name string // in errors; the ending .csv or .tsv tells the format
	In   io.Reader
}

// Options say how a log is to be read. The zero value finds out.
type Options struct {
	Format    Format
	Separator rune // of CSV
	Columns   Columns
	Sort      bool // in memory, by time
}

// Mistake is a line that cannot be read.
type Mistake struct {
	File string
	Line int
	Err  error
}

func (m Mistake) String() string { return fmt.Sprintf("%s:%d: %v", m.File, m.Line, m.Err) }

// Log reads files line by line.
type Log struct {
	sources []*source
	several bool
	sort    bool
	keep    bool // unnamed failures as they are
	tell    func(Mistake)
	told    Call // the last report among the library's events

	Skipped  int                      // lines that are no calls
	Wrong    int                      // lines that cannot be read
	Failures map[tokenguard.Class]int // of the calls
	Unnamed  int                      // failures of the quota or the token that name no token
}

// Open prepares files for reading. tell, if not nil, hears of each wrong line.
func Open(files []File, opts Options, tell func(Mistake)) (*Log, error) {
	l := &Log{several: len(files) > 1, sort: opts.Sort, keep: opts.Columns.text["failing"] == None, tell: tell, Failures: map[tokenguard.Class]int{}}
	for _, f := range files {
		s, err := newSource(l, f, opts)
		if err != nil {
			return nil, err
		}
		l.sources = append(l.sources, s)
	}
	return l, nil
}

// Lines is how many were read so far.
func (l *Log) Lines() (n int) {
	for _, s := range l.sources {
		n += s.lines
	}
	return n
}

// Reading says what the failures are taken to be that name no token.
func (l *Log) Reading() string {
	if l.keep {
		return "taken to say nothing of any token"
	}
	return "taken to be of the token that was handed out last"
}

func (l *Log) wrong(m Mistake) {
	l.Wrong++
	if l.tell != nil {
		l.tell(m)
	}
}

// Calls yields the calls of all files in order of time, or the mistake that ends them.
func (l *Log) Calls() iter.Seq2[Call, error] {
	return func(yield func(Call, error) bool) {
		found := false
		for c, err := range l.all() {
			if err != nil {
				yield(Call{}, err)
				return
			}
			l.count(&c)
			if found = true; !yield(c, nil) {
				return
			}
		}
		if !found {
			yield(Call{}, l.empty())
		}
	}
}

func (l *Log) empty() error {
	s := l.sources[0]
	name, format := s.name, string(s.format)
	if l.several {
		name, format = fmt.Sprintf("%d files", len(l.sources)), "their format"
	}
	return fmt.Errorf("tokenguard: %s: none of %s is a call, read as %s: want an instant in \"at\", the library's events or log, or --map at=COLUMN; --input names another format", name, count(l.Lines(), "line"), format)
}

// all yields the calls of all files in order of time.
func (l *Log) all() iter.Seq2[Call, error] {
	switch {
	case l.sort:
		return l.sorted
	case l.several:
		return l.merged
	}
	return l.sources[0].calls
}

func (l *Log) sorted(yield func(Call, error) bool) {
	var all []Call
	for _, s := range l.sources {
		for c, err := range s.calls {
			if err != nil {
				yield(c, err)
				return
			}
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b Call) int { return a.At.Compare(b.At) })
	for _, c := range all {
		if !yield(c, nil) {
			return
		}
	}
}

// merged takes the oldest of the next calls of each file, and of several the one of the first file.
func (l *Log) merged(yield func(Call, error) bool) {
	type head struct {
		Call
		next func() (Call, error, bool)
	}
	var heads []*head
	for _, s := range l.sources {
		next, stop := iter.Pull2(s.calls)
		defer stop()
		c, err, ok := next()
		if err != nil {
			yield(Call{}, err)
			return
		}
		if ok {
			heads = append(heads, &head{c, next})
		}
	}
	for len(heads) > 0 {
		oldest := 0
		for i, h := range heads {
			if h.At.Before(heads[oldest].At) {
				oldest = i
			}
		}
		h := heads[oldest]
		if !yield(h.Call, nil) {
			return
		}
		c, err, ok := h.next()
		if err != nil {
			yield(Call{}, err)
			return
		}
		if h.Call = c; !ok {
			heads = slices.Delete(heads, oldest, oldest+1)
		}
	}
}

// count counts the call's failure. One that says something of a token and names none is taken, unless the column map
// says otherwise, to be of the one that was handed out last: the reading that promises less.
func (l *Log) count(c *Call) {
	switch c.Event {
	case tokenguard.EventFailed, tokenguard.EventAcquired:
		return
	case tokenguard.EventReported: // which the call behind it says once more
		l.told = *c
		return
	case tokenguard.EventServed, tokenguard.EventRefused:
		if told := &l.told; c.Failing == "" && told.At.Equal(c.At) && told.Caller == c.Caller && told.Scope == c.Scope {
			c.Failing = cmp.Or(told.Token, Current)
		}
	}
	failure := c.failure()
	if failure.IsZero() {
		return
	}
	means := classify(failure)
	l.Failures[means] += 1 + c.Repeats
	if c.Failing == None && l.keep {
		c.Failing = ""
	}
	if c.Failing == "" && namesToken(means) {
		l.Unnamed += 1 + c.Repeats
		if !l.keep {
			c.Failing = Current
		}
	}
}
