package predict

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// A document holds up to 62 cells for each token: to ask encoding/json for each of these arrays doubles what it takes to
// write a token that is in use.

// cellList is written and read in one go, as the array of cells that it is.
type cellList []Cell

const numbersOfCell = 7

func (c *Cell) numbers() [numbersOfCell]int64 {
	return [...]int64{c.First, c.Last - c.First, c.Calls, c.Quota, c.Fails, c.Timed, c.Latency.Microseconds()}
}

func cellOf(a *[numbersOfCell]int64) Cell {
	return Cell{First: a[0], Last: a[0] + a[1], Calls: a[2], Quota: a[3], Fails: a[4], Timed: a[5],
		Latency: time.Duration(clamp(a[6], 0, maxCellLatency.Microseconds())) * time.Microsecond}
}

// MarshalJSON writes an array of cells.
func (cs cellList) MarshalJSON() ([]byte, error) {
	if cs == nil {
		return []byte("null"), nil
	}
	out := append(make([]byte, 0, 2+40*len(cs)), '[')
	for i := range cs {
		if i > 0 {
			out = append(out, ',')
		}
		numbers := cs[i].numbers()
		out = appendNumbers(out, numbers[:])
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (cs *cellList) UnmarshalJSON(data []byte) error {
	if plain, ok := readCells(data); ok {
		*cs = plain
		return nil
	}
	return json.Unmarshal(data, (*[]Cell)(cs))
}

// readCells reads an array of cells without blanks.
func readCells(data []byte) (cellList, bool) {
	if len(data) < 2 || data[0] != '[' || data[len(data)-1] != ']' {
		return nil, false
	}
	data = data[1 : len(data)-1]
	cs := make(cellList, 0, min(MaxCells, bytes.Count(data, []byte{'['})))
	for len(data) > 0 {
		end := bytes.IndexByte(data, ']') + 1
		var numbers [numbersOfCell]int64
		if !readPlain(data[:end], numbers[:]) {
			return nil, false
		}
		cs = append(cs, cellOf(&numbers))
		if data = data[end:]; len(data) == 0 {
			break
		}
		if data[0] != ',' || len(data) == 1 {
			return nil, false
		}
		data = data[1:]
	}
	return cs, true
}

// MarshalJSON writes the cell as an array of integers, latency in microseconds.
func (c Cell) MarshalJSON() ([]byte, error) {
	numbers := c.numbers()
	return appendNumbers(make([]byte, 0, 48), numbers[:]), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Cell) UnmarshalJSON(data []byte) error {
	var a [numbersOfCell]int64
	if err := readNumbers(data, &a, a[:]); err != nil {
		return err
	}
	*c = cellOf(&a)
	return nil
}

// appendNumbers appends an array of integers as json.Marshal writes it.
func appendNumbers(to []byte, numbers []int64) []byte {
	to = append(to, '[')
	for i, n := range numbers {
		if i > 0 {
			to = append(to, ',')
		}
		to = strconv.AppendInt(to, n, 10)
	}
	return append(to, ']')
}

// readNumbers is json.Unmarshal for numbers, an array of zeros.
func readNumbers(data []byte, numbers any, to []int64) error {
	if readPlain(data, to) {
		return nil
	}
	clear(to)
	return json.Unmarshal(data, numbers)
}

// readPlain reads what appendNumbers wrote of so many numbers, each of at most 18 digits, and nothing else.
func readPlain(data []byte, to []int64) bool {
	const most = 18 // digits, without overflow
	at := 0
	for i := range to {
		open := byte(',')
		if i == 0 {
			open = '['
		}
		if at >= len(data) || data[at] != open {
			return false
		}
		at++
		minus := at < len(data) && data[at] == '-'
		if minus {
			at++
		}
		from, n := at, int64(0)
		for at < len(data) && data[at] >= '0' && data[at] <= '9' {
			n = 10*n + int64(data[at]-'0')
			if at++; at-from > most {
				return false
			}
		}
		if at == from || data[from] == '0' && at > from+1 {
			return false
		}
		if minus {
			n = -n
		}
		to[i] = n
	}
	return at == len(data)-1 && data[at] == ']'
}
