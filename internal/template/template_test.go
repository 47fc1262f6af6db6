package template

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// labelled is a line of testdata/pairs.jsonl: two texts and whether they tell of
// one failure.
type labelled struct {
	Lang, Why, A, B string
	Same            bool
}

func readPairs(t *testing.T) []labelled {
	f, err := os.Open("testdata/pairs.jsonl")
	require.NoError(t, err)
	defer f.Close()
	var all []labelled
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var p labelled
		require.NoError(t, json.Unmarshal(lines.Bytes(), &p))
		all = append(all, p)
	}
	return all
}

// score counts what a measure says of labelled pairs.
type score struct{ hit, falseMerge, falseSplit, rest int }

func (s *score) add(same, said bool) {
	switch {
	case same && said:
		s.hit++
	case said:
		s.falseMerge++
	case same:
		s.falseSplit++
	default:
		s.rest++
	}
}

func (s score) precision() float64 { return float64(s.hit) / float64(max(s.hit+s.falseMerge, 1)) }
func (s score) recall() float64    { return float64(s.hit) / float64(max(s.hit+s.falseSplit, 1)) }

func TestLabelledPairs(t *testing.T) {
	scores := map[string]*score{"en": {}, "zh": {}}
	for _, p := range readPairs(t) {
		a, b := Of(p.A), Of(p.B)
		said := Same(a, b, 0.8)
		scores[p.Lang].add(p.Same, said)
		if said != p.Same {
			t.Logf("%s: labelled %v, said %v, similarity %.2f\n\t%s\n\t%s", p.Why, p.Same, said, Similarity(a, b), a, b)
		}
	}
	for lang, s := range scores {
		t.Logf("%s: %d pairs, precision %.3f, recall %.3f", lang, s.hit+s.falseMerge+s.falseSplit+s.rest, s.precision(), s.recall())
		require.Zero(t, s.falseMerge, "%s: different failures taken for the same", lang)
		require.GreaterOrEqual(t, s.recall(), 0.95, lang)
	}
}
