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

// speaking are the functions whose text a user reads, by name.
var speaking = map[string]bool{"usage": true, "Errorf": true, "New": true, "warn": true, "unusable": true, "say": true, "Fprintf": true, "Fprintln": true,
	"line": true, "p": true, "Sprintf": true}

// unheard are messages that no script can bring about, with the reason.
var unheard = map[string]string{
	"exit code ":                      "an error without words, which is never printed",
	"tokenguard: this guard acquires": "a guard that only looks is never asked for a token",
	" does not know token ":           "another process would have to evict it between two looks",
	"replayed-%d":                     "a token of the scripted upstream, which only its ID is shown of",
}

// unspoken are files without messages.
var unspoken = map[string]bool{
	"picture.go": true, // draws
	"demo.go":    true, // what its upstream answers
}

// verb is a verb of a format, or what a format stands for itself.
var verb = regexp.MustCompile(`%(\[\d+\])?[-+# 0-9.*]*[a-zA-Z%]|\\n`)

// TestEveryMessageIsTested holds each message of the command against the scripts and tests: the longest piece of it that
// is always the same must stand in one of them.
func TestEveryMessageIsTested(t *testing.T) {
	var tests strings.Builder
	for _, pattern := range []string{"testdata/script/*.txtar", "*_test.go", "internal/replay/*_test.go", "../../docs/command.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, name := range files {
			if name == "messages_test.go" {
				continue
			}
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			tests.Write(text)
		}
	}
	said := strings.Join(strings.Fields(strings.NewReplacer(`\`, "", "''", "'").Replace(tests.String())), " ")

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
			ast.Inspect(file, func(n ast.Node) bool {
				for _, text := range messagesOf(n) {
					longest := ""
					for _, piece := range verb.Split(text, -1) {
						if piece = strings.Join(strings.Fields(piece), " "); len(piece) > len(longest) {
							longest = piece
						}
					}
					if len(longest) < 8 {
						continue
					}
					messages++
					if strings.Contains(said, longest) || reasonFor(text) != "" {
						continue
					}
					t.Errorf("%s: in no test: %q", fset.Position(n.Pos()), longest)
				}
				return true
			})
		}
	}
	assert.Greater(t, messages, 150)
}

func reasonFor(text string) string {
	for piece, reason := range unheard {
		if strings.Contains(text, piece) {
			return reason
		}
	}
	return ""
}

// messagesOf are the texts that a call says.
func messagesOf(n ast.Node) (texts []string) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	if !speaking[name] {
		return nil
	}
	for _, arg := range call.Args {
		if lit, ok := arg.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				texts = append(texts, text)
			}
		}
	}
	return texts
}
