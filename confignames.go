package tokenguard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sections are the objects that hold the settings.
var sections = []string{"rate_limit", "cache", "dedup", "manager", "predictor"}

// known says which field an unknown path could mean, or which there are.
func known(path string) string {
	section, name, nested := strings.Cut(path, ".")
	if !nested {
		section, name = "", path
	}
	name = strings.ToLower(name)
	candidates := append(slices.Clone(sections), pathFailureBackoff)
	for _, s := range settings {
		candidates = append(candidates, s.path)
	}
	var siblings []string
	best, bestScore := "", 0.5 // below that it is a guess
	for _, c := range candidates {
		in, last, nested := strings.Cut(c, ".")
		if !nested {
			in, last = "", c
		}
		score := alike(name, last)
		if len(name) >= 3 && strings.Contains(last, name) {
			score = max(score, 0.6)
		}
		if in == section {
			siblings = append(siblings, last)
			score += 0.1
		}
		if score > bestScore {
			best, bestScore = c, score
		}
	}
	if best != "" {
		return fmt.Sprintf("a known one (did you mean %s?)", best)
	}
	return "one of " + strings.Join(siblings, ", ")
}

// alike is the Sørensen-Dice coefficient of the pairs of neighbouring bytes: 1 for equal names, 0 for nothing shared.
func alike(a, b string) float64 {
	if len(a) < 2 || len(b) < 2 {
		return 0
	}
	pairs := map[string]int{}
	for i := range len(a) - 1 {
		pairs[a[i:i+2]]++
	}
	shared := 0
	for i := range len(b) - 1 {
		if p := b[i : i+2]; pairs[p] > 0 {
			pairs[p]--
			shared++
		}
	}
	return 2 * float64(shared) / float64(len(a)+len(b)-2)
}

// showPath quotes a path that holds anything but the characters of the known ones.
func showPath(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != "" || path == "" {
		path = strconv.Quote(path)
	}
	return cut(path)
}

// cut brings a foreign text to one short line, for an error.
func cut(s string) string {
	const most = 60
	tail := ""
	if len(s) > most {
		s, tail = s[:most], "..."
	}
	return strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "") + tail
}
