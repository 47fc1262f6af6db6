package counts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard/benchmarks/peers"
)

// upstream mints a token in a while, or fails after that.
type upstream struct {
	takes    time.Duration
	fetches  atomic.Int64
	failing  bool
	lifetime time.Duration
}

func (u *upstream) fetch(context.Context) (string, time.Duration, error) {
	n := u.fetches.Add(1)
	time.Sleep(u.takes)
	if u.failing {
		return "", 0, errors.New("connection reset")
	}
	return fmt.Sprintf("token %d of the count", n), u.lifetime, nil
}

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// atOnce runs f on n goroutines.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// work is one row: what is done with a peer. It returns false where the peer has no such thing.
type work struct {
	name    string
	inARow  bool // one call after another: the upstream answers at once
	failing bool
	run     func(t *testing.T, p peers.Peer, u *upstream) bool
}

func with(p peers.Peer, u *upstream, refresh time.Duration, dir string, f func(h peers.Holder)) {
	h := p.New(u.fetch, refresh, dir)
	if h.Close != nil {
		defer h.Close()
	}
	f(h)
}

var works = []work{
	{"10,000 callers at once, token missing", false, false, func(t *testing.T, p peers.Peer, u *upstream) bool {
		with(p, u, 0, "", func(h peers.Holder) {
			atOnce(10_000, func(int) { _, _ = h.Get(context.Background(), "") })
		})
		return true
	}},
	{"10,000 calls in a row, source fails", true, true, func(t *testing.T, p peers.Peer, u *upstream) bool {
		with(p, u, 0, "", func(h peers.Holder) {
			for range 10_000 {
				_, _ = h.Get(context.Background(), "")
			}
		})
		return true
	}},
	{"100 restarts", true, false, func(t *testing.T, p peers.Peer, u *upstream) bool {
		dir := t.TempDir()
		for range 100 {
			with(p, u, 0, dir, func(h peers.Holder) { _, _ = h.Get(context.Background(), "") })
		}
		return true
	}},
	{"8 instances at once", false, false, func(t *testing.T, p peers.Peer, u *upstream) bool {
		dir := t.TempDir()
		atOnce(8, func(int) {
			with(p, u, 0, dir, func(h peers.Holder) { _, _ = h.Get(context.Background(), "") })
		})
		return true
	}},
	{"50 in flight, token rejected", false, false, func(t *testing.T, p peers.Peer, u *upstream) (ok bool) {
		clock := &clock{now: time.Now()}
		if p.Name == "tokenguard" { // it waits 5 minutes between two
			p = peers.Guard(clock)
		}
		with(p, u, 0, "", func(h peers.Holder) {
			if ok = h.Again != nil; !ok {
				return
			}
			old, _ := h.Get(context.Background(), "")
			if h.Worked != nil {
				h.Worked(context.Background(), old)
			}
			clock.advance(40 * time.Minute)
			before := u.fetches.Load()
			atOnce(50, func(i int) { // the answers come in over 250 ms
				time.Sleep(time.Duration(i) * 5 * time.Millisecond)
				_, _ = h.Again(context.Background(), "", old)
			})
			u.fetches.Add(-before)
		})
		return ok
	}},
	{"refresh window over lifetime, 100 calls", true, false, func(t *testing.T, p peers.Peer, u *upstream) bool {
		if !p.Refreshes {
			return false
		}
		u.lifetime = 5 * time.Minute
		with(p, u, 10*time.Minute, "", func(h peers.Holder) {
			for range 100 {
				_, _ = h.Get(context.Background(), "")
			}
		})
		return true
	}},
}

// TestCounts prints how often the upstream is asked, a row for each peer, and holds tokenguard to one fetch in each column.
// COUNTS_TABLE is a file for the table.
func TestCounts(t *testing.T) {
	var table strings.Builder
	table.WriteString("| upstream fetches for |")
	for _, w := range works {
		fmt.Fprintf(&table, " %s |", w.name)
	}
	fmt.Fprintf(&table, "\n|---|%s\n", strings.Repeat("---:|", len(works)))
	for _, p := range peers.All {
		fmt.Fprintf(&table, "| %s |", p.Name)
		for _, w := range works {
			cell := "–"
			t.Run(p.Name+"/"+w.name, func(t *testing.T) {
				u := &upstream{failing: w.failing, lifetime: time.Hour, takes: 10 * time.Millisecond}
				if w.inARow {
					u.takes = 0
				}
				if w.run(t, p, u) {
					cell = fmt.Sprint(u.fetches.Load())
				}
				if p.Name == "tokenguard" && cell != "1" {
					t.Errorf("%s fetches, want 1", cell)
				}
			})
			fmt.Fprintf(&table, " %s |", cell)
		}
		table.WriteString("\n")
	}
	if path := os.Getenv("COUNTS_TABLE"); path != "" {
		if err := os.WriteFile(path, []byte(table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("\n" + table.String())
}
