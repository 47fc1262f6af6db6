package classify

import "strings"

// places are where a few signs stand in a text, from its start to its end. Of a text that holds few of them it looks at
// many bytes at a time.
type places struct {
	text, signs string
	found       [3]int // the next place of each sign; len(text): there is none
}

// placesOf takes at most three signs.
func placesOf(text, signs string) places {
	p := places{text: text, signs: signs}
	for k := range p.found {
		p.found[k] = len(text)
	}
	for k := range len(signs) {
		p.seek(k, 0)
	}
	return p
}

// seek looks for a sign from i on.
func (p *places) seek(k, i int) {
	p.found[k] = len(p.text)
	if n := strings.IndexByte(p.text[i:], p.signs[k]); n >= 0 {
		p.found[k] = i + n
	}
}

// next is the place after the last one, len(text) if there is none.
func (p *places) next() int {
	i := min(p.found[0], p.found[1], p.found[2])
	if i == len(p.text) {
		return i
	}
	for k := range p.found {
		if p.found[k] == i {
			p.seek(k, i+1)
		}
	}
	return i
}
