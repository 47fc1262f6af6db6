package template

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
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

// TestLabelsNeedTheAlgorithm shows that the labelled pairs can be failed: without
// the masks, without the veto, and at other thresholds.
func TestLabelsNeedTheAlgorithm(t *testing.T) {
	var raw, noVeto, strict, lax score
	for _, p := range readPairs(t) {
		a, b := Of(p.A), Of(p.B)
		raw.add(p.Same, Similarity(Parse(p.A), Parse(p.B)) >= 0.8)
		noVeto.add(p.Same, Similarity(a, b) >= 0.8)
		strict.add(p.Same, Same(a, b, 1))
		lax.add(p.Same, Similarity(a, b) >= 0.5)
	}
	require.Less(t, raw.recall(), 0.5, "unmasked")
	require.Less(t, noVeto.precision(), 1.0, "no veto")
	require.Less(t, strict.recall(), 0.95, "threshold 1")
	require.Less(t, lax.precision(), 0.9, "threshold 0.5, no veto")
}

// TestGeneratedPairs fills the varying parts of twelve texts at random: texts of
// one shape are the same, texts of two shapes are not.
func TestGeneratedPairs(t *testing.T) {
	shapes := []string{
		"HTTP 429: no remaining quota (request %h)", "HTTP 503: upstream overloaded, retry in %ns, trace %u",
		"dial tcp %i:%n: connection refused", "dial tcp %i:%n: i/o timeout", "user %n exceeded the limit of %n credits at %t",
		"worker_%n lost lease %u", `{"code":1302,"message":"too frequent","request_id":"%h"}`, `{"code":1113,"message":"too frequent","request_id":"%h"}`,
		"配额已用尽 (request %h)", "请求过于频繁，请在%n秒后重试，请求号%h", "用户%n的会话%u已过期", "您的限额将在 %t 重置",
	}
	rng := rand.New(rand.NewPCG(7, 11))
	fill := func(shape string) string {
		hex := func(n int) string { return fmt.Sprintf("%0*x", n, rng.Uint64()>>(64-4*n)) }
		number := func() string { return strconv.Itoa(rng.IntN(60000) + 1) }
		return strings.NewReplacer("%h", hex(8), "%u", hex(8)+"-"+hex(4)+"-"+hex(4)+"-"+hex(4)+"-"+hex(12), "%n", number(),
			"%i", fmt.Sprintf("10.%d.%d.%d", rng.IntN(256), rng.IntN(256), rng.IntN(256)),
			"%t", fmt.Sprintf("2026-%02d-%02d %02d:%02d:%02d", rng.IntN(12)+1, rng.IntN(28)+1, rng.IntN(24), rng.IntN(60), rng.IntN(60))).Replace(shape)
	}
	var s score
	for range 40 {
		for i, x := range shapes {
			for j, y := range shapes[:i+1] {
				s.add(i == j, Same(Of(fill(x)), Of(fill(y)), 0.8))
			}
		}
	}
	t.Logf("precision %.3f, recall %.3f", s.precision(), s.recall())
	require.Zero(t, s.falseMerge)
	require.GreaterOrEqual(t, s.recall(), 0.99)
}

// TestBounded holds Of to the first 4 KiB and a result of 1 KiB, and counts
// allocations, on a mebibyte of anything.
func TestBounded(t *testing.T) {
	for name, unit := range map[string]string{"letters": "a", "words": "ab cd ", "digits": "7", "spaces": " ", "Han": "额度", "invalid": "\xff", "brackets": "[{(", "months": "may ", "urls": "http://", "queries": "a?b ", "colons": "a:", "units": "小"} {
		text := strings.Repeat(unit, 1<<20/len(unit))
		tpl := Of(text)
		require.LessOrEqual(t, len(tpl.String()), maxOutput, name)
		require.Equal(t, Of(cut(text, maxInput)), tpl, name)
		require.LessOrEqual(t, testing.AllocsPerRun(10, func() { Of(text) }), 2.0, name)
		require.True(t, Same(tpl, Parse(tpl.String()), 1), name)
		other := Parse(cut(strings.Repeat(unit+"x ", 1<<10), maxOutput))
		require.LessOrEqual(t, testing.AllocsPerRun(10, func() { Same(tpl, other, 0) }), 2.0, name)
	}
	require.Equal(t, Of(strings.Repeat(" ", maxInput)), Of(strings.Repeat(" ", maxInput)+"unseen"))
}

// What real answers look like has no further mask to find in its own template. (Random bytes may: lower case can make a
// key of what mixed case told from one.)
func TestTemplatesAreTheirOwn(t *testing.T) {
	for _, l := range readPairs(t) {
		for _, text := range []string{l.A, l.B} {
			tpl := Of(text)
			require.Equal(t, tpl, Of(tpl.String()), text)
		}
	}
}

// A comparison goes on from what the last one read. Whatever that was, the answer is that of two texts read anew.
func TestComparingDoesNotDependOnWhatWasComparedBefore(t *testing.T) {
	var all []Template
	for _, p := range readPairs(t)[:60] {
		all = append(all, Of(p.A), Of(p.B))
	}
	all = append(all, Template{}, Of("a"))
	fresh := func(a, b Template) (float64, bool) {
		p := pair{new(words), new(words)}
		p.a.read(a)
		p.b.read(b)
		return jaccard(p.a, p.b), vetoed(p.a, p.b)
	}
	used := pair{new(words), new(words)}
	r := rand.New(rand.NewPCG(1, 2))
	a, b := all[0], all[1]
	for range 20_000 {
		switch r.IntN(4) { // often one of them stays, on its side or on the other
		case 0:
			a = all[r.IntN(len(all))]
		case 1:
			b = all[r.IntN(len(all))]
		case 2:
			a, b = b, all[r.IntN(len(all))]
		default:
			a, b = all[r.IntN(len(all))], a
		}
		if a == b {
			continue // nobody reads these
		}
		used.read(a, b)
		like, veto := fresh(a, b)
		require.Equal(t, like, jaccard(used.a, used.b), "%s\n%s", a, b)
		require.Equal(t, veto, vetoed(used.a, used.b), "%s\n%s", a, b)
	}
}

// A word that stands alone is read as it is read in a run.
func TestAWordAloneReadsAsARunOfOne(t *testing.T) {
	for _, w := range []string{"a", "Rate", "deadbeef", "cafebabe", "facade", "localhost", "LocalHost", "seconds", "qwzxkjvbqpqzxjkvwqqz",
		"organization", strings.Repeat("long", 16), strings.Repeat("long", 20), strings.Repeat("deadbeef", 9)} {
		for _, before := range []string{"", "in ", "5 ", "model "} {
			alone := scanner{src: before + w}
			alone.scan()
			run := scanner{src: before + w}
			for run.pos < len(before) {
				if run.src[run.pos] == ' ' {
					run.pos++
					continue
				}
				run.run()
			}
			run.run()
			require.Equal(t, string(run.out[:run.n]), string(alone.out[:alone.n]), "%q", before+w)
		}
	}
}
