package tokenguard_test

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
}

// meantOtherwise are the places, by folder and word, in which a word is not the old name.
var meantOtherwise = map[string]string{
	"internal/predict": "tally", // a discounted count: that package's own idea, and the name for it
}

func TestOldWordsAreGone(t *testing.T) {
	read := map[string]int{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if path != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(path)
		if ext != ".md" && ext != ".go" || path == "words_test.go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read[ext]++
		for i, line := range strings.Split(string(text), "\n") {
			for _, w := range oldWords {
				found := w.pattern.FindString(line)
				if found == "" || meantOtherwise[filepath.ToSlash(filepath.Dir(path))] == strings.ToLower(found) {
					continue
				}
				t.Errorf("%s:%d: %q: say %s", path, i+1, found, w.instead)
			}
		}
		if ext == ".go" && !strings.HasSuffix(path, "_test.go") {
			for _, name := range identifiers(text) {
				assert.NotContains(t, strings.ToLower(name), "storm", "%s: %s is a name for answerCache or a part of it", path, name)
			}
		}
		return nil
	}))
	assert.Greater(t, read[".go"], 400)
	assert.Greater(t, read[".md"], 20)
}

// Each pattern finds the word that it is for.
func TestOldWordsAreFound(t *testing.T) {
	text := "The shelf took a glance at what had flown: a ruling, a diary and a tally. Suppose that nothing of the user's heeds " +
		"it, whoever came the long way, as ever, of its own account. It cannot be meant."
	for _, w := range oldWords {
		assert.Regexp(t, w.pattern, text)
	}
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
