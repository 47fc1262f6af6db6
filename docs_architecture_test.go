package tokenguard_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// place is how a page names code: a file and a symbol in it, `file.go: Type.Method`.
var place = regexp.MustCompile("`([a-z0-9_/]+\\.go): ([A-Za-z0-9_.]+)`")

// Each of the ten questions at the end of the architecture page has an answer, and each place that a page names is there.
func TestPlacesInTheDocsExist(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	declared := map[string]map[string]bool{}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range place.FindAllStringSubmatch(string(text), -1) {
			file, symbol := m[1], m[2]
			if declared[file] == nil {
				declared[file] = symbols(t, file)
			}
			assert.True(t, declared[file][symbol], "%s: %s declares no %s", page, file, symbol)
			found++
		}
	}
	assert.Greater(t, found, 30)

	text, err := os.ReadFile("docs/architecture.md")
	require.NoError(t, err)
	_, questions, ok := strings.Cut(string(text), "## Ten questions\n")
	require.True(t, ok)
	lines := regexp.MustCompile(`(?m)^\d+\. .*`).FindAllString(questions, -1)
	assert.Len(t, lines, 10)
	for _, line := range lines {
		assert.Regexp(t, place, line, "a question without an answer")
	}
}

// symbols are the names that a file declares: functions, types, constants and variables, methods with their type.
func symbols(t *testing.T, file string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if !assert.NoError(t, err) {
		return names
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = receiver(d.Recv.List[0].Type) + "." + name
			}
			names[name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names[spec.Name.Name] = true
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names[name.Name] = true
					}
				}
			}
		}
	}
	return names
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// Each promise has a section, with a test of its name.
func TestEachPromiseNamesItsTest(t *testing.T) {
	text, err := os.ReadFile("docs/promises.md")
	require.NoError(t, err)
	sections := strings.Split(string(text), "\n## ")[1:]
	require.Len(t, sections, 11)
	for i, section := range sections {
		name := "I" + strconv.Itoa(i+1)
		require.True(t, strings.HasPrefix(section, name+" "), "%s: %.40s", name, section)
		for _, part := range []string{"*To you*: ", "*Limits*: ", "*Tests*: "} {
			assert.Contains(t, section, part, name)
		}
		own := regexp.MustCompile(`^Test(I\d+and)?` + name + `(and|$)`)
		found := false
		for _, m := range place.FindAllStringSubmatch(section, -1) {
			found = found || strings.HasSuffix(m[1], "_test.go") && own.MatchString(m[2])
		}
		assert.True(t, found, "%s names no test of its own", name)
	}
}
