//go:build unix

package benchmarks

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
)

// BenchmarkAsleep has n callers sleep in Wait over commits that help none of them, 5 ms apart: what a commit costs, in time
// of a processor, is what waking them for nothing would. B/caller is what one that sleeps holds, its stack included. Those
// that report a failure ask a question of their own each, the others all the same one.
func BenchmarkAsleep(b *testing.B) {
	for _, reports := range []bool{false, true} {
		for _, n := range []int{1, 1000, 10_000} {
			b.Run(fmt.Sprintf("reports:%v/callers:%d", reports, n), func(b *testing.B) {
				g, err := tokenguard.New(mint)
				works(err)
				defer g.Close()
				ctx, leave := context.WithCancel(context.Background())
				spent, err := g.Token(ctx)
				works(err)
				for i := range 30 { // the budget of the day: nobody is served before tomorrow
					works(g.Adopt(ctx, tokenguard.NewTokenIn(fmt.Sprint("of others, before ", i), time.Hour).WithScope("other")))
				}
				var all sync.WaitGroup
				before := held()
				for i := range n {
					req := tokenguard.Request{Scope: "asleep", Caller: "crawl"}
					if reports {
						req.Failing, req.Failure = spent.ID(), tokenguard.Failure{StatusCode: 401, Message: fmt.Sprint("invalid token in call ", i)}
					}
					all.Go(func() { _, _ = g.Wait(ctx, req) })
				}
				for settled := -1; settled != runtime.NumGoroutine(); <-time.After(50 * time.Millisecond) {
					settled = runtime.NumGoroutine()
				}
				holds := float64(held()-before) / float64(n)
				i, spentTime := 0, processor()
				for b.Loop() {
					works(g.Adopt(ctx, tokenguard.NewTokenIn(fmt.Sprint("of others ", i), time.Hour).WithScope("other")))
					i++
					<-time.After(5 * time.Millisecond)
				}
				b.ReportMetric(float64((processor()-spentTime).Nanoseconds())/float64(i), "cpu-ns/commit")
				b.ReportMetric(holds, "B/caller") // what is reported before the loop it drops
				leave()
				all.Wait()
			})
		}
	}
}

// held is the memory in use, stacks included.
func held() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// processor is the time that this process has had of one.
func processor() time.Duration {
	var u syscall.Rusage
	works(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
