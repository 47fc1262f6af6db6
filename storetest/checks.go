package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/tokenguard/tokenguard"
)

const doc = "default"

// checks is the contract. Those of one handle come first.
var checks = []check{
	{name: "NeverWritten", rule: neverWritten},
	{name: "UpdateIsSeen", rule: updateIsSeen},
	{name: "ErrorAborts", rule: errorAborts},
	{name: "NothingToWrite", rule: nothingToWrite},
	{name: "RevGrows", rule: revGrows},
	{name: "NamesAreIndependent", names: true, rule: namesAreIndependent},
	{name: "AnyBytes", rule: anyBytes},
	{name: "LargeDocument", rule: largeDocument},
	{name: "DataIsNotShared", rule: dataIsNotShared},
	{name: "CanceledBefore", rule: canceledBefore},
	{name: "CanceledDuring", rule: canceledDuring},
	{name: "PanicLeavesNoLock", rule: panicLeavesNoLock},
	{name: "ConcurrentUpdates", rule: func(r *run) { s := r.store(); concurrent(r, s) }},
	{name: "EpochIsStable", rule: epochIsStable},
	{name: "NowIsMonotone", rule: nowIsMonotone},
	{name: "Revision", rule: revision},
	{name: "Watch", rule: watch},
	{name: "UseAfterClose", rule: useAfterClose},
	{name: "HandlesSeeEachOther", shared: true, rule: handlesSeeEachOther},
	{name: "ConcurrentHandles", shared: true, rule: func(r *run) { concurrent(r, r.store(), r.store(), r.store(), r.store()) }},
	{name: "CloseLeavesOthers", shared: true, rule: closeLeavesOthers},
	{name: "Reopen", shared: true, rule: reopen},
}

func show(s tokenguard.Snapshot) string {
	return fmt.Sprintf("{Data %.40q (%d bytes) Rev %d Epoch %q}", s.Data, len(s.Data), s.Rev, s.Epoch)
}

func neverWritten(r *run) {
	s := r.store()
	if got := r.view(s, doc); got.Rev != 0 || len(got.Data) != 0 {
		r.Errorf("a document that was never written: %s, want Rev 0 and no Data", show(got))
	}
	r.update(s, doc, func(got tokenguard.Snapshot) ([]byte, error) {
		if got.Rev != 0 || len(got.Data) != 0 {
			r.Errorf("fn got a document that was never written as %s, want Rev 0 and no Data", show(got))
		}
		return []byte("x"), nil
	})
}

func updateIsSeen(r *run) {
	s := r.store()
	for _, data := range []string{"one", "two, longer", "3"} {
		before := r.view(s, doc)
		var given tokenguard.Snapshot
		after := r.update(s, doc, func(got tokenguard.Snapshot) ([]byte, error) {
			given = got
			return []byte(data), nil
		})
		r.same("what fn got", given, before)
		if string(after.Data) != data {
			r.Errorf("Update returned %s after fn wrote %q", show(after), data)
		}
		r.same("View after Update", r.view(s, doc), after)
	}
}

func errorAborts(r *run) {
	s := r.store()
	boom := errors.New("boom")
	for range 2 { // on a document never written, and on one that was
		before := r.view(s, doc)
		_, err := r.tryUpdate(r.Context(), s, doc, func(tokenguard.Snapshot) ([]byte, error) { return []byte("rejected"), boom })
		if err != boom {
			r.Errorf("Update returned the error %v, want fn's own as it is", err)
		}
		r.same("View after fn's error", r.view(s, doc), before)
		r.put(s, doc, "x")
	}
}

func nothingToWrite(r *run) {
	s := r.store()
	for range 2 {
		before := r.view(s, doc)
		got := r.update(s, doc, func(tokenguard.Snapshot) ([]byte, error) { return nil, nil })
		r.same("Update with nothing to write", got, before)
		r.same("View after nothing was written", r.view(s, doc), before)
		r.put(s, doc, "x")
	}
}

func revGrows(r *run) {
	s := r.store()
	var last uint64
	for range 20 { // the same content is a commit as well
		got := r.put(s, doc, "x")
		if got.Rev <= last {
			r.stop("Rev %d after %d", got.Rev, last)
		}
		last = got.Rev
	}
}

func namesAreIndependent(r *run) {
	s := r.store()
	names := []string{"a", "b", "A", "a/b", "../a", "a b", "ä", "a\x00", "{a}", ".", "con", strings.Repeat("long", 40)}
	for _, name := range names {
		if got := r.view(s, name); got.Rev != 0 {
			r.Errorf("document %q was never written and is %s", name, show(got))
		}
		r.put(s, name, "of "+name)
	}
	for _, name := range names {
		if got := r.view(s, name); string(got.Data) != "of "+name {
			r.Errorf("document %q is %s", name, show(got))
		}
	}
}

func anyBytes(r *run) {
	s := r.store()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, data := range []string{string(all), "\x00", "\n\n", "\xff\xfe", " x ", "\r\n--\r\n", `"'{}`} {
		r.put(s, doc, data)
		if got := r.view(s, doc); string(got.Data) != data {
			r.Errorf("wrote %q, read %q", data, got.Data)
		}
	}
}

