package main

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

// unheard are messages that no script can bring about, with the reason.
var unheard = map[string]string{
	"exit code ":                      "an error without words, which is never printed",
	"tokenguard: this guard acquires": "a guard that only looks is never asked for a token",
	"recorded failure":                "what a scripted upstream says where a log does not, which no report shows",
	"given tokens without a use ":     "a guard that hands out a used-up token twice, which it never does",
	"the token was there":             "a process that asks once learns of each token by that call",
	" does not know token ":           "another process would have to evict it between two looks",
}

// unspoken are files without messages.
var unspoken = map[string]bool{
	"picture.go": true, // draws
	"demo.go":    true, // what its upstream answers
	"codes.go":   true, // TestExitCodesAreDocumented holds it
}

// silent are calls whose texts are no messages: they are help, names, patterns and layouts.
var silent = regexp.MustCompile(`^(\w*Var|\w*VarP|complete\w*|MustCompile|NewReplacer|Getenv|addGroup|Sscanf|Replace\w*|SetVersionTemplate|Contains\w*|HasPrefix|Trim\w*|Index\w*|FieldsFunc)$`)

// verb is a verb of a format, or what a format stands for itself.
var verb = regexp.MustCompile(`%(\[\d+\])?[-+# 0-9.*]*[a-zA-Z%]|\n|\t`)

// TestEveryMessageIsTested holds each text of the command against the scripts and tests: the longest piece of it that is
// always the same must stand in one of them.
func TestEveryMessageIsTested(t *testing.T) {
	said := strings.Join(strings.Fields(strings.NewReplacer(`\`, "", "''", "'").Replace(heard(t))), " ")
	messages := 0
	for _, pattern := range []string{"*.go", "internal/replay/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") || unspoken[filepath.Base(name)] {
				continue
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, name, nil, 0)
			require.NoError(t, err)
			texts(file, func(at token.Pos, text string) {
				longest := ""
				for _, piece := range verb.Split(text, -1) {
					if piece = strings.Join(strings.Fields(strings.NewReplacer(`\`, "", "''", "'").Replace(piece)), " "); len(piece) > len(longest) {
						longest = piece
					}
				}
				if strings.Contains(text, "2006") || len(longest) < 8 || !strings.Contains(strings.TrimSpace(text), " ") {
					return // a name or a unit
				}
				messages++
				if !strings.Contains(said, longest) && reasonFor(text) == "" {
					t.Errorf("%s: in no test: %q", fset.Position(at), longest)
				}
			})
		}
	}
	assert.Greater(t, messages, 200)
}

// heard is what scripts and tests say: the lines and files of scripts without their comments, the texts of tests, and
// the consoles of docs/command.md, which are run.
func heard(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") {
				b.WriteString(line)
			}
		}
	}
	doc, err := os.ReadFile("../../docs/command.md")
	require.NoError(t, err)
	for i, block := range strings.Split(string(doc), "```") {
		if i%2 == 1 && strings.HasPrefix(block, "console\n") {
			b.WriteString(block)
		}
	}
	for _, pattern := range []string{"*_test.go", "internal/replay/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range files {
			if name == "messages_test.go" {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			require.NoError(t, err)
			texts(file, func(_ token.Pos, text string) { b.WriteString(text + "\n") })
		}
	}
	return b.String()
}

func reasonFor(text string) string {
	for piece, reason := range unheard {
		if strings.Contains(text, piece) {
			return reason
		}
	}
	return ""
}

// texts visits the texts in a file, one that is put together of literals as a whole. Those of a cobra.Command are help,
// those of imports and tags are none.
func texts(file *ast.File, visit func(token.Pos, string)) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec, *ast.StructType:
			return false
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && (key.Name == "Use" || key.Name == "Short" || key.Name == "Long" || key.Name == "Example") {
				return false
			}
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			return !silent.MatchString(name)
		case *ast.BinaryExpr:
			if text, ok := joined(n); ok {
				visit(n.Pos(), text)
				return false
			}
		case *ast.BasicLit:
			if text, ok := joined(n); ok {
				visit(n.Pos(), text)
			}
		}
		return true
	})
}

// joined is the text of literals with + between; a value among them stands for any text.
func joined(n ast.Expr) (string, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(n.Value)
		return text, n.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		a, left := joined(n.X)
		b, right := joined(n.Y)
		switch {
		case n.Op != token.ADD || !left && !right:
			return "", false
		case !left:
			a = "%v"
		case !right:
			b = "%v"
		}
		return a + b, true
	}
	return "", false
}
