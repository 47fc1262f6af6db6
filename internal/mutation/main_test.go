package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The list keeps step with the code: a rule that was moved or reworded takes its fault along.
func TestFaultsApply(t *testing.T) {
	all := slices.Concat(ledgerFaults, decideFaults, replicaFaults)
	assert.GreaterOrEqual(t, len(all), 60)
	rules := map[string]bool{}
	for _, f := range all {
		source, err := os.ReadFile(filepath.Join("..", "..", f.file))
		require.NoError(t, err)
		_, err = f.apply(string(source))
		assert.NoError(t, err)
		assert.NotEmpty(t, f.rule, f.file)
		assert.False(t, rules[f.rule], "%q is stated twice", f.rule)
		rules[f.rule] = true
	}
}

func TestApplyRefusesWhatIsNotOnce(t *testing.T) {
	for old, want := range map[string]string{"a": "occurs 2 times", "z": "occurs 0 times", "b": "stays as it is"} {
		_, err := (&fault{file: "x.go", old: old, new: "b"}).apply("a b a")
		assert.ErrorContains(t, err, want)
	}
	got, err := (&fault{old: "b", new: "c"}).apply("a b a")
	require.NoError(t, err)
	assert.Equal(t, "a c a", got)
}

// A fault that no test notices, one that is noticed and one that does not build are three different things.
func TestTry(t *testing.T) {
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("builds three test binaries: under TOKENGUARD_LONG")
	}
	t.Chdir(filepath.Join("..", ".."))
	f := fault{file: "internal/ledger/policy.go", old: "const LeaseMargin = 5 * time.Second", rule: "the lease"}
	for with, want := range map[string]string{
		"const LeaseMargin = 10 * time.Second / 2": "SURVIVED",
		"const LeaseMargin = 6 * time.Second":      "",
		"const LeaseMargin = nothing":              "does not build",
	} {
		f.new = with
		problem, err := try(t.Context(), &f)
		require.NoError(t, err)
		if want == "" {
			assert.Empty(t, problem)
		} else {
			assert.Contains(t, problem, want)
		}
	}
}
