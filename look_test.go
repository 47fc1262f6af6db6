package tokenguard

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard/internal/replica"
)

// hanging is a store that does not answer while it hangs, not even to the end of a context.
type hanging struct {
	Store
	mu    sync.Mutex
	until chan struct{} // nil: it answers
	looks atomic.Int64
}

func (s *hanging) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = make(chan struct{})
}

func (s *hanging) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.until)
	s.until = nil
}

func (s *hanging) answer() {
	s.mu.Lock()
	until := s.until
	s.mu.Unlock()
	if until != nil {
		<-until
	}
}

func (s *hanging) View(ctx context.Context, name string) (Snapshot, error) {
	s.looks.Add(1)
	s.answer()
	return s.Store.View(ctx, name)
}

func (s *hanging) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	s.answer()
	return s.Store.Update(ctx, name, fn)
}

// A store that hangs costs the calls that were there one wait, and later ones nothing: a token in memory is served.
func TestStoreThatHangs(t *testing.T) {
	store := &hanging{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		store.hang()
		time.Sleep(2 * time.Second)
		before := store.looks.Load()
		start := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if grant, err := r.Acquire(context.Background(), Request{}); err != nil || grant.Token.ID() != token.ID() {
					t.Error(grant, err)
				}
			})
		}
		all.Go(func() { // whose caller has less time than that
			ctx, leave := context.WithTimeout(context.Background(), time.Second)
			defer leave()
			if grant, err := r.Acquire(ctx, Request{}); err != nil || time.Since(start) != time.Second {
				t.Error(grant, err)
			}
		})
		all.Wait()
		require.Equal(t, replica.LookTimeout, time.Since(start), "one wait for all")
		require.EqualValues(t, 1, store.looks.Load()-before, "one look for all")

		start = time.Now()
		for range 100 {
			require.Equal(t, token.ID(), r.must(Request{}).Token.ID())
		}
		require.ErrorIs(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: quota}), ErrStore)
		require.Zero(t, time.Since(start), "nobody waits any more")
		refused := r.no(ReasonStoreUnavailable, Request{Scope: "other"})
		require.ErrorIs(t, refused, ErrStore)
		r.no(ReasonStoreUnavailable, Request{Failure: quota, Failing: token.ID()})
		require.LessOrEqual(t, time.Since(start), 2*replica.SlowLook, "but a moment, who has no token")
		require.LessOrEqual(t, store.looks.Load()-before, int64(2))

		store.release()
		synctest.Wait()
		time.Sleep(time.Minute)
		r.no(ReasonTokenTooNew, Request{Failure: quota, Failing: token.ID()}) // finds out that it is back
		snap, err := store.Store.View(t.Context(), "hangs")
		require.NoError(t, err)
		require.Contains(t, string(snap.Data), `"quota"`, "what was reported meanwhile is stored")
	}, WithStore(store), WithName("hangs"))
}

// failing answers each look with an error at once.
type failing struct {
	Store
	fails atomic.Bool
}

var errAtOnce = errors.New("connection refused")

func (s *failing) View(ctx context.Context, name string) (Snapshot, error) {
	if s.fails.Load() {
		return Snapshot{}, errAtOnce
	}
	return s.Store.View(ctx, name)
}

// One that fails at once is asked by the next call again.
func TestStoreThatIsBackAtOnce(t *testing.T) {
	store := &failing{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		store.fails.Store(true)
		require.ErrorIs(t, r.no(ReasonStoreUnavailable, Request{}), errAtOnce)
		store.fails.Store(false)
		require.Equal(t, SourceRequest, r.must(Request{}).Source)
	}, WithStore(store), WithName("back"))
}

// panicking panics in View.
type panicking struct{ Store }

func (panicking) View(context.Context, string) (Snapshot, error) { panic("in View") }

func TestStoreThatPanics(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var panicked *PanicError
		require.ErrorAs(t, r.no(ReasonStoreUnavailable, Request{}), &panicked)
	}, WithStore(panicking{NewMemoryStore()}), WithName("panics"))
}

// A caller that waits for a look that is lost gets nothing that was rejected meanwhile.
func TestRejectedDuringASlowLook(t *testing.T) {
	store := &hanging{Store: NewMemoryStore()}
	bubble(t, func(t *testing.T, r *rig) {
		token := r.must(Request{}).Token
		time.Sleep(time.Minute)
		store.hang()
		defer store.release()
		go func() { _, _ = r.Acquire(context.Background(), Request{}) }()
		time.Sleep(replica.LookTimeout * 3 / 4)
		joined := make(chan error)
		go func() {
			_, err := r.Acquire(context.Background(), Request{})
			joined <- err
		}()
		time.Sleep(replica.LookTimeout / 2)
		require.ErrorIs(t, r.Report(t.Context(), Outcome{TokenID: token.ID(), Failure: unauth}), ErrStore)
		require.ErrorIs(t, <-joined, ErrStore)
	}, WithStore(store), WithName("rejected"))
}

// misbehaving is a store of which one call in the background goes wrong: while a caller waits for another process.
type misbehaving struct {
	Store
	looks atomic.Int64
	look  func() // called in the second and third look
	watch func()
}

func (s *misbehaving) View(ctx context.Context, name string) (Snapshot, error) {
	if n := s.looks.Add(1); s.look != nil && (n == 2 || n == 3) {
		s.look()
	}
	return s.Store.View(ctx, name)
}

func (s *misbehaving) Watch(context.Context, string) <-chan struct{} {
	if s.watch != nil {
		s.watch()
	}
	return nil
}

// Who waits for another process's acquisition is released in time, and the process lives, whatever the store does in
// the goroutine that looks for all of them.
func TestStoreThatMisbehavesWhileACallerWaits(t *testing.T) {
	hang := func() { time.Sleep(10 * time.Minute) }
	for name, c := range map[string]struct {
		look, watch func()
		served      bool
	}{
		"panics in View":        {look: func() { panic("in View") }},
		"ends View's goroutine": {look: runtime.Goexit},
		"hangs in View":         {look: hang},
		"panics in Watch":       {watch: func() { panic("in Watch") }, served: true},
		"ends Watch":            {watch: runtime.Goexit, served: true},
		"hangs in Watch":        {watch: hang, served: true},
	} {
		t.Run(name, func(t *testing.T) {
			store := NewMemoryStore()
			bubble(t, func(t *testing.T, r *rig) {
				r.up.replies = []func(context.Context, Request) (Token, error){func(context.Context, Request) (Token, error) {
					time.Sleep(20 * time.Second)
					return NewTokenIn("value", time.Hour), nil
				}}
				first := make(chan error, 1)
				go func() { _, err := r.Token(context.Background()); first <- err }()
				time.Sleep(time.Second)
				other := r.open(WithStore(&misbehaving{Store: store, look: c.look, watch: c.watch}), WithName("x"))
				began := time.Now()
				token, err := other.Token(context.Background())
				if c.served || err == nil {
					require.NoError(t, err)
					require.Equal(t, "value", token.Value())
				} else {
					require.ErrorIs(t, err, ErrStore)
				}
				require.Less(t, time.Since(began), 25*time.Second)
				require.NoError(t, <-first)
				require.NoError(t, other.Close())
				time.Sleep(time.Hour) // what hangs returns
			}, WithStore(store), WithName("x"))
		})
	}
}
