package tokenguard_test

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
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

// oldWords are names and phrases that were given up, with what is said instead. A reader who meets one looks in vain for
// what it means.
var oldWords = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\b(shelf|shelves)\b`), "replica"},
	{regexp.MustCompile(`(?i)\bglanc(e|es|ed|ing)\b`), "refresh"},
	{regexp.MustCompile(`(?i)\bflown\b`), "result"},
	{regexp.MustCompile(`(?i)\brulings?\b`), "decision"},
	{regexp.MustCompile(`(?i)\b(diary|diaries)\b`), "journal"},
	{regexp.MustCompile(`(?i)\b(tally|tallies)\b`), "counters"},
	{regexp.MustCompile(`(?i)\b(suppose|supposed|supposition)\b`), "simulate, simulated"},
	{regexp.MustCompile(`(?i)\bof the user's\b`), "user-supplied"},
	{regexp.MustCompile(`(?i)\bheed(s|ed)?\b|\bheeds[A-Z]`), "honour"},
	{regexp.MustCompile(`(?i)\bwhoever\b`), "callers that, a process that"},
	{regexp.MustCompile(`(?i)\bthe long way\b`), "the slow path"},
	{regexp.MustCompile(`(?i)\bas ever\b`), "as usual"},
	{regexp.MustCompile(`(?i)\bof its own account\b`), "by itself"},
	{regexp.MustCompile(`(?i)\bcannot be meant\b`), "invalid"},
	{regexp.MustCompile(`(?i)\basks the store\b`), "reads the store"},
	{regexp.MustCompile(`(?i)\btakes in what\b`), "applies, stores"},
	{regexp.MustCompile(`(?i)\b(brings|brought) a token\b`), "returns, succeeded"},

	{regexp.MustCompile(`(?i)\b(which|every) gate\b`), "limit: the gate is step 3"},
	{regexp.MustCompile(`(?i)\bstands on (standard|the page|their)`), "is on"},

	// Sentences that are no native English.
	{regexp.MustCompile(`is of .* and is not replaced before`), "acquired at T, cannot be replaced until it is 30 min old"},
	{regexp.MustCompile(`(?i)like none of the last starts`), "no recent acquisition resembles this failure"},
	{regexp.MustCompile(`(?i)names no token, so it marks none`), "did not say which token failed, so none was marked"},
	{regexp.MustCompile(`(?i)\bcounts? (as full|the \w+ window as full)\b`), "is treated as used up"},
	{regexp.MustCompile(`(?i)\bis as Acquire\b`), "is like Acquire"},
	{regexp.MustCompile(`(?i)default is nowhere`), "by default nothing is logged"},
	{regexp.MustCompile(`(?i)\bthis very\b`), "this"},
	{regexp.MustCompile(`\bWho writes a\b`), "if you implement a"},
	{regexp.MustCompile(`(?i)\bnames who asks\b`), "returns the caller's name"},
	{regexp.MustCompile(`(?i)\bcommit that works\b`), "not yet saved, successful commit"},
	{regexp.MustCompile(`(?i)\blasts at one in\b`), "sustainable: one every"},
	{regexp.MustCompile(`\bOwn record\b`), "Forecast accuracy"},
	{regexp.MustCompile(`(?i)\bis wrong towards\b`), "wrongly reports"},
	{regexp.MustCompile(`(?i)\bmend(s|ed|ing)?\b`), "fix the store, lift a backoff"},
	{regexp.MustCompile(`(?i)\bnext row but one\b`), "the row's name"},
	{regexp.MustCompile(`"token (refused|reported|started)"`), "call refused, outcome reported, acquisition started"},
	{regexp.MustCompile(`(?i)\b1 attempts\b`), "1 attempt"},
	{regexp.MustCompile(`(?i)\bstorms are sampled\b|\bstorm of one sort\b`), "repeated events are sampled"},
	{regexp.MustCompile(`(?i)\bpulls? in\b.*\binstants?\b`), "moves to now"},
	{regexp.MustCompile(`(?i)\bwakes nobody: those\b`), "do not wake waiters for a known revision"},
}

