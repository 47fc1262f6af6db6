package classify

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentedFigures holds docs/judgement.md to what the scores are today.
func TestDocumentedFigures(t *testing.T) {
	if testing.Short() {
		t.Skip("trains 5 models")
	}
	raw, err := os.ReadFile("../../docs/judgement.md")
	require.NoError(t, err)
	says := func(format string, args ...any) {
		t.Helper()
		require.Contains(t, string(raw), fmt.Sprintf(format, args...))
	}
	var rules, model, both score
	leftOut(t, func(r record, w string) {
		ev := newEvidence(w)
		defer ev.free()
		ev.read(r.input())
		guess, _ := ev.guess(w)
		rules.add(r, ev.class)
		model.add(r, guess)
		both.add(r, ev.judge().class)
	})
	says("| rules alone | %.3f | %.3f | %.2f %% |", rules.accuracy(), rules.macroF1(), 100*rules.permissiveShare())
	says("| model, which is told what the rules say | %.3f | %.3f | %.2f %% |", model.accuracy(), model.macroF1(), 100*model.permissiveShare())
	says("| rules and model | **%.3f** | **%.3f** | **%.2f %%** |", both.accuracy(), both.macroF1(), 100*both.permissiveShare())
	says("English %.3f (%d answers), Chinese %.3f (%d)", both.group("language en"), both.groups["language en"][0], both.group("language zh"), both.groups["language zh"][0])
	says("others together %.3f (%d)", both.group("languages but en, zh"), both.groups["languages but en, zh"][0])
	says("Spanish %.3f", both.group("language es"))
	says("Traps %.3f, answers without a status %.3f", both.group("traps"), both.group("without a status"))
	for _, c := range classes {
		p, r, f := both.class(c)
		says("| %s | %.3f | %.3f | %.3f |", c, p, r, f)
	}
	var sets [2]score
	for i, path := range []string{fresh1, fresh2} {
		for _, r := range load(t, path) {
			sets[i].add(r, Classify(r.input()))
		}
	}
	says("%.3f and %.3f, none wrongly permitting", sets[0].accuracy(), sets[1].accuracy())
	require.Zero(t, sets[0].permissive+sets[1].permissive)
}
