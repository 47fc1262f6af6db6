package tokenguardtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Recorder keeps a guard's events. Its method Observe goes into tokenguard.WithObserver.
//
// The zero Recorder is ready for use, and safe for concurrent use. It keeps every event, so it is for tests alone.
type Recorder struct {
	mu      sync.Mutex // guards everything below
	events  []tokenguard.Event
	changed chan struct{} // closed and replaced on each event; nil while nobody waits
}

// Observe records one event.
func (r *Recorder) Observe(e tokenguard.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Events returns what happened so far.
func (r *Recorder) Events() []tokenguard.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Kinds returns the kinds of the events so far.
func (r *Recorder) Kinds() []tokenguard.EventKind {
	events := r.Events()
	kinds := make([]tokenguard.EventKind, len(events))
	for i, e := range events {
		kinds[i] = e.Kind
	}
	return kinds
}

// Reset forgets what happened so far.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// Await returns nil once there are n events of this kind, and the context's error if that ends first.
func (r *Recorder) Await(ctx context.Context, kind tokenguard.EventKind, n int) error {
	for {
		r.mu.Lock()
		seen := 0
		for _, e := range r.events {
			if e.Kind == kind {
				seen++
			}
		}
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if seen >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Expect fails the test, and returns false, unless exactly these events happened in this order. Each is written as the
// event's kind, or as its kind, a space and the reason of its verdict:
//
//	rec.Expect(t, "started", "acquired", "served acquired", "refused min_interval")
//
// The failure shows what happened as a table.
func (r *Recorder) Expect(t testing.TB, want ...string) bool {
	t.Helper()
	events := r.Events()
	for i := range max(len(events), len(want)) {
		switch {
		case i >= len(events):
			t.Errorf("event %d: want %q, but nothing more happened\n%s", i+1, want[i], table(events, i))
			return false
		case i >= len(want):
			t.Errorf("event %d: got %q, want nothing more\n%s", i+1, name(events[i], true), table(events, i))
			return false
		}
		if got := name(events[i], strings.Contains(want[i], " ")); got != want[i] {
			t.Errorf("event %d: got %q, want %q\n%s", i+1, got, want[i], table(events, i))
			return false
		}
	}
	return true
}

// String shows what happened as a table.
func (r *Recorder) String() string { return table(r.Events(), -1) }

func name(e tokenguard.Event, withReason bool) string {
	if withReason && e.Verdict.Reason != "" {
		return string(e.Kind) + " " + string(e.Verdict.Reason)
	}
	return string(e.Kind)
}

// table lists events, with a mark at one of them; times count from the first.
func table(events []tokenguard.Event, mark int) string {
	if len(events) == 0 {
		return "no events"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, " \t#\tafter\tkind\tstep\treason\tsource\tscope\tcaller\ttoken\tretry in\ttext")
	for i, e := range events {
		sign := " "
		if i == mark {
			sign = ">"
		}
		retry := ""
		if at := e.Verdict.RetryAt; !at.IsZero() {
			retry = at.Sub(e.At).Round(time.Millisecond).String()
		}
		text := e.Text
		if text != "" {
			text = fmt.Sprintf("%.60q", text)
		}
		fmt.Fprintf(w, "%s\t%d\t%v\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", sign, i+1, e.At.Sub(events[0].At),
			e.Kind, e.Verdict.Step, e.Verdict.Reason, e.Source, e.Scope, e.Caller, e.TokenID, retry, text)
	}
	_ = w.Flush()
	return b.String()
}
