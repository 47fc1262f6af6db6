// Command counts prints how often tokenguard and its peers ask the upstream, as a table for the README. The figures come
// from the test in ../../counts, which also holds tokenguard to its own.
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	dir, err := os.MkdirTemp("", "counts")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "table")
	test := exec.Command("go", "test", "-count=1", "github.com/tokenguard/tokenguard/benchmarks/counts")
	test.Env = append(os.Environ(), "COUNTS_TABLE="+path)
	if out, err := test.CombinedOutput(); err != nil {
		log.Fatalf("%v\n%s", err, out)
	}
	table, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(table))
}
