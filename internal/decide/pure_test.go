package decide

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A decision is the same wherever and whenever it is made: Explain, replay and the store make it again.
func TestPure(t *testing.T) {
	own := []string{"ledger", "timeline", "predict", "template", "classify"}
	standard := []string{"bytes", "cmp", "encoding/json", "errors", "fmt", "maps", "math", "slices", "strings", "time"}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			leaf, internal := strings.CutPrefix(path, "github.com/tokenguard/tokenguard/internal/")
			assert.True(t, internal && slices.Contains(own, leaf) || slices.Contains(standard, path), "%s imports %s", name, path)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
					assert.NotContains(t, []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "Sleep", "Tick"}, sel.Sel.Name, name)
				}
			}
			return true
		})
	}
}
