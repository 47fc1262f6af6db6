package tokenguardtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenguard/tokenguard"
)

// RunScenarios runs every scenario file (*.json) in fsys and its folders, except folders named "disputed", each as
// a subtest and, where it names no store, on the memory store and on a file. Further options go to every guard.
//
// A scenario runs in a testing/synctest bubble, so that waiting takes no time. After each refused call of a single
// caller the runner also asks Explain and expects the same answer. The format is documented in
// testdata/scenarios/README.md of this module.
func RunScenarios(t *testing.T, fsys fs.FS, opts ...tokenguard.Option) {
	t.Helper()
	found := 0
	err := fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "disputed":
			return fs.SkipDir
		case d.IsDir() || path.Ext(file) != ".json":
			return nil
		}
		found++
		data, err := fs.ReadFile(fsys, file)
		if err != nil {
			return err
		}
		s, err := parseScenario(data)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return nil
		}
		stores := []string{s.Given.Store}
		if s.Given.Store == "" {
			stores = []string{"memory", "file"}
		}
		for _, store := range stores {
			t.Run(file+"/"+store, func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) { newRun(t, file, s, store, dir, opts).run() })
			})
		}
		return nil
	})
	if err != nil {
		t.Errorf("tokenguardtest: read scenarios: %v", err)
	} else if found == 0 {
		t.Error("tokenguardtest: no scenario found")
	}
}

// run is one scenario while it runs.
type run struct {
	t                  testing.TB
	file               string
	s                  *scenario
	clock              *bubbleClock
	upstream, renewals *Script
	personal           *Script
	memory             tokenguard.Store // nil: a file
	dir                string
	crashes            int

	storeFails atomic.Bool
	options    []tokenguard.Option

	processes map[string]*process
	dead      []*process
	jobs      map[string]<-chan []result
}

// result is how one call ended.
type result struct {
	token   tokenguard.Token
	source  tokenguard.Source
	verdict tokenguard.Verdict
	steps   []tokenguard.Verdict
	err     error
}

func newRun(t testing.TB, file string, s *scenario, store, dir string, opts []tokenguard.Option) *run {
	r := &run{t: t, file: file, s: s, clock: newBubbleClock(s.Given.Start), dir: dir, options: opts,
		processes: map[string]*process{}, jobs: map[string]<-chan []result{}}
	if store == "memory" {
		r.memory = tokenguard.NewMemoryStore()
	}
	r.upstream, r.renewals, r.personal = NewScript(r.clock), NewScript(r.clock), NewScript(r.clock)
	r.renewals.Beyond = Reply{Err: errors.New("the scenario has no further renewal")}
	if s.Renewals != nil {
		for _, u := range *s.Renewals {
			r.renewals.Add(u.reply(s.Given.Start))
		}
	}
	for _, u := range s.Upstream {
		r.upstream.Add(u.reply(s.Given.Start))
	}
	r.upstream.Beyond = Reply{Err: errors.New("the scenario has no further reply")}
	for _, p := range s.Given.Personal {
		r.personal.Add(p.reply(s.Given.Start))
		r.personal.Beyond = p.reply(s.Given.Start)
	}
	return r
}

func (r *run) run() {
	defer r.shutdown()
	for i := range r.s.steps {
		st := &r.s.steps[i]
		var problems []string
		for range max(st.Times, 1) {
			problems = append(problems, r.step(st)...)
			synctest.Wait()
			time.Sleep(time.Duration(st.Every))
		}
		if n := len(r.upstream.Calls()); n > len(r.s.Upstream) {
			problems = append(problems, fmt.Sprintf("the upstream was called %d times, the scenario has %d replies", n, len(r.s.Upstream)))
		}
		if n, most := len(r.renewals.Calls()), r.s.renewals(); n > most {
			problems = append(problems, fmt.Sprintf("the token was renewed %d times, the scenario has %d renewals", n, most))
		}
		if len(problems) > 0 {
			r.t.Errorf("%s: step %d of %d (%s) at %s\n  %s\n%s", r.file, i+1, len(r.s.steps), r.s.Name, r.show(r.clock.Now()),
				oneLine(st.raw), list(problems))
			return
		}
	}
	if len(r.jobs) > 0 {
		r.t.Errorf("%s: the end: a job was never joined", r.file)
	}
}

// shutdown lets every goroutine of the scenario end.
func (r *run) shutdown() {
	for _, p := range append(slices.Collect(maps.Values(r.processes)), r.dead...) {
		p.cancel()
		_ = p.guard.Close()
	}
	// A request that ignores its context outlives even Close, and time stands still once this function has returned.
	_ = r.upstream.idle(context.Background())
	_ = r.renewals.idle(context.Background())
	synctest.Wait()
}

// bubbleClock is the clock of a synctest bubble, moved to the scenario's start and by set_clock.
type bubbleClock struct{ offset atomic.Int64 }

func newBubbleClock(start time.Time) *bubbleClock {
	c := &bubbleClock{}
	c.set(start)
	return c
}

func (c *bubbleClock) set(t time.Time) { c.offset.Store(int64(time.Until(t.Round(0)))) }

func (c *bubbleClock) Now() time.Time {
	return time.Now().Round(0).Add(time.Duration(c.offset.Load())).UTC()
}

func (c *bubbleClock) Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, nil, d) }

// at starts n calls at once and returns where their results will arrive.
func at(n int, call func() result) <-chan []result {
	done := make(chan []result, 1)
	go func() {
		results := make([]result, n)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() { results[i] = call() })
		}
		wg.Wait()
		done <- results
	}()
	return done
}
