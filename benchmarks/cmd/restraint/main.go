// Command restraint prints what each way of holding tokens asks of the upstream, and how many requests go out with a
// token that works, in each world.
package main

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/benchmarks/restraint"
)

func main() {
	seeds := flag.Int("seeds", 20, "seeds of a random world")
	trace := flag.String("trace", "../testdata/incident-97.jsonl", "the incident")
	only := flag.String("world", "", "only worlds whose name holds this")
	flag.Parse()

	fmt.Printf("| share served, acquisitions | %s | to the hard limits | to the planner | what tokenguard refused for |\n|---|%s---|---|---|\n",
		strings.Join(restraint.Ways, " | "), strings.Repeat("---:|", len(restraint.Ways)))
	for _, w := range restraint.Worlds(*trace) {
		if !strings.Contains(w.Name, *only) {
			continue
		}
		fmt.Printf("| %s |", w.Name)
		by := map[string]restraint.Result{}
		for _, r := range restraint.Run(w, *seeds) {
			by[r.Way] = r
			fmt.Printf(" %.1f %%, %.4g |", 100*r.Share, r.Acquisitions)
		}
		own := by[restraint.Default]
		if w.Moderate {
			own = by[restraint.Moderate]
		}
		fmt.Printf(" %s | %s | %s |\n", against(own, by[restraint.Greedy]), against(own, by[restraint.Planner]), refused(own))
	}
}

// against is the share as a ratio, and the acquisitions as a difference.
func against(a, b restraint.Result) string {
	return fmt.Sprintf("%.2f, %+.4g", a.Share/b.Share, a.Acquisitions-b.Acquisitions)
}

func refused(r restraint.Result) string {
	var reasons []tokenguard.Reason
	for reason := range r.Refused {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b tokenguard.Reason) int { return int(r.Refused[b] - r.Refused[a]) })
	var out []string
	for _, reason := range reasons[:min(3, len(reasons))] {
		out = append(out, fmt.Sprintf("%s %s", reason, strconv.FormatFloat(math.Round(10*r.Refused[reason])/10, 'f', -1, 64)))
	}
	return strings.Join(out, ", ")
}
