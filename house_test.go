package tokenguard_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Guard that anything may become a method of ends as one namespace in which any line may touch anything: what has a
// lock of its own is a component without a pointer to the guard.
func TestGuardStaysSmall(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	methods, in := 0, map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if ok && fn.Recv != nil && receiver(fn.Recv.List[0].Type) == "Guard" {
				methods++
				in[file] = true
			}
			typ, ok := decl.(*ast.GenDecl)
			if !ok || typ.Tok != token.TYPE {
				continue
			}
			for _, spec := range typ.Specs {
				spec := spec.(*ast.TypeSpec)
				s, ok := spec.Type.(*ast.StructType)
				if !ok || spec.Name.Name != "Guard" {
					continue
				}
				for _, field := range s.Fields.List {
					assert.NotEmpty(t, field.Names, "Guard embeds nothing: a promoted method is a method")
				}
			}
		}
	}
	assert.LessOrEqual(t, methods, 30)
	assert.LessOrEqual(t, len(in), 6, "%v", in)
	assert.NotZero(t, methods)
}
