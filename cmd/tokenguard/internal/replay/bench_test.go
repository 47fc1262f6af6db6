package replay

import (
	"fmt"
	"strings"
	"testing"
)

// stream is a log of n lines, a call every 2.5 s; each tenth says that the current token's quota is used up.
func stream(n int) *strings.Reader {
	var b strings.Builder
	for i := range n {
		failure := ""
		if i%10 == 9 {
			failure = fmt.Sprintf(`, "status": 429, "body": "No remaining quota, request id %d", "failing": "current"`, i)
		}
		ms := i * 2500
		fmt.Fprintf(&b, `{"at": "2026-01-%02dT%02d:%02d:%02d.%03dZ", "cause": "web", "caller": "svc-%d"%s}`+"\n",
			1+ms/86400000, ms/3600000%24, ms/60000%60, ms/1000%60, ms%1000, i%50, failure)
	}
	return strings.NewReader(b.String())
}

// BenchmarkReplay reports the time a line.
func BenchmarkReplay(b *testing.B) {
	const lines = 100_000
	in := stream(lines)
	for b.Loop() {
		in.Seek(0, 0)
		log, err := Open([]File{{"bench.jsonl", in}}, Options{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		r, err := New("defaults", Setup{Upstream: Upstream{Lifetime: 3600e9}}, false)
		if err != nil {
			b.Fatal(err)
		}
		if err := Run(log.Calls(), []*Replay{r}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/line")
}
