package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// viewedStore is a store in which something happens around each read.
type viewedStore struct {
	Store
	before, after func()
}

func (s *viewedStore) View(ctx context.Context, name string) (Snapshot, error) {
	s.before()
	defer s.after()
	return s.Store.View(ctx, name)
}

// A call waits for another process also where each read of the store finds a new document: its own look is no change that it
// has slept over.
func TestACallWaitsOnABusyStore(t *testing.T) {
	none := func() {}
	for name, busy := range map[string]func(s *viewedStore, commit func()){
		"a commit before each read": func(s *viewedStore, commit func()) { s.before = commit },
		"one in each read":          func(s *viewedStore, commit func()) { s.after = commit },
		"commits all the time, and reads that take longer": func(s *viewedStore, commit func()) {
			s.after = func() { time.Sleep(30 * time.Millisecond) }
			go func() {
				for range 450 { // a while longer than the other's acquisition takes
					time.Sleep(25 * time.Millisecond)
					commit()
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &viewedStore{NewMemoryStore(), none, none}
				other := newTestGuard(t, func(context.Context, Request) (Token, error) {
					time.Sleep(10 * time.Second)
					return NewTokenIn("of the other", time.Hour), nil
				}, WithStore(s.Store), WithName("n"))
				g := newTestGuard(t, func(context.Context, Request) (Token, error) { return Token{}, errors.New("asked") }, WithStore(s), WithName("n"), WithFreshness(0))
				go func() { _, _ = other.Token(t.Context()) }()
				synctest.Wait()
				var n atomic.Int64
				busy(s, func() {
					assert.NoError(t, other.Adopt(context.Background(), NewTokenIn(fmt.Sprint("of others ", n.Add(1)), time.Hour).WithScope("other")))
				})
				grant, err := g.Acquire(t.Context(), Request{})
				require.NoError(t, err, "after %d commits", n.Load())
				assert.Equal(t, "of the other", grant.Token.Value())
				time.Sleep(2 * time.Second)
				s.before, s.after = none, none
			})
		})
	}
}

// Wait does not go round without sleeping either.
func TestWaitSleepsOnABusyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := func() {}
		s := &viewedStore{NewMemoryStore(), none, none}
		other := newTestGuard(t, giveToken("of the other"), WithStore(s.Store), WithName("n"))
		g := newTestGuard(t, giveToken("own"), WithStore(s), WithName("n"), WithFreshness(0))
		_, err := other.Token(t.Context())
		require.NoError(t, err)
		ctx, leave := context.WithCancel(t.Context())
		n, begin := 0, time.Now()
		s.before = func() {
			if n++; n > 100 && time.Since(begin) == 0 {
				leave()
			}
			assert.NoError(t, other.Report(context.Background(), Outcome{TokenID: TokenID("of the other"), Caller: "x", Failure: limited(time.Duration(n) * time.Second)}))
		}
		grant, err := g.Wait(ctx, Request{Scope: "mine"})
		s.before = none
		require.NoError(t, err, "after %d reads in %v", n, time.Since(begin))
		assert.Equal(t, SourceRequest, grant.Source)
		assert.Equal(t, 5*time.Minute, time.Since(begin))
	})
}
