package replay

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A row may go over lines; a quote that nothing ends costs the line that it is on, and no other.
func TestRowsOverLines(t *testing.T) {
	const heading = "at,caller,body\n"
	row := func(n int, rest string) string { return fmt.Sprintf("%d,%s", 1767225600+n, rest) }
	for name, tt := range map[string]struct {
		lines []string
		calls []string
		wrong []string
	}{
		"two lines":      {[]string{row(0, `a,"x`), `y"`, row(1, "b,")}, []string{"a x\ny", "b "}, nil},
		"commas":         {[]string{row(0, `"a,b","x ""y"""`)}, []string{`a,b x "y"`}, nil},
		"open, the last": {[]string{row(0, "a,"), row(1, `b,"x`)}, []string{"a "}, []string{"log.csv:3"}},
		"open, the first": {[]string{row(0, `a,"x`), row(1, "b,"), row(2, "c,")}, []string{"b ", "c "},
			[]string{"log.csv:2"}},
		"open, and a good quote below": {[]string{row(0, `a,"x`), row(1, `b,"y"`), row(2, "c,")}, []string{"b y", "c "},
			[]string{"log.csv:2"}},
		"bare":            {[]string{row(0, `a,x "y" z`), row(1, "b,")}, []string{"b "}, []string{"log.csv:2"}},
		"too few columns": {[]string{"1767225600", row(1, "b,")}, []string{"b "}, []string{"log.csv:2"}},
		"empty lines":     {[]string{"", row(0, "a,"), "\r", row(1, "b,\r")}, []string{"a ", "b "}, nil},
		"open beyond any row": {append([]string{row(0, `a,"x`)}, strings.Split(strings.Repeat(row(1, "b,")+"\n", 2*maxRow), "\n")...),
			strings.Split(strings.Repeat("b |", 2*maxRow), "|")[:2*maxRow], []string{"log.csv:2"}},
	} {
		t.Run(name, func(t *testing.T) {
			calls, wrong := read(t, Options{}, "log.csv", heading+strings.Join(tt.lines, "\n"))
			var said []string
			for _, c := range calls {
				said = append(said, c.Caller+" "+c.Body)
			}
			assert.Equal(t, tt.calls, said)
			assert.Equal(t, tt.wrong, wrong)
		})
	}
}
