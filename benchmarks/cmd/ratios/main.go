// Command ratios runs the benchmarks in many short rounds, all of them in each round, and prints the least time of each,
// the median, and the least as a ratio to that of the floor on the first number of threads. On a shared machine the least time of many interleaved rounds is what the
// work costs; a mean is what the neighbours cost. The raw output is for benchstat.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type figure struct {
	all    []float64 // ns of the rounds
	allocs string
}

func (f figure) least() float64  { return slices.Min(f.all) }
func (f figure) median() float64 { return slices.Sorted(slices.Values(f.all))[len(f.all)/2] }

// line is a result: a name, the threads after the last dash unless one, the time and the allocations.
var line = regexp.MustCompile(`^Benchmark(\w+)/(\S+?)(?:-(\d+))?\s+\d+\s+([\d.]+) ns/op\s.*?(\d+) allocs/op`)

func main() {
	log.SetFlags(0)
	rounds := flag.Int("rounds", 15, "interleaved rounds")
	benchtime := flag.String("benchtime", "10ms", "time of one benchmark in a round")
	raw := flag.String("raw", "", "file for the raw output (default: a temporary one)")
	against := flag.String("against", "", "benchmark that the ratios are to (default: floor-monotonic, else the first)")
	cpu := flag.String("cpu", "1,2,8", "threads")
	bench := flag.String("bench", "Hit|Refusal", "which benchmarks")
	flag.Parse()

	out, err := os.CreateTemp("", "bench-*.txt")
	if *raw != "" {
		out, err = os.Create(*raw)
	}
	check(err)
	binary := out.Name() + ".test"
	defer os.Remove(binary)
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Stderr = os.Stderr
	check(build.Run())

	found := map[string]figure{} // by "group/name-threads"
	var order, groups, threads []string
	for range *rounds {
		var buf bytes.Buffer
		run := exec.Command(binary, "-test.run", "^$", "-test.bench", *bench, "-test.benchtime", *benchtime, "-test.cpu", *cpu)
		run.Stdout, run.Stderr = &buf, os.Stderr
		check(run.Run())
		_, err := out.Write(buf.Bytes())
		check(err)
		for s := bufio.NewScanner(&buf); s.Scan(); {
			m := line.FindStringSubmatch(s.Text())
			if m == nil {
				continue
			}
			group, name, n := m[1], m[2], m[3]
			if n == "" {
				n = "1"
			}
			note(&groups, group)
			note(&threads, n)
			note(&order, group+"/"+name)
			ns, err := strconv.ParseFloat(m[4], 64)
			check(err)
			key := group + "/" + name + "-" + n
			found[key] = figure{append(found[key].all, ns), m[5]}
		}
	}
	check(out.Close())
	for _, g := range groups {
		rows := slices.DeleteFunc(slices.Clone(order), func(s string) bool { return !strings.HasPrefix(s, g+"/") })
		base := rows[0]
		for _, r := range rows {
			if name := strings.TrimPrefix(r, g+"/"); name == *against || *against == "" && name == "floor-monotonic" {
				base = r
			}
		}
		table(g, rows, base, threads, found)
	}
	fmt.Printf("Least of %d interleaved rounds of %s. Raw output for benchstat: %s\n", *rounds, *benchtime, out.Name())
}

func table(group string, rows []string, base string, threads []string, found map[string]figure) {
	fmt.Printf("| %s, to %s |", group, strings.TrimPrefix(base, group+"/"))
	for _, n := range threads {
		fmt.Printf(" %s threads: least, ns | median | ratio |", n)
	}
	fmt.Print(" allocations |\n|---|", strings.Repeat("---:|---:|---:|", len(threads)), "---:|\n")
	for _, r := range rows {
		fmt.Printf("| %s |", strings.TrimPrefix(r, group+"/"))
		allocs := "-"
		for _, n := range threads {
			f, ok := found[r+"-"+n]
			if !ok {
				fmt.Print(" - | - | - |")
				continue
			}
			allocs = f.allocs
			fmt.Printf(" %.1f | %.1f | %.2f |", f.least(), f.median(), f.least()/found[base+"-"+threads[0]].least())
		}
		fmt.Printf(" %s |\n", allocs)
	}
	fmt.Println()
}

func note(list *[]string, s string) {
	if !slices.Contains(*list, s) {
		*list = append(*list, s)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
