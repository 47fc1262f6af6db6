package ledger

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

// A change of the document gives the same result wherever and whenever it runs, since a store may run it again.
func TestPure(t *testing.T) {
	own := []string{"timeline", "predict", "template", "classify"}
	standard := []string{"bytes", "cmp", "crypto/sha256", "encoding/base64", "encoding/hex", "encoding/json", "errors", "fmt", "maps", "math", "slices", "strings", "sync/atomic", "time", "unicode/utf8"}
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
