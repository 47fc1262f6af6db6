package restraint

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The figures of the worlds without chance are promises of the rules: who changes a rule changes them knowingly.
func TestWorldsWithoutChance(t *testing.T) {
	want := map[string]struct {
		share        float64
		acquisitions float64
	}{
		"the incident": {1, 1},
		"the incident, its first acquisition fails": {0.62, 2},
		"the incident, 40 uses a token":             {0.57, 2},
		"24 h, a call each 30 s, tokens of 60 min":  {0.833, 20},
		"tokens of 24 h":                            {1, 1},
		"tokens of 5 min":                           {0.069, 20},
		"8 h, a call each 30 s, 40 uses":            {0.666, 16},
	}
	seen := 0
	for _, w := range Worlds("../../testdata/incident-97.jsonl") {
		least, ok := want[w.Name]
		if !ok {
			continue
		}
		seen++
		by := map[string]Result{}
		for _, r := range Run(w, 1) {
			by[r.Way] = r
		}
		own := by[Default]
		if own.Share < least.share || own.Acquisitions > least.acquisitions {
			t.Errorf("%s: %.3f served with %v acquisitions, want at least %v with at most %v", w.Name, own.Share, own.Acquisitions, least.share, least.acquisitions)
		}
		if w.Name == "the incident, 40 uses a token" && by[Moderate].Share < 95./97 {
			t.Errorf("%s: Moderate serves %.4f, examples/incident 95 of 97", w.Name, by[Moderate].Share)
		}
		for _, way := range []string{Default, Early, Greedy} {
			if by[way].Share > by[Planner].Share {
				t.Errorf("%s: %s serves %.4f, more than the planner's bound of %.4f", w.Name, way, by[way].Share, by[Planner].Share)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d worlds found", seen, len(want))
	}
}

// docs/performance.md has the table that the command prints, less three of its columns. The worlds of chance take 20 seeds
// each, and are compared with TOKENGUARD_LONG.
func TestTableOfThePage(t *testing.T) {
	text, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	page := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) > 1 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			page[cells[0]] = cells[1:]
		}
	}
	left := []int{slices.Index(Columns, None), slices.Index(Columns, "to the hard limits"), slices.Index(Columns, "to the planner")}
	shown := func(cells []string) (out []string) {
		for i, cell := range cells {
			if !slices.Contains(left, i) {
				out = append(out, cell)
			}
		}
		return out
	}
	if said, is := page["share served, acquisitions"], shown(Columns); !slices.Equal(said, is) {
		t.Errorf("columns:\n%q on the page\n%q printed", said, is)
	}
	for _, w := range Worlds("../../testdata/incident-97.jsonl") {
		if w.Random && os.Getenv("TOKENGUARD_LONG") == "" {
			if page[w.Name] == nil {
				t.Errorf("%s: not on the page", w.Name)
			}
			continue
		}
		if said, is := page[w.Name], shown(Row(w, Run(w, Seeds))); !slices.Equal(said, is) {
			t.Errorf("%s:\n%q on the page\n%q printed", w.Name, said, is)
		}
	}
}
