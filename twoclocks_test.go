package tokenguard

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two processes are handed one value, and read their clocks a moment apart. It is one renewal, by the end of its refresh token, too.
func TestTheSameValueCountsOnceByTwoClocks(t *testing.T) {
	memory := NewMemoryStore()
	renew := func(context.Context, Token) (Token, error) { return Token{}, errors.New("no") }
	open := func() *Guard {
		return newTestGuard(t, func(context.Context, Request) (Token, error) {
			return NewTokenIn("first", time.Hour).WithRefreshToken("r1", time.Now().Add(24*time.Hour)), nil
		}, WithStore(memory), WithName("n"), WithRenewal(renew), WithFreshness(time.Minute))
	}
	g, other := open(), open()
	token, err := g.Token(t.Context())
	require.NoError(t, err)
	_, err = other.Token(t.Context())
	require.NoError(t, err)
	next := NewTokenIn("elsewhere", time.Hour).WithPredecessor(token.ID()).WithRefreshToken("r2", time.Now().Add(48*time.Hour))
	require.NoError(t, g.Adopt(t.Context(), next))
	require.NoError(t, other.Adopt(t.Context(), next))
	last := open()
	_, err = last.Token(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1, last.Stats().Renewals.Succeeded)
}

// doubtStore has a clock, and answers late when told to.
type doubtStore struct {
	Store
	late atomic.Int64
}

func (s *doubtStore) View(ctx context.Context, name string) (Snapshot, error) {
	snap, err := s.Store.View(ctx, name)
	snap.Now = time.Now()
	return snap, err
}

func (s *doubtStore) Update(ctx context.Context, name string, fn func(Snapshot) ([]byte, error)) (Snapshot, error) {
	now := time.Now()
	snap, err := s.Store.Update(ctx, name, func(sn Snapshot) ([]byte, error) { sn.Now = now; return fn(sn) })
	snap.Now = now
	time.Sleep(time.Duration(s.late.Load()))
	return snap, err
}

// And where one of them is in doubt about the time, and so has it end earlier.
func TestTheSameValueCountsOnceInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryStore()
		renew := func(context.Context, Token) (Token, error) { return Token{}, errors.New("no") }
		open := func() (*Guard, *doubtStore) {
			s := &doubtStore{Store: memory}
			return newTestGuard(t, func(context.Context, Request) (Token, error) {
				return NewTokenIn("first", time.Hour).WithRefreshToken("r1", time.Time{}), nil
			}, WithStore(s), WithName("n"), WithRenewal(renew), WithFreshness(time.Minute)), s
		}
		g, _ := open()
		other, slow := open()
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		_, err = other.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		slow.late.Store(int64(1500 * time.Millisecond))
		require.NoError(t, other.Adopt(t.Context(), NewTokenIn("x", time.Hour).WithScope("x")))
		slow.late.Store(0)
		require.Greater(t, other.meter.Read().Doubt, time.Second)
		next := NewTokenIn("elsewhere", time.Hour).WithPredecessor(token.ID())
		require.NoError(t, g.Adopt(t.Context(), next))
		require.NoError(t, other.Adopt(t.Context(), next))
		last, _ := open()
		_, err = last.Token(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 1, last.Stats().Renewals.Succeeded)
	})
}