// largeDocument is beyond what a guard should ever need (256 KiB), of bytes that do not compress.
func largeDocument(r *run) {
	s := r.store()
	data := make([]byte, 256<<10)
	source := rand.NewChaCha8([32]byte{})
	source.Read(data)
	r.put(s, doc, string(data))
	if got := r.view(s, doc); !bytes.Equal(got.Data, data) {
		r.Errorf("a document of %d bytes came back as %s", len(data), show(got))
	}
	r.put(s, doc, "small again")
	if got := r.view(s, doc); string(got.Data) != "small again" {
		r.Errorf("after a large document: %s", show(got))
	}
}

// dataIsNotShared: the store keeps no buffer of fn's, and writes into none that it handed out.
func dataIsNotShared(r *run) {
	s := r.store()
	var buffer []byte
	r.update(s, doc, func(tokenguard.Snapshot) ([]byte, error) {
		buffer = []byte("first")
		return buffer, nil
	})
	copy(buffer, "XXXXX")
	first := r.view(s, doc)
	if string(first.Data) != "first" {
		r.Errorf("a change of fn's buffer after Update changed the document: %s", show(first))
	}
	var given tokenguard.Snapshot
	second := r.update(s, doc, func(got tokenguard.Snapshot) ([]byte, error) {
		given = got
		return []byte("SECOND"), nil
	})
	r.put(s, doc, "THIRD!")
	for what, c := range map[string]struct{ got, want []byte }{
		"View": {first.Data, []byte("first")}, "fn": {given.Data, []byte("first")}, "Update": {second.Data, []byte("SECOND")},
	} {
		if !bytes.Equal(c.got, c.want) {
			r.Errorf("later commits changed the snapshot of %s from %q to %q", what, c.want, c.got)
		}
	}
}

func canceledBefore(r *run) {
	s := r.store()
	before := r.put(s, doc, "x")
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	_, err := r.tryUpdate(ctx, s, doc, func(tokenguard.Snapshot) ([]byte, error) { return []byte("y"), nil })
	if !errors.Is(err, context.Canceled) {
		r.Errorf("Update with a canceled context: error %v, want one that is context.Canceled", err)
	}
	r.same("View after a canceled Update", r.view(s, doc), before)
}

// canceledDuring allows either outcome of the canceled Update, but no lie about success and no harm to later calls.
func canceledDuring(r *run) {
	s := r.store()
	r.put(s, doc, "x")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	got, err := r.tryUpdate(ctx, s, doc, func(tokenguard.Snapshot) ([]byte, error) {
		cancel()
		return []byte("y"), nil
	})
	if err == nil {
		r.same("View after an Update that succeeded", r.view(s, doc), got)
	}
	last := r.view(s, doc)
	if next := r.put(s, doc, "z"); next.Rev <= last.Rev {
		r.Errorf("Rev %d after %d", next.Rev, last.Rev)
	}
}

func panicLeavesNoLock(r *run) {
	s := r.store()
	before := r.put(s, doc, "x")
	r.within("Update whose fn panics", func() {
		defer func() { recover() }()
		s.Update(r.Context(), doc, func(tokenguard.Snapshot) ([]byte, error) { panic("boom") })
	})
	r.same("View after a panic in fn", r.view(s, doc), before)
	r.put(s, doc, "y")
}

// concurrent increments one document from 50 goroutines, 20 times each, spread over the handles.
func concurrent(r *run, stores ...tokenguard.Store) {
	const goroutines, each = 50, 20
	var (
		mu        sync.Mutex // guards all below
		committed = map[uint64]string{0: ""}
		given     = map[uint64]string{}
		failures  []string
		wg        sync.WaitGroup
	)
	fail := func(format string, args ...any) { // with mu held
		failures = append(failures, fmt.Sprintf(format, args...))
	}
	for g := range goroutines {
		wg.Go(func() {
			var last uint64
			for range each {
				var seen uint64
				got, err := stores[g%len(stores)].Update(r.Context(), doc, func(s tokenguard.Snapshot) ([]byte, error) {
					mu.Lock()
					defer mu.Unlock()
					seen = s.Rev
					if other, ok := given[s.Rev]; ok && other != string(s.Data) {
						fail("fn got two documents of Rev %d", s.Rev)
					}
					given[s.Rev] = string(s.Data)
					return append(bytes.Clone(s.Data), '.'), nil
				})
				mu.Lock()
				switch _, twice := committed[got.Rev]; {
				case err != nil:
					fail("Update: %v", err)
				case twice:
					fail("two commits have Rev %d", got.Rev)
				case got.Rev <= seen || got.Rev <= last:
					fail("Update returned Rev %d, after Rev %d in fn and %d before", got.Rev, seen, last)
				}
				committed[got.Rev] = string(got.Data)
				last = got.Rev
				mu.Unlock()
			}
		})
	}
	r.within("a set of concurrent updates", wg.Wait)
	for rev, data := range given {
		if want, ok := committed[rev]; !ok || data != want {
			failures = append(failures, fmt.Sprintf("fn got %d bytes as Rev %d, which nobody committed", len(data), rev))
		}
	}
	for _, failure := range failures[:min(len(failures), 3)] {
		r.Errorf("%s", failure)
	}
	for _, s := range stores {
		if got := r.view(s, doc); len(got.Data) != goroutines*each {
			r.Errorf("%d of %d increments are there", len(got.Data), goroutines*each)
		}
	}
}
