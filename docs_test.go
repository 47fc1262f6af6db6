package tokenguard_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every Go snippet of the README and the docs stands, line by line, in a file of this repository that is compiled.
func TestSnippetsAreCompiled(t *testing.T) {
	var code []string
	var pages []string
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go":
			b, err := os.ReadFile(path)
			code = append(code, flat(string(b)))
			return err
		case ".md":
			pages = append(pages, path)
		}
		return nil
	}))
	snippet := regexp.MustCompile("(?s)```go\n(.*?)```")
	found := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range snippet.FindAllStringSubmatch(string(b), -1) {
			found++
			want := flat(m[1])
			ok := false
			for _, c := range code {
				ok = ok || strings.Contains(c, want)
			}
			assert.True(t, ok, "%s: not in any compiled file:\n%s", page, m[1])
		}
	}
	assert.Positive(t, found)
}

// flat takes the indentation and the empty lines away.
func flat(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
