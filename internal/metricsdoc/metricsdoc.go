// Package metricsdoc makes the reference of metrics from what the exporters show. Only their tests use it.
package metricsdoc

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// Metric is one, as its exporter describes and shows it.
type Metric struct {
	Name, Kind, Unit, Help string
	Labels                 map[string][]string // with every value
	From                   []string            // fields of Stats, or kinds of events
	Used                   []string            // alerts and panels
}

// Markdown is the reference of the metrics, by name.
func Markdown(metrics []Metric) string {
	var b strings.Builder
	for _, m := range slices.SortedFunc(slices.Values(metrics), func(a, b Metric) int { return strings.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(&b, "\n#### `%s`\n\n%s%s. %s\n\n", m.Name, strings.ToUpper(m.Kind[:1]), m.Kind[1:]+unit(m.Unit), m.Help)
		for _, label := range slices.Sorted(maps.Keys(m.Labels)) {
			fmt.Fprintf(&b, "- `%s`: %s\n", label, values(m.Labels[label]))
		}
		fmt.Fprintf(&b, "- from %s\n", code(m.From))
		if len(m.Used) > 0 {
			fmt.Fprintf(&b, "- in %s\n", strings.Join(m.Used, ", "))
		}
	}
	return b.String()
}

func unit(u string) string {
	if u == "" {
		return ""
	}
	return " in " + u
}

func values(all []string) string {
	all = slices.Clone(all)
	slices.Sort(all)
	return code(slices.Compact(all))
}

func code(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = "`" + cmp.Or(s, `""`) + "`"
	}
	return strings.Join(quoted, ", ")
}

// Check compares the part of a page between "<!-- name -->" and "<!-- /name -->" with text, or writes it anew.
func Check(t testing.TB, path, name, text string, update bool) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(page), "<!-- "+name+" -->\n")
	old, tail, ended := strings.Cut(rest, "<!-- /"+name+" -->\n")
	if !found || !ended {
		t.Fatalf("%s has no part between <!-- %s --> and <!-- /%s -->", path, name, name)
	}
	if old == text {
		return
	}
	if !update {
		t.Errorf("%s: the part %q is not what the code shows: run go test -run %s -update\nit says\n%s\nand should say\n%s", path, name, t.Name(), old, text)
		return
	}
	page = []byte(head + "<!-- " + name + " -->\n" + text + "<!-- /" + name + " -->\n" + tail)
	if err := os.WriteFile(path, page, 0o644); err != nil {
		t.Fatal(err)
	}
}
