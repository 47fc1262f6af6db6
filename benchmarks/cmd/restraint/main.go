// Command restraint prints what each way of holding tokens asks of the upstream, and how many requests go out with a
// token that works, in each world.
package main

import (
	"flag"
	"fmt"
	"strings"

	"github.com/tokenguard/tokenguard/benchmarks/restraint"
)

func main() {
	seeds := flag.Int("seeds", restraint.Seeds, "seeds of a random world")
	trace := flag.String("trace", "../testdata/incident-97.jsonl", "the incident")
	only := flag.String("world", "", "only worlds whose name holds this")
	flag.Parse()

	fmt.Printf("| share served, acquisitions | %s |\n|---|%s---|---|---|\n",
		strings.Join(restraint.Columns, " | "), strings.Repeat("---:|", len(restraint.Ways)))
	for _, w := range restraint.Worlds(*trace) {
		if strings.Contains(w.Name, *only) {
			fmt.Printf("| %s | %s |\n", w.Name, strings.Join(restraint.Row(w, restraint.Run(w, *seeds)), " | "))
		}
	}
}
