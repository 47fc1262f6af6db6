// Package storetest checks that a [tokenguard.Store] keeps its contract. If you implement a store, run this from a test:
//
//	storetest.Run(t, func(t *testing.T) tokenguard.Store { return mystore.New(t.TempDir()) })
//
// A store whose documents outlive a handle, or that several processes share, should pass [Shared], too: otherwise
// durability and the view of other handles stay unchecked. What no suite can check from inside one process, a
// kill, a power cut or a failover, is left to the store's own tests.
package storetest

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/tokenguard/tokenguard"
)

// Option of Run.
type Option func(*suite)

// Shared adds the checks that need several handles on the same documents, open at once or one after the other.
// opener is called once for each check and returns a function that opens one more handle on that check's documents,
// which nobody else uses. Run closes every handle.
func Shared(opener func(t *testing.T) func() tokenguard.Store) Option {
	return func(s *suite) { s.opener = opener }
}

// OneDocument is for a store that keeps a single document and gets its name in another way: it leaves out the check
// that names are independent.
func OneDocument() Option {
	return func(s *suite) { s.oneDocument = true }
}

// Run runs the whole contract, each rule as a subtest. open returns a store with no documents; Run closes it. The
// checks that hold for one handle run on open's stores, those of Shared on its handles.
func Run(t *testing.T, open func(t *testing.T) tokenguard.Store, opts ...Option) {
	var s suite
	for _, opt := range opts {
		opt(&s)
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			switch {
			case c.names && s.oneDocument:
				t.Skip("the store keeps one document")
			case !c.shared:
				c.run(t, func() tokenguard.Store { return open(t) }, patience)
			case s.opener == nil:
				t.Skip("needs the option Shared")
			default:
				c.run(t, s.opener(t), patience)
			}
		})
	}
}

type suite struct {
	opener      func(t *testing.T) func() tokenguard.Store
	oneDocument bool
}

// patience is how long one call may take before it counts as hanging.
const patience = 30 * time.Second

// check is one rule of the contract.
type check struct {
	name   string
	shared bool // needs several handles on the same documents
	names  bool // needs several documents
	rule   func(r *run)
}

// reporter is the part of testing.TB that a check needs, so that the tests of this package can watch checks fail.
type reporter interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
}

// run is one check in progress. Its methods end the check's goroutine after a failure that leaves nothing to go on
// with; the check's own goroutine reports.
type run struct {
	reporter
	open     func() tokenguard.Store
	patience time.Duration
	stores   []tokenguard.Store
}

func (c check) run(t reporter, open func() tokenguard.Store, patience time.Duration) {
	t.Helper()
	r := &run{reporter: t, open: open, patience: patience}
	done := make(chan struct{})
	go func() { // of its own, so that stop ends it and not the caller
		defer close(done)
		defer func() {
			for _, s := range r.stores {
				r.within("Close", func() { s.Close() })
			}
		}()
		c.rule(r)
	}()
	<-done
}

// stop ends the check.
func (r *run) stop(format string, args ...any) {
	r.Helper()
	r.Errorf(format, args...)
	runtime.Goexit()
}

// store opens a handle that is closed with the check.
func (r *run) store() tokenguard.Store {
	s := r.open()
	r.stores = append(r.stores, s)
	return s
}

// within runs call and reports if it hangs; such a call is left behind.
func (r *run) within(what string, call func()) {
	r.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		r.stop("%s has not returned after %v", what, r.patience)
	}
}

func (r *run) tryView(ctx context.Context, s tokenguard.Store, name string) (snap tokenguard.Snapshot, err error) {
	r.Helper()
	r.within("View", func() { snap, err = s.View(ctx, name) })
	return snap, err
}

func (r *run) tryUpdate(ctx context.Context, s tokenguard.Store, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (snap tokenguard.Snapshot, err error) {
	r.Helper()
	r.within("Update", func() { snap, err = s.Update(ctx, name, fn) })
	return snap, err
}

// view and update are for calls that must succeed.
func (r *run) view(s tokenguard.Store, name string) tokenguard.Snapshot {
	r.Helper()
	snap, err := r.tryView(r.Context(), s, name)
	if err != nil {
		r.stop("View: %v", err)
	}
	return snap
}

func (r *run) update(s tokenguard.Store, name string, fn func(tokenguard.Snapshot) ([]byte, error)) tokenguard.Snapshot {
	r.Helper()
	snap, err := r.tryUpdate(r.Context(), s, name, fn)
	if err != nil {
		r.stop("Update: %v", err)
	}
	return snap
}

func (r *run) put(s tokenguard.Store, name, data string) tokenguard.Snapshot {
	r.Helper()
	return r.update(s, name, func(tokenguard.Snapshot) ([]byte, error) { return []byte(data), nil })
}

// same reports a snapshot that is not the wanted document. Now may differ.
func (r *run) same(what string, got, want tokenguard.Snapshot) {
	r.Helper()
	if string(got.Data) != string(want.Data) || got.Rev != want.Rev || got.Epoch != want.Epoch {
		r.Errorf("%s: %s, want %s", what, show(got), show(want))
	}
}