// plainWords are those that are fine in a test's story, and not where users and maintainers read what holds.
var plainWords = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\bbrought (an?|no|another|nothing|such|its own|that)\b`), "returned"},
	{regexp.MustCompile(`(?i)\bfrom elsewhere\b`), "from another process, machine or system"},
	{regexp.MustCompile(`(?i)\bdoors?\b`), "public method"},
	{regexp.MustCompile(`(?i)\btakes in\b`), "stores, applies, takes up"},
	{regexp.MustCompile(`(?i)\blies (in|on|at|under|too|further|between|across|here|there|below|beside|now)\b`), "is, is stored"},
	{regexp.MustCompile(`(?i)\bbrings (an?|no|another|nothing|such|its own|that)\b`), "returns"},
	{regexp.MustCompile(`(?i)\bstands? (beside|there|where)\b|\bstill stands\b`), "is, is set, remains"},
	{regexp.MustCompile(`(?i)\btells (of|that|when|how)\b`), "reports"},
}

// oldNames are of identifiers that were given up.
var oldNames = []string{
	"hotPath", "hotTable", "hotUse", "keyState", "dedupRecord", "heat", "heatPersonal", "goodUntil", "seenLimits", "passedOn", "putBack",
	"leastKey", "unsecret", "vault", "landing", "shielded", "heal", "reopens",
}

// needed are texts in lower case of which one is in all that the expression matches; none if that is not certain.
func needed(re *syntax.Regexp) (texts []string) {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{strings.ToLower(string(re.Rune))}
	case syntax.OpCapture, syntax.OpConcat:
		for _, part := range re.Sub {
			if of := needed(part); len(of) > 0 && (texts == nil || shortest(of) > shortest(texts)) {
				texts = of
			}
		}
	case syntax.OpAlternate:
		for _, part := range re.Sub {
			of := needed(part)
			if len(of) == 0 {
				return nil
			}
			texts = append(texts, of...)
		}
	}
	return texts
}

func shortest(texts []string) int {
	least := len(texts[0])
	for _, text := range texts {
		least = min(least, len(text))
	}
	return least
}

const comment = " \t/#*>|" // what a line of a comment or a quotation begins with

// lineOf reads over the end of a line, where a phrase may be broken: it joins a line with the next one.
func lineOf(lines []string, i int) string {
	if i+1 >= len(lines) {
		return lines[i]
	}
	return lines[i] + " " + strings.TrimLeft(lines[i+1], comment)
}

func TestOldWordsAreGone(t *testing.T) {
	words := append(slices.Clone(oldWords), plainWords...)
	needs := make([][]string, len(words))
	for i, w := range words {
		parsed, err := syntax.Parse(w.pattern.String(), syntax.Perl)
		require.NoError(t, err)
		needs[i] = needed(parsed)
		require.NotEmpty(t, needs[i], "%s would be tried on each line, which costs hundreds of times as much", w.pattern)
	}
	read := map[string]int{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || path == "house_test.go":
			return nil
		case ext != ".md" && ext != ".txtar" && strings.Contains("/"+filepath.ToSlash(path), "/testdata/"): // words of others
			return nil
		case !slices.Contains([]string{".md", ".go", ".html", ".js", ".json", ".svg", ".txt", ".txtar", ".yml"}, ext):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read[ext]++
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			joined := lineOf(lines, i)
			lower := strings.ToLower(joined)
			for n, w := range words {
				switch {
				case !slices.ContainsFunc(needs[n], func(text string) bool { return strings.Contains(lower, text) }):
					continue
				case n >= len(oldWords) && (ext == ".txtar" || strings.HasSuffix(path, "_test.go")):
					continue
				}
				// What is in the next line alone is found there.
				if at := w.pattern.FindStringIndex(joined); at != nil && at[0] <= len(line) {
					t.Errorf("%s:%d: %q: say %s", path, i+1, joined[at[0]:at[1]], w.instead)
				}
			}
		}
		if ext == ".go" && !strings.HasSuffix(path, "_test.go") {
			for _, name := range identifiers(text) {
				assert.NotContains(t, strings.ToLower(name), "storm", "%s: %s is a name for answerCache or a part of it", path, name)
				assert.False(t, slices.Contains(oldNames, name), "%s: %s is a name that was given up", path, name)
			}
		}
		return nil
	}))
	assert.Greater(t, read[".go"], 400)
	assert.Greater(t, read[".md"], 20)
	assert.Positive(t, read[".json"])
	assert.Positive(t, read[".html"])
}

// Each pattern finds the word that it is for.
func TestOldWordsAreFound(t *testing.T) {
	text := "The shelf took a glance at what had flown: a ruling, a diary and a tally. Suppose that nothing of the user's heeds " +
		"it, whoever came the long way, as ever, of its own account. It asks the store, takes in what brings a token, and cannot be meant: every gate stands on the page.\n" +
		"The token is of noon and is not replaced before one; it is like none of the last starts. The failure names no token, so it marks none, and " +
		"the window counts as full until then.\nWait is as Acquire. The default is nowhere. When this very rule ends, Who writes a store names who asks; " +
		"changes wait for a commit that works, which lasts at one in ten.\nOwn record: it is wrong towards spent; mend the store, next row but one. " +
		"1 attempts, storms are sampled, it pulls in every instant, and wakes nobody: those go on. " +
		"What comes from elsewhere takes in a door, lies in a folder, brings no token, brought nothing, stands there and tells of it. " +
		`"token refused"`
	for _, w := range append(slices.Clone(oldWords), plainWords...) {
		assert.Regexp(t, w.pattern, text)
		parsed, err := syntax.Parse(w.pattern.String(), syntax.Perl)
		require.NoError(t, err)
		found := strings.ToLower(w.pattern.FindString(text))
		assert.True(t, slices.ContainsFunc(needed(parsed), func(text string) bool { return strings.Contains(found, text) }), "%s: lines with %q are passed over", w.pattern, found)
	}
	broken := []string{"\t// Neither is it as a Request that cannot", "\t// be meant."}
	assert.Contains(t, lineOf(broken, 0), "cannot be meant")
	assert.Contains(t, identifiers([]byte("package p\n\nvar stormAnswer = 1 // a retry storm")), "stormAnswer")
	assert.NotContains(t, identifiers([]byte("package p\n\nvar answer = 1 // a retry storm")), "storm")
}

// identifiers are the names in a Go file, outside its comments and texts.
func identifiers(src []byte) (names []string) {
	fset := token.NewFileSet()
	var s scanner.Scanner
	s.Init(fset.AddFile("", -1, len(src)), src, nil, 0)
	for {
		switch _, tok, text := s.Scan(); tok {
		case token.EOF:
			return names
		case token.IDENT:
			names = append(names, text)
		}
	}
}
