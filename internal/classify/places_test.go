package classify

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPlacesAreThoseOfIndexAny(t *testing.T) {
	for _, text := range []string{"", ":", "nothing of it", "::=>", `a: b=c, "d" > e`, strings.Repeat("long and: longer=", 40) + ">"} {
		for _, signs := range []string{"(", `"(`, ":=>"} {
			p, from := placesOf(text, signs), 0
			for {
				i := strings.IndexAny(text[from:], signs)
				if i < 0 {
					break
				}
				assert.Equal(t, from+i, p.next(), "%q in %q", signs, text)
				from += i + 1
			}
			assert.Equal(t, len(text), p.next(), "%q in %q", signs, text)
			assert.Equal(t, len(text), p.next(), "also when it is asked again")
		}
	}
}
