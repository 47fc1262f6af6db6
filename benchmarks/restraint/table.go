package restraint

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tokenguard/tokenguard"
)

// Columns are the headings of the table, after the name of the world.
var Columns = append(slices.Clone(Ways), "to the hard limits", "to the planner", "what tokenguard refused for")

// Row is the world's row of the table.
func Row(w World, results []Result) (cells []string) {
	by := map[string]Result{}
	for _, r := range results {
		by[r.Way] = r
		cells = append(cells, fmt.Sprintf("%.1f %%, %.4g", 100*r.Share, r.Acquisitions))
	}
	own := by[Default]
	if w.Moderate {
		own = by[Moderate]
	}
	return append(cells, against(own, by[Greedy]), against(own, by[Planner]), refused(own))
}

// against is the share as a ratio, and the acquisitions as a difference.
func against(a, b Result) string {
	return fmt.Sprintf("%.2f, %+.4g", a.Share/b.Share, a.Acquisitions-b.Acquisitions)
}

func refused(r Result) string {
	var reasons []tokenguard.Reason
	for reason := range r.Refused {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b tokenguard.Reason) int {
		return cmp.Or(cmp.Compare(r.Refused[b], r.Refused[a]), cmp.Compare(a, b))
	})
	var out []string
	for _, reason := range reasons[:min(3, len(reasons))] {
		out = append(out, fmt.Sprintf("%s %s", reason, strconv.FormatFloat(math.Round(10*r.Refused[reason])/10, 'f', -1, 64)))
	}
	return strings.Join(out, ", ")
}
