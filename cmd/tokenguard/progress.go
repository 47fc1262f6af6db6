package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenguard/tokenguard/cmd/tokenguard/internal/replay"
)

// progress counts what is read and draws a bar, on a terminal alone.
type progress struct {
	files      []*os.File
	size, read int64 // size 0: not known
	terminal   bool
	next       time.Time
}

// openLogs opens the logs; - is standard input.
func openLogs(cmd *cobra.Command, names []string) (files []replay.File, p *progress, err error) {
	p = &progress{terminal: draws(os.Stderr), next: time.Now().Add(time.Second / 2)}
	known := true
	seen := map[string]bool{}
	var stats []os.FileInfo
	var statNames []string
	for _, name := range names {
		if seen[name] {
			p.close()
			return nil, nil, usage("%s is given twice", name)
		}
		seen[name] = true
		if name == "-" {
			known = false
			files = append(files, replay.File{Name: name, In: cmd.InOrStdin()})
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			p.close()
			return nil, nil, whole(err)
		}
		p.files = append(p.files, file)
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			for i, other := range stats {
				if os.SameFile(other, info) {
					p.close()
					return nil, nil, usage("%s is given twice, as %s too", name, statNames[i])
				}
			}
			stats, statNames = append(stats, info), append(statNames, name)
			p.size += info.Size()
		} else {
			known = false
		}
		files = append(files, replay.File{Name: name, In: io.TeeReader(file, p)})
	}
	if !known {
		p.size = 0
	}
	return files, p, nil
}

// Write counts what a file brought.
func (p *progress) Write(b []byte) (int, error) {
	p.read += int64(len(b))
	return len(b), nil
}

func (p *progress) close() {
	for _, f := range p.files {
		_ = f.Close()
	}
}

func (p *progress) show(calls int) {
	if !p.terminal || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(time.Second / 10)
	if p.size == 0 {
		fmt.Fprintf(os.Stderr, "\r%d calls", calls)
		return
	}
	const width = 40
	done := min(int(width*p.read/p.size), width)
	fmt.Fprintf(os.Stderr, "\r[%s%s] %3d %%  %d calls", strings.Repeat("#", done), strings.Repeat(".", width-done), min(100*p.read/p.size, 100), calls)
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
