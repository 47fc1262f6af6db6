//go:build unix

package statefile

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// typical is a document of the size that a busy guard writes.
var typical = bytes.Repeat([]byte("0123456789abcdef"), 1024)

func writeTypical(Snapshot) ([]byte, error) { return typical, nil }

func BenchmarkUpdate(b *testing.B) {
	for _, bench := range []struct {
		name string
		opts Options
	}{{"durable", Options{}}, {"without the disk's sync", Options{noFileSync: true, noFolderSync: true}}} {
		b.Run(bench.name, func(b *testing.B) {
			f := open(b, temp(b), bench.opts)
			for b.Loop() {
				if _, err := f.Update(b.Context(), writeTypical); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSync is what the disk itself needs for what Update asks of it.
func BenchmarkSync(b *testing.B) {
	folder := b.TempDir()
	name := filepath.Join(folder, "x")
	for b.Loop() {
		file, err := os.Create(name + ".tmp")
		if err == nil {
			_, err = file.Write(typical)
		}
		if err == nil {
			err = file.Sync()
		}
		if err == nil {
			err = file.Close()
		}
		if err == nil {
			err = os.Rename(name+".tmp", name)
		}
		if err == nil {
			err = syncFolder(folder)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkColdOpen is the first look of a new process.
func BenchmarkColdOpen(b *testing.B) {
	path := temp(b)
	_, err := open(b, path, Options{}).Update(b.Context(), writeTypical)
	require.NoError(b, err)
	for b.Loop() {
		f, err := Open(path, Options{})
		if err == nil {
			_, err = f.View(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkView(b *testing.B) {
	for _, size := range []int{16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			f := open(b, temp(b), Options{})
			_, err := f.Update(b.Context(), func(Snapshot) ([]byte, error) { return make([]byte, size), nil })
			require.NoError(b, err)
			for b.Loop() {
				if _, err := f.View(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGeneration(b *testing.B) {
	f := open(b, temp(b), Options{})
	put(b, f, "x")
	for b.Loop() {
		if _, err := f.Generation(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProcesses has each of several processes update as fast as it can.
func BenchmarkProcesses(b *testing.B) {
	for _, processes := range []int{1, 2, 8} {
		b.Run(fmt.Sprint(processes), func(b *testing.B) {
			path := temp(b)
			const each = 300
			var took []time.Duration
			for b.Loop() {
				var outs []io.Reader
				var cmds []*exec.Cmd
				for range processes {
					cmd := command(b, "time", path, fmt.Sprint(each))
					out, err := cmd.StdoutPipe()
					require.NoError(b, err)
					require.NoError(b, cmd.Start())
					outs, cmds = append(outs, out), append(cmds, cmd)
				}
				for i, out := range outs {
					for lines := bufio.NewScanner(out); lines.Scan(); {
						d, err := time.ParseDuration(strings.TrimSpace(lines.Text()))
						require.NoError(b, err)
						took = append(took, d)
					}
					require.NoError(b, cmds[i].Wait())
				}
			}
			slices.Sort(took)
			ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
			b.ReportMetric(ms(took[len(took)/2]), "median-ms")
			b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
			b.ReportMetric(ms(took[len(took)-1]), "worst-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// timeUpdates is the child of BenchmarkProcesses.
func timeUpdates(f *File, times int) error {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for range times {
		start := time.Now()
		if _, err := f.Update(context.Background(), writeTypical); err != nil {
			return err
		}
		fmt.Fprintln(out, time.Since(start))
	}
	return nil
}
