// Command train writes the weights of package classify's model from recorded
// answers:
//
//	go run ./internal/classify/train -o internal/classify/weights.bin FILE.jsonl ...
//
// The same files in the same order give the same weights.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/tokenguard/tokenguard/internal/classify"
	"github.com/tokenguard/tokenguard/internal/classify/fit"
)

func main() {
	out := flag.String("o", "weights.bin", "the file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string, files []string) error {
	var samples []fit.Sample
	for _, name := range files {
		more, err := read(name)
		if err != nil {
			return fmt.Errorf("tokenguard: read answers: %w", err)
		}
		samples = append(samples, more...)
	}
	weights := fit.Weights(samples, classify.Buckets, len(classify.Classes()))
	raw := make([]byte, len(weights))
	for i, w := range weights {
		raw[i] = byte(w)
	}
	fmt.Printf("%d answers, %d weights\n", len(samples), len(raw))
	return os.WriteFile(out, raw, 0o644)
}

func read(name string) ([]fit.Sample, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var samples []fit.Sample
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r struct {
			Status  int               `json:"status"`
			Headers map[string]string `json:"headers"`
			Body    string            `json:"body"`
			Class   string            `json:"class"`
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		header := map[string][]string{}
		for k, v := range r.Headers {
			header[k] = []string{v}
		}
		s := fit.Sample{Class: -1}
		for i, c := range classify.Classes() {
			if c == r.Class {
				s.Class = i
			}
		}
		if s.Class < 0 {
			return nil, fmt.Errorf("%s, line %d: no class is called %q", name, n, r.Class)
		}
		s.Features = classify.Features(classify.Input{StatusCode: r.Status, Header: header, Text: r.Body})
		samples = append(samples, s)
	}
	return samples, lines.Err()
}
