package replay

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxRow is how many lines a row may have, whose fields hold line ends in quotes.
const maxRow = 100

// rows reads rows of CSV line by line: encoding/csv alone takes all that follows a quote that nothing ends for one field.
type rows struct {
	s       *source
	columns int
	ahead   []line // lines that were looked at for a row above, and are none of its
	buffer  *bufio.Reader
}

type line struct {
	number int
	text   []byte
	err    error
}

// take is the next line that holds anything.
func (r *rows) take() (l line, err error) {
	for {
		if len(r.ahead) > 0 {
			l, r.ahead = r.ahead[0], r.ahead[1:]
		} else {
			text, err := r.s.next()
			if err != nil && !errors.Is(err, errLong) {
				return l, err
			}
			l = line{r.s.lines, text, err}
		}
		if l.err != nil || len(bytes.TrimRight(l.text, "\r\n")) > 0 {
			return l, nil
		}
	}
}

// next returns a row and the number of its first line. wrong is a fault of that line alone, err one of the file.
func (r *rows) next() (row []string, number int, wrong, err error) {
	first, err := r.take()
	if err != nil || first.err != nil {
		return nil, first.number, first.err, err
	}
	if bytes.IndexByte(first.text, '"') < 0 {
		row = strings.Split(string(bytes.TrimRight(first.text, "\r\n")), string(r.s.separator))
		return row, first.number, r.fits(row), nil
	}
	text := bytes.Clone(first.text) // which the next read may overwrite
	var more []line
	for open := odd(text); open; {
		l, err := r.take()
		if err != nil && err != io.EOF {
			return nil, first.number, nil, err
		}
		if err == io.EOF || l.err != nil || len(more) == maxRow || len(text)+len(l.text) > maxLine {
			if err == nil {
				l.text = bytes.Clone(l.text)
				more = append(more, l)
			}
			r.ahead = append(more, r.ahead...)
			return nil, first.number, errors.New(`a quote that nothing ends`), nil
		}
		l.text = bytes.Clone(l.text)
		more = append(more, l)
		text = append(text, l.text...)
		open = open != odd(l.text)
	}
	row, wrong = r.parse(text)
	if wrong != nil {
		r.ahead = append(more, r.ahead...)
	}
	return row, first.number, wrong, nil
}

// odd reports whether a quote is left open.
func odd(text []byte) bool { return bytes.Count(text, []byte{'"'})%2 == 1 }

func (r *rows) parse(text []byte) ([]string, error) {
	in := bytes.NewReader(text)
	if r.buffer == nil {
		r.buffer = bufio.NewReader(in)
	}
	r.buffer.Reset(in)
	c := csv.NewReader(r.buffer)
	c.Comma, c.FieldsPerRecord = r.s.separator, -1
	row, err := c.Read()
	if wrong := (&csv.ParseError{}); errors.As(err, &wrong) {
		err = wrong.Err
	}
	if err != nil {
		return nil, err
	}
	return row, r.fits(row)
}

func (r *rows) fits(row []string) error {
	if len(row) != r.columns {
		return fmt.Errorf("%d columns: the heading has %d", len(row), r.columns)
	}
	return nil
}
