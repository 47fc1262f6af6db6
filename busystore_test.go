package tokenguard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// slowRead is a store whose answers to View are old when they come.
type slowRead struct {
	Store
	takes time.Duration
}

func (s *slowRead) View(ctx context.Context, name string) (Snapshot, error) {
	snap, err := s.Store.View(ctx, name)
	time.Sleep(s.takes)
	return snap, err
}

// A call waits for another process also where each read of the store finds a new document: its own look is no change that it
// has slept over.
func TestACallWaitsWhileOthersCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStore()
		other := newTestGuard(t, func(context.Context, Request) (Token, error) {
			time.Sleep(10 * time.Second)
			return NewTokenIn("of the other", time.Hour), nil
		}, WithStore(memory), WithName("n"))
		g := newTestGuard(t, func(context.Context, Request) (Token, error) { return Token{}, errors.New("asked") }, WithStore(&slowRead{memory, 30 * time.Millisecond}), WithName("n"), WithFreshness(0))
		go func() { _, _ = other.Token(t.Context()) }()
		synctest.Wait()
		stop := make(chan struct{})
		go func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(25 * time.Millisecond):
					_ = other.Adopt(context.Background(), NewTokenIn(fmt.Sprint("of others ", n), time.Hour).WithScope("other"))
				}
			}
		}()
		grant, err := g.Acquire(t.Context(), Request{})
		close(stop)
		require.NoError(t, err)
		assert.Equal(t, "of the other", grant.Token.Value())
	})
}

// busyStore is one in which another process has committed before each read.
type busyStore struct {
	Store
	before func()
}

func (s *busyStore) View(ctx context.Context, name string) (Snapshot, error) {
	if s.before != nil {
		s.before()
	}
	return s.Store.View(ctx, name)
}

func TestACallWaitsOnABusyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStore()
		other := newTestGuard(t, func(context.Context, Request) (Token, error) {
			time.Sleep(10 * time.Second)
			return NewTokenIn("of the other", time.Hour), nil
		}, WithStore(memory), WithName("n"))
		n := 0
		busy := &busyStore{Store: memory}
		g := newTestGuard(t, func(context.Context, Request) (Token, error) { return Token{}, errors.New("asked") }, WithStore(busy), WithName("n"), WithFreshness(0))
		go func() { _, _ = other.Token(t.Context()) }()
		synctest.Wait()
		busy.before = func() {
			n++
			assert.NoError(t, other.Adopt(context.Background(), NewTokenIn(fmt.Sprint("of others ", n), time.Hour).WithScope("other")))
		}
		grant, err := g.Acquire(t.Context(), Request{})
		busy.before = nil
		require.NoError(t, err, "after %d reads", n)
		assert.Equal(t, "of the other", grant.Token.Value())
	})
}
