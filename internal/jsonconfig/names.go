package jsonconfig

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// suggest says which field an unknown path could mean, or which there are.
func (t *Table[C]) suggest(path string) string {
	section, name, nested := strings.Cut(path, ".")
	if !nested {
		section, name = "", path
	}
	name = strings.ToLower(name)
	known := slices.Concat(t.Sections(), slices.Sorted(maps.Keys(t.AlwaysTrue)))
	for _, f := range t.Fields {
		known = append(known, f.Path)
	}
	var siblings []string
	best, bestScore := "", 0.5 // below that it is a guess
	for _, k := range known {
		in, last, nested := strings.Cut(k, ".")
		if !nested {
			in, last = "", k
		}
		score := similarity(name, last)
		if len(name) >= 3 && strings.Contains(last, name) {
			score = max(score, 0.6)
		}
		if in == section {
			siblings = append(siblings, last)
			score += 0.1
		}
		if score > bestScore {
			best, bestScore = k, score
		}
	}
	if best != "" {
		return fmt.Sprintf("a known one (did you mean %s?)", best)
	}
	return "one of " + strings.Join(siblings, ", ")
}

// similarity is the Sørensen-Dice coefficient of the pairs of neighbouring bytes: 1 for equal names, 0 for nothing
// shared.
func similarity(a, b string) float64 {
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
	return Shorten(path)
}

// Shorten makes one short line of foreign text, for an error.
func Shorten(s string) string {
	const most = 60
	tail := ""
	if len(s) > most {
		s, tail = s[:most], "..."
	}
	return strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "") + tail
}
