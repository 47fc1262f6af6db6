package tokenguard_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// The page on reasons has each once, with the error that it is.
func TestReasonsPage(t *testing.T) {
	text, err := os.ReadFile("docs/reasons.md")
	require.NoError(t, err)
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[0], -1) {
			if strings.HasPrefix(line, "| `") {
				assert.NotContains(t, rows, m[1], "twice")
				rows[m[1]] = cells
			}
		}
	}
	sentinels := map[string]error{
		"ErrDuplicate": tokenguard.ErrDuplicate, "ErrNotNeeded": tokenguard.ErrNotNeeded, "ErrInProgress": tokenguard.ErrInProgress,
		"ErrUpstreamLimited": tokenguard.ErrUpstreamLimited, "ErrForbidden": tokenguard.ErrForbidden, "ErrRateLimited": tokenguard.ErrRateLimited,
		"ErrBackoff": tokenguard.ErrBackoff, "ErrStore": tokenguard.ErrStore, "ErrClosed": tokenguard.ErrClosed,
	}
	reasons := reasonsDeclared(t)
	assert.Len(t, rows, len(reasons))
	for _, reason := range reasons {
		cells := rows[reason]
		if !assert.NotNil(t, cells, "%s is missing", reason) || len(cells) < 3 {
			continue
		}
		refused := &tokenguard.RefusedError{Verdict: tokenguard.Verdict{Reason: tokenguard.Reason(reason)}}
		for name, sentinel := range sentinels {
			assert.Equal(t, errors.Is(refused, sentinel), strings.Contains(cells[2], "`"+name+"`"), "%s: %s", reason, name)
		}
	}
}

// reasonsDeclared are the values of the constants of type Reason.
func reasonsDeclared(t *testing.T) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "verdict.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Reason" {
				value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				values = append(values, value)
			}
		}
		return true
	})
	require.Greater(t, len(values), 30)
	return values
}
