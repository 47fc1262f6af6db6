package main

import (
	"fmt"
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

// asserted are the exit codes that the scripts assert of each command, with a place.
func asserted(t *testing.T) map[string]map[int]string {
	t.Helper()
	said := regexp.MustCompile(`tokenguard ([a-z]+)`)
	code := regexp.MustCompile(`test \$\? = (\d+)`)
	out := map[string]map[int]string{}
	note := func(command string, code int, place string) {
		if out[command] == nil {
			out[command] = map[int]string{}
		}
		out[command][code] = place
	}
	files, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		script, _, _ := strings.Cut(string(text), "\n-- ")
		for n, line := range strings.Split(script, "\n") {
			place := fmt.Sprintf("%s:%d", name, n+1)
			line = strings.TrimPrefix(line, "[linux] ")
			if rest, ok := strings.CutPrefix(line, "exec tokenguard "); ok {
				note(strings.Fields(rest)[0], 0, place)
			}
			at := code.FindStringSubmatchIndex(line)
			if strings.HasPrefix(line, "#") || at == nil || strings.Contains(line, "-o $? =") {
				continue
			}
			if commands := said.FindAllStringSubmatch(line[:at[0]], -1); commands != nil {
				number, _ := strconv.Atoi(line[at[2]:at[3]])
				note(commands[len(commands)-1][1], number, place)
			}
		}
	}
	return out
}

// Each command ends in the ways that are listed for it and in no other, and a script shows each.
func TestEveryExitCodeIsTested(t *testing.T) {
	seen := asserted(t)
	commands := map[string]bool{}
	for _, c := range root().Commands() {
		commands[c.Name()] = true
		assert.Contains(t, endings, c.Name())
		assert.Contains(t, c.Long, "Exit codes:\n    0  ", c.Name())
	}
	for command, list := range endings {
		assert.True(t, commands[command], command)
		codes := map[int]bool{}
		for _, e := range list {
			assert.False(t, codes[e.code], "%s: %d twice", command, e.code)
			codes[e.code] = true
			assert.Contains(t, seen[command], e.code, "no script shows that %s ends with %d", command, e.code)
		}
		for code, place := range seen[command] {
			assert.True(t, codes[code] || command == "exec", "%s: %s ends with %d, which is not listed for it", place, command, code)
		}
	}
}

// Each constant is some command's, and nothing in the source ends with a number that has no name.
func TestExitCodesHaveNames(t *testing.T) {
	listed := map[int]bool{}
	for _, list := range endings {
		for _, e := range list {
			listed[e.code] = true
		}
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	constants, ends := 0, 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if lit, ok := first(n.Values).(*ast.BasicLit); ok && strings.HasPrefix(n.Names[0].Name, "exit") {
					number, err := strconv.Atoi(lit.Value)
					require.NoError(t, err)
					assert.True(t, listed[number], n.Names[0].Name)
					constants++
				}
			case *ast.CompositeLit:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "exitError" {
					ends++
					code := first(n.Elts)
					if kv, ok := code.(*ast.KeyValueExpr); ok {
						code = kv.Value
					}
					_, bare := code.(*ast.BasicLit)
					assert.False(t, bare, "%v: a number without a name", fset.Position(n.Pos()))
				}
			}
			return true
		})
	}
	assert.Greater(t, constants, 9)
	assert.Greater(t, ends, 20)
}

func first(list []ast.Expr) ast.Expr {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// docs/command.md lists the exit codes as they are here. UPDATE=1 writes them anew.
func TestExitCodesAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString("| command | exit codes |\n| --- | --- |\n")
	for _, c := range root().Commands() {
		var codes []string
		for _, e := range endings[c.Name()] {
			codes = append(codes, fmt.Sprintf("**%d** %s", e.code, e.meaning))
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", c.Name(), strings.Join(codes, "; "))
	}
	const path, title = "../../docs/command.md", "## Exit codes\n\n"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), title)
	require.True(t, found)
	table, after, _ := strings.Cut(rest, "\n\n")
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(path, []byte(before+title+b.String()+"\n"+after), 0o644))
		return
	}
	assert.Equal(t, b.String(), table+"\n", "run: UPDATE=1 go test -run TestExitCodesAreDocumented .")
}
