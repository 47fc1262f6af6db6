package tokenguard_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// files calls f with each file of the repository that is no test data.
func files(t *testing.T, f func(path, text string)) {
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "."):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go" && filepath.Ext(path) != ".md":
			return nil
		}
		b, err := os.ReadFile(path)
		f(path, string(b))
		return err
	}))
}

// Every Go snippet of the README and the docs stands, line by line, in a file of this repository that is compiled.
func TestSnippetsAreCompiled(t *testing.T) {
	var code []string
	pages := map[string]string{}
	files(t, func(path, text string) {
		if filepath.Ext(path) == ".go" {
			code = append(code, flat(text))
		} else {
			pages[path] = text
		}
	})
	snippet := regexp.MustCompile("(?s)```go\n(.*?)```")
	found := 0
	for page, text := range pages {
		for _, m := range snippet.FindAllStringSubmatch(text, -1) {
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

// Each link from one document to another leads to a file, and to a heading of it.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	unanchored := regexp.MustCompile(`[^\w\- ]`)
	found := 0
	files(t, func(path, text string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			name, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if name != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(name))
			}
			if _, err := os.Stat(target); !assert.NoError(t, err, "%s: a link to %s", path, m[1]) || anchor == "" {
				continue
			}
			b, err := os.ReadFile(target)
			require.NoError(t, err)
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(string(b), -1) {
				anchors = append(anchors, strings.ReplaceAll(unanchored.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
			}
			assert.Contains(t, anchors, anchor, "%s: a link to %s", path, m[1])
		}
	})
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

// Each reason is what a step of some scenario must lead to, in the answer or in what Explain says of a step.
func TestEachReasonHasAScenario(t *testing.T) {
	scenarios, err := filepath.Glob("testdata/scenarios/*.json")
	require.NoError(t, err)
	wanted := map[string]bool{}
	for _, path := range scenarios {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		var scenario struct {
			Steps []struct {
				Want struct {
					Reason  string
					Reasons map[string]int
					Steps   map[string]string
				}
			}
		}
		require.NoError(t, json.Unmarshal(data, &scenario), path)
		for _, step := range scenario.Steps {
			wanted[step.Want.Reason] = true
			for reason := range step.Want.Reasons {
				wanted[reason] = true
			}
			for _, reason := range step.Want.Steps {
				wanted[reason] = true
			}
		}
	}
	for _, reason := range reasonsDeclared(t) {
		assert.True(t, wanted[reason], "no scenario leads to %s", reason)
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

// The sentences that the page on evidence shows are those that Explain gives.
func TestEvidencePageShowsWhatExplainSays(t *testing.T) {
	page, err := os.ReadFile("docs/evidence.md")
	require.NoError(t, err)
	varying := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)|tk_[0-9a-f]{16}`)
	same := func(s string) string { return varying.ReplaceAllString(s, "~") }
	shown := func(w *tokenWorld, want tokenguard.Reason, req tokenguard.Request) {
		t.Helper()
		e, err := w.Explain(w.t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, want, e.Verdict.Reason, e.Verdict.Detail)
		assert.Contains(t, same(string(page)), same(e.Verdict.Detail))
	}
	report := func(w *tokenWorld, operation string, token tokenguard.Token, f tokenguard.Failure) {
		require.NoError(t, w.Report(w.t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: operation, Failure: f}))
	}

	// One operation is always refused, beside one that works: it has the start of the day that is contested, then none.
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		w.refuses = func(operation string, _ tokenguard.Token) tokenguard.Failure {
			if operation == "GET /profile" {
				return tokenDead
			}
			return tokenguard.Failure{}
		}
		for range 120 {
			w.call("GET /me")
			w.call("GET /profile")
			time.Sleep(time.Minute)
		}
		shown(w, tokenguard.ReasonCached, tokenguard.Request{Caller: "GET /me"})
		shown(w, tokenguard.ReasonForbidden, tokenguard.Request{Caller: "GET /profile"})
	})

	// A quota that is in doubt, and a caller with a name.
	inWorld(t, 24*time.Hour, func(w *tokenWorld) {
		grant, err := w.Acquire(w.t.Context(), tokenguard.Request{Caller: "POST /chat"})
		require.NoError(t, err)
		time.Sleep(40 * time.Minute)
		report(w, "POST /chat", grant.Token, usedUp)
		shown(w, tokenguard.ReasonUnconfirmed, tokenguard.Request{Caller: "POST /chat", Failing: grant.Token.ID(), Failure: usedUp})
	})

	// A scope of which no token has worked, beside one that is in use, in the last of the hour's budget.
	inWorld(t, time.Hour, func(w *tokenWorld) {
		for range 5 {
			w.call("GET /me")
			time.Sleep(time.Minute)
		}
		_, err := w.Acquire(w.t.Context(), tokenguard.Request{Scope: "new1"})
		require.NoError(t, err)
		time.Sleep(6 * time.Minute)
		w.call("GET /me")
		shown(w, tokenguard.ReasonKeptBack, tokenguard.Request{Scope: "new2"})
	})

	// Each token works for an operation for its first 10 min, and for the others until it ends.
	inWorld(t, time.Hour, func(w *tokenWorld) {
		w.refuses = func(operation string, token tokenguard.Token) tokenguard.Failure {
			if operation == "GET /profile" && time.Since(token.AcquiredAt()) > 10*time.Minute {
				return tokenDead
			}
			return tokenguard.Failure{}
		}
		for range 90 {
			w.call("GET /me")
			w.call("GET /profile")
			time.Sleep(time.Minute)
		}
		shown(w, tokenguard.ReasonNotShared, tokenguard.Request{Caller: "GET /profile"})
		time.Sleep(9 * time.Minute)
		shown(w, tokenguard.ReasonCached, tokenguard.Request{Caller: "GET /profile"})
	})
}
