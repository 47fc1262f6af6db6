package storetest

import (
	"context"
	"time"

	"github.com/tokenguard/tokenguard"
)

func epochIsStable(r *run) {
	s := r.store()
	first := r.put(s, doc, "x")
	for range 5 {
		next := r.put(s, doc, "y")
		if got := r.view(s, doc); got.Epoch != first.Epoch || next.Epoch != first.Epoch {
			r.stop("Epoch %q and then %q, with nothing lost", first.Epoch, got.Epoch)
		}
	}
}

func nowIsMonotone(r *run) {
	s := r.store()
	var last time.Time
	look := func(what string, got tokenguard.Snapshot) {
		if got.Now.IsZero() != last.IsZero() && what != "the first View" {
			r.Errorf("Now is set in one snapshot and not in another (%s)", what)
		}
		if got.Now.Before(last) {
			r.Errorf("Now went back by %v (%s)", last.Sub(got.Now), what)
		}
		last = got.Now
	}
	look("the first View", r.view(s, doc))
	for range 10 {
		r.update(s, doc, func(got tokenguard.Snapshot) ([]byte, error) {
			look("fn", got)
			return []byte("x"), nil
		})
		look("View", r.view(s, doc))
	}
}

// revision checks a store that is a Revisioner; there is nothing to check about others.
func revision(r *run) {
	s := r.store()
	revisioner, ok := s.(tokenguard.Revisioner)
	if !ok {
		return
	}
	for range 3 {
		var got uint64
		var err error
		r.within("Revision", func() { got, err = revisioner.Revision(r.Context(), doc) })
		if want := r.view(s, doc).Rev; err != nil || got != want {
			r.Errorf("Revision: %d and error %v, want %d as View has", got, err, want)
		}
		r.put(s, doc, "x")
	}
}

// watch checks a store that is a Watcher. A hint may be lost, but a store that never gives one is no Watcher.
func watch(r *run) {
	s := r.store()
	watcher, ok := s.(tokenguard.Watcher)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	hints := watcher.Watch(ctx, doc)
	idle := watcher.Watch(ctx, doc)
	for range 100 { // nobody reads the hints: no Update may wait for that
		r.put(s, doc, "x")
	}
	hinted := false
	for deadline := time.Now().Add(r.patience); !hinted && time.Now().Before(deadline); {
		r.put(s, doc, "x")
		timer := time.NewTimer(10 * time.Millisecond)
		select {
		case _, hinted = <-hints:
			if !hinted {
				r.stop("Watch closed its channel before its context ended")
			}
		case <-timer.C:
		}
		timer.Stop()
	}
	if !hinted {
		r.Errorf("Watch gave no hint in %v of commits", r.patience)
	}
	cancel()
	r.within("closing a channel of Watch after its context ended", func() {
		for range hints {
		}
		for range idle {
		}
	})
}

func useAfterClose(r *run) {
	s := r.store()
	r.put(s, doc, "x")
	r.within("Close", func() {
		if err := s.Close(); err != nil {
			r.Errorf("Close: %v", err)
		}
	})
	if _, err := r.tryView(r.Context(), s, doc); err == nil {
		r.Errorf("View after Close gave no error")
	}
	called := false
	if _, err := r.tryUpdate(r.Context(), s, doc, func(tokenguard.Snapshot) ([]byte, error) { called = true; return []byte("y"), nil }); err == nil || called {
		r.Errorf("Update after Close: error %v, fn was called: %v", err, called)
	}
	if revisioner, ok := s.(tokenguard.Revisioner); ok {
		r.within("Revision after Close", func() {
			if _, err := revisioner.Revision(r.Context(), doc); err == nil {
				r.Errorf("Revision after Close gave no error")
			}
		})
	}
	r.within("a second Close", func() { s.Close() })
}

func handlesSeeEachOther(r *run) {
	stores := []tokenguard.Store{r.store(), r.store(), r.store()}
	for i := range 6 {
		writer := stores[i%len(stores)]
		want := r.put(writer, doc, string(rune('a'+i)))
		for _, reader := range stores {
			r.same("View of another handle's commit", r.view(reader, doc), want)
			if revisioner, ok := reader.(tokenguard.Revisioner); ok {
				if got, err := revisioner.Revision(r.Context(), doc); err != nil || got != want.Rev {
					r.Errorf("Revision of another handle's commit: %d and error %v, want %d", got, err, want.Rev)
				}
			}
		}
	}
}

func closeLeavesOthers(r *run) {
	a, b := r.store(), r.store()
	r.put(a, doc, "x")
	r.within("Close", func() { a.Close() })
	if got := r.view(b, doc); string(got.Data) != "x" {
		r.Errorf("after another handle was closed: %s", show(got))
	}
	r.put(b, doc, "y")
}

// reopen: what was committed outlives its handle.
func reopen(r *run) {
	var last tokenguard.Snapshot
	for i := range 4 {
		s := r.store()
		if got := r.view(s, doc); i > 0 {
			r.same("View after reopening", got, last)
		} else if got.Rev != 0 || len(got.Data) != 0 {
			r.Errorf("View before the first commit: %s, want Rev 0 and no Data", show(got))
		}
		next := r.put(s, doc, string(rune('a'+i)))
		if next.Rev <= last.Rev {
			r.Errorf("Rev %d after reopening, %d before", next.Rev, last.Rev)
		}
		if i == 0 {
			last.Epoch = next.Epoch
		}
		if next.Epoch != last.Epoch {
			r.Errorf("Epoch %q after reopening, %q before, with nothing lost", next.Epoch, last.Epoch)
		}
		last = next
		r.within("Close", func() { s.Close() })
	}
}
