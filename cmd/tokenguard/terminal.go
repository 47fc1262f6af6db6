package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// draws reports whether the file is a terminal on which the cursor can be moved.
func draws(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// paint colours texts, or leaves them as they are.
type paint bool

// painter colours what goes to a terminal, unless NO_COLOR is set (no-color.org).
func painter(w io.Writer) paint {
	f, ok := w.(*os.File)
	return paint(ok && draws(f) && os.Getenv("NO_COLOR") == "")
}

func (p paint) wrap(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) good(s string) string { return p.wrap("32", s) }
func (p paint) bad(s string) string  { return p.wrap("31", s) }
func (p paint) dim(s string) string  { return p.wrap("2", s) }

// oneLine keeps foreign text from moving the cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
