// Command startup measures short-lived processes: how long New and the first call take in a real one, with a state file
// that is not there yet and with one that holds a token.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenguard/tokenguard"
)

func main() {
	log.SetFlags(0)
	runs := flag.Int("runs", 30, "processes of each sort")
	child := flag.String("child", "", "state file; used by the command itself")
	flag.Parse()
	if *child != "" {
		once(*child)
		return
	}
	dir, err := os.MkdirTemp("", "startup")
	check(err)
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	check(err)
	fmt.Print("| New and first call of a process | least | median | source |\n|---|---:|---:|---|\n")
	for _, fresh := range []bool{true, false} {
		var times []time.Duration
		var source string
		for i := range *runs {
			path := filepath.Join(dir, "state")
			if fresh {
				path += strconv.Itoa(i)
			}
			out, err := exec.Command(self, "-child", path).Output()
			check(err)
			ns, from, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
			n, err := strconv.ParseInt(ns, 10, 64)
			check(err)
			times, source = append(times, time.Duration(n)), from
		}
		slices.Sort(times)
		name := "no state file yet"
		if !fresh {
			name = "a token in the state file"
		}
		fmt.Printf("| %s | %v | %v | %s |\n", name, times[0].Round(10*time.Microsecond), times[len(times)/2].Round(10*time.Microsecond), source)
	}
}

func once(path string) {
	began := time.Now()
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
		return tokenguard.NewTokenIn("a token of the benchmark", time.Hour), nil
	}, tokenguard.WithStateFile(path))
	check(err)
	grant, err := g.Acquire(context.Background(), tokenguard.Request{})
	check(err)
	fmt.Println(time.Since(began).Nanoseconds(), grant.Source)
	check(g.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
