package classify

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// What tells most words apart from all phrases at once must let each phrase through.
func TestTheSieveHoldsEveryPhrase(t *testing.T) {
	m := phrases()
	require.NotEmpty(t, m.sorted)
	for _, p := range m.sorted {
		for _, after := range []string{"", "\n", " and so on"} {
			found := m.longest([]byte(p.text + after))
			require.NotNil(t, found, "%q", p.text+after)
			require.GreaterOrEqual(t, len(found.text), len(p.text), "%q", p.text+after)
		}
	}
	strange := 0
	for first := range byte(26) {
		for second := range byte(26) {
			word := string([]byte{'a' + first, 'a' + second}) + "qjxvqjxv and so on"
			if m.begin.mayHold([]byte(word)) {
				strange++
			}
		}
	}
	require.Less(t, strange, 26*26/16, "it lets through what is in no phrase")
}

// Words that begin a time are found by their shapes as by looking at all of them, in whatever case.
func TestShapesHoldEveryTimeWord(t *testing.T) {
	n := 0
	for _, words := range timeWords {
		for _, w := range words {
			if w.text[0] >= utf8.RuneSelf {
				continue
			}
			for _, text := range []string{w.text, strings.ToUpper(w.text), strings.ToUpper(w.text[:1]) + w.text[1:]} {
				text += " minutes"
				length := wordLength(text)
				require.Equal(t, startsTimeWord(text), oneStarts(text, length, shapedWords[shape(text, length)]), "%q", text)
				n++
			}
		}
	}
	require.Greater(t, n, 300)
}
