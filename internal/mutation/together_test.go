package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWeave(t *testing.T) {
	const source = "package p\n\nconst most = 3\n\nfunc f(n int) bool {\n\treturn n > most\n}\n\nfunc g() {\n\tx++\n}\n\nfunc h() {\nagain:\n\ty--\n\tgoto again\n}\n"
	text, woven, err := weave(source, map[int]*fault{
		1: {old: "n > most", new: "n >= most"},
		2: {old: "most = 3", new: "most = 4"}, // of no function
		3: {old: "x++", new: "x--"},
		4: {old: "y--", new: "y++"}, // beside a label
		5: {old: "return n", new: "return -n"},
		6: {old: "is gone", new: ""},
	})
	require.NoError(t, err)
	assert.Equal(t, []int{1, 3, 5}, woven)
	for _, part := range []string{
		"if plantedFault == 1 {\n\treturn n >= most\n\n}", "if plantedFault == 3 {\n\tx--\n\nreturn\n}", "if plantedFault == 5 {\n\treturn -n > most\n\n}",
		"\n\treturn n > most\n}\n", "\n\tx++\n}\n", "const most = 3\n", "\ty--\n",
	} {
		assert.Contains(t, text, part)
	}
	_, err = parser.ParseFile(token.NewFileSet(), "", text, 0)
	assert.NoError(t, err)
}

// What is not woven is built by itself, which takes two seconds each.
func TestMostFaultsAreWoven(t *testing.T) {
	all, total := slices.Concat(ledgerFaults, decideFaults, replicaFaults), 0
	files := map[string]map[int]*fault{}
	for i := range all {
		if files[all[i].file] == nil {
			files[all[i].file] = map[int]*fault{}
		}
		files[all[i].file][i+1] = &all[i]
	}
	for path, faults := range files {
		source, err := os.ReadFile(filepath.Join("..", "..", path))
		require.NoError(t, err)
		_, woven, err := weave(string(source), faults)
		require.NoError(t, err)
		total += len(woven)
	}
	t.Logf("%d of %d", total, len(all))
	assert.Greater(t, total, len(all)*4/5)
}

// Without a fault the tests of a package pass, with one that matters they fail, and with one that does not they pass.
func TestTogether(t *testing.T) {
	if os.Getenv("TOKENGUARD_LONG") == "" {
		t.Skip("builds a test binary: under TOKENGUARD_LONG")
	}
	t.Chdir(filepath.Join("..", ".."))
	const file, old = "internal/ledger/tokens.go", "now >= dead.Plus(tombstoneLife)"
	list := []fault{
		{file: file, old: old, new: "now >= dead"},
		{file: file, old: old, new: "dead.Plus(tombstoneLife) <= now"},
	}
	built, err := build(t.Context(), list, "internal/ledger", t.TempDir())
	require.NoError(t, err)
	require.Len(t, built.woven, 2)
	for n, want := range []bool{false, true, false} {
		failed, output, err := built.caught(t.Context(), n)
		require.NoError(t, err)
		assert.Equal(t, want, failed, "%d: %s", n, output)
	}
}
