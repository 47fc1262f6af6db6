// Incident replays an afternoon on which 97 calls made 97 acquisitions, and shows what a guard makes of it.
//
//	go run ./examples/incident
//
// It runs the calls of testdata/incident-97.jsonl through real guards on a state file, on the trace's clock, reopening
// them at each restart; beside them what the same calls cost without a guard and with a token cache in each process. It
// writes a picture of the afternoon to incident.svg.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/tokenguard/tokenguard"
)

// scarce is the number of uses of a token in the second scenario.
const scarce = 40

func main() {
	trace := flag.String("trace", "testdata/incident-97.jsonl", "the calls, one JSON object a line")
	svg := flag.String("svg", "incident.svg", "where the picture goes; empty: nowhere")
	flag.Parse()
	if err := show(os.Stdout, *trace, *svg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func show(w io.Writer, trace, svg string) error {
	calls, err := readTrace(trace)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "incident")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	fmt.Fprintf(w, "The afternoon of %s: %d calls for an anonymous token in %v.\n\n",
		calls[0].At.Format("2006-01-02"), len(calls), calls[len(calls)-1].At.Sub(calls[0].At).Round(1e9))
	before := noGuard(calls, 0)
	after, err := replay("tokenguard", calls, 0, dir, "a", tokenguard.Conservative())
	if err != nil {
		return err
	}
	table(w, calls, []*run{before, processCache(calls, 0), after})
	fmt.Fprintf(w, "\ntokenguard: %d calls, %d acquisition, %d served.\n\n", len(calls), len(after.up.issued), after.working())

	fmt.Fprintf(w, "The same afternoon, when a token is good for %d uses and then answers \"No remaining quota\":\n\n", scarce)
	runs := []*run{noGuard(calls, scarce), processCache(calls, scarce)}
	limits := []tokenguard.Config{tokenguard.Conservative(), tokenguard.Moderate()}
	for i, name := range []string{"tokenguard", "tokenguard, Moderate()"} {
		r, err := replay(name, calls, scarce, dir, fmt.Sprint("b", i), limits[i])
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	table(w, calls, runs)
	for i, name := range []string{"the defaults", "Moderate()"} {
		working, acquisitions := planner(calls, scarce, limits[i].RateLimit)
		fmt.Fprintf(w, "\nBest of any planner under the hard limits of %s, knowing the future: %d working with %d acquisitions.", name, working, acquisitions)
	}
	fmt.Fprintln(w)

	if svg == "" {
		return nil
	}
	if err := os.WriteFile(svg, []byte(picture(calls, before, after, limits[0].RateLimit.MaxRequestsPerHour)), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nThe picture is in %s.\n", svg)
	return nil
}

// replay is guarded in a folder of its own.
func replay(name string, calls []call, quota int, dir, sub string, config tokenguard.Config) (*run, error) {
	sub = dir + string(os.PathSeparator) + sub
	if err := os.Mkdir(sub, 0o700); err != nil {
		return nil, err
	}
	return guarded(name, calls, quota, sub, tokenguard.WithConfig(config))
}

// table prints, for each policy and cause, what the calls got.
func table(w io.Writer, calls []call, runs []*run) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\tcause\tcalls\tacquisitions\tworking\trefused")
	for _, r := range runs {
		name := r.name
		for _, cause := range append(slices.Clone(causes), "total") {
			var n, acquired, working int
			reasons := map[tokenguard.Reason]int{}
			for i, a := range r.answers {
				if cause != "total" && calls[i].Cause != cause {
					continue
				}
				n++
				acquired += a.acquired
				if a.working {
					working++
				} else if a.refused != "" {
					reasons[a.refused]++
				}
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%s\n", name, cause, n, acquired, working, listed(reasons))
			name = ""
		}
	}
	_ = t.Flush()
}

func listed(reasons map[tokenguard.Reason]int) string {
	if len(reasons) == 0 {
		return "-"
	}
	var parts []string
	for reason, n := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
