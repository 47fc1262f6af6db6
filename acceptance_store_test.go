package tokenguard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// readOnlyStore can be read when it cannot be written.
type readOnlyStore struct {
	mapStore
	full error
}

func (s *readOnlyStore) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if s.full != nil {
		return tokenguard.Snapshot{}, s.full
	}
	return s.mapStore.Update(ctx, name, fn)
}

// "If the store cannot be read or written ... usable cached tokens are still served": also those that are due for a
// successor, which cannot be had then.
func TestAcceptStoreDownServesTokensDueForASuccessor(t *testing.T) {
	broken := errors.New("no space left")
	for name, fail := range map[string]func(*readOnlyStore){
		"not read":    func(s *readOnlyStore) { s.set(func() { s.down = broken }) },
		"not written": func(s *readOnlyStore) { s.full = broken },
	} {
		for stretch, test := range map[string]struct {
			age  time.Duration
			opts []tokenguard.Option
		}{
			"its last seconds": {time.Hour - 1, nil},
			"refresh ahead":    {55 * time.Minute, []tokenguard.Option{tokenguard.WithRefreshAhead(10 * time.Minute)}},
		} {
			t.Run(name+", "+stretch, func(t *testing.T) {
				s := &readOnlyStore{}
				u := newUser(t, append(onStore(s), test.opts...)...)
				u.up.lifetime = time.Hour
				token := u.served(acquired, plain).Token
				u.clock.move(test.age)
				fail(s)
				assert.Equal(t, token.ID(), u.served(cached, plain).Token.ID())
				u.clock.set(oddStart.Add(time.Hour))
				_, err := u.Acquire(t.Context(), plain)
				require.ErrorIs(t, err, tokenguard.ErrStore)
				require.ErrorIs(t, err, broken)
				assert.Equal(t, 1, u.up.count())
			})
		}
	}
}

// The same value is in the grant, the error and Explain, which changes nothing.
func TestAcceptExplainAgreesWithAcquire(t *testing.T) {
	agree := func(t *testing.T, u *user, req tokenguard.Request) {
		t.Helper()
		e, explained := u.Explain(t.Context(), req)
		grant, err := u.Acquire(t.Context(), req)
		want := grant.Verdict()
		if err != nil {
			var refused *tokenguard.RefusedError
			require.ErrorAs(t, err, &refused)
			want = refused.Verdict
		}
		assert.Equal(t, want, e.Verdict)
		if want.Step == tokenguard.StepStore {
			assert.Equal(t, err, explained)
		} else {
			assert.NoError(t, explained)
		}
	}
	for name, change := range map[string]func(*user, *readOnlyStore){
		"a good store":           func(*user, *readOnlyStore) {},
		"a store that is down":   func(_ *user, s *readOnlyStore) { s.set(func() { s.down = errors.New("gone") }) },
		"a guard that is closed": func(u *user, _ *readOnlyStore) { require.NoError(u.t, u.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &readOnlyStore{}
			u := newUser(t, onStore(s)...)
			u.up.lifetime = time.Hour
			token := u.served(acquired, plain).Token
			change(u, s)
			for range 2 {
				agree(t, u, plain)
				agree(t, u, scoped("other"))
				agree(t, u, with(serverDown, token))
				agree(t, u, tokenguard.Request{Kind: tokenguard.Personal})
				u.clock.set(oddStart.Add(300*time.Second - 1))
			}
			s.set(func() { s.down = nil })
			assert.Equal(t, 1, u.up.count())
		})
	}
	t.Run("a store that was never there", func(t *testing.T) {
		s := &readOnlyStore{}
		s.down = errors.New("gone")
		u := newUser(t, onStore(s)...)
		agree(t, u, plain)
		agree(t, u, tokenguard.Request{Failure: outOfQuota, Failing: "unknown"})
	})
}

// "A store that sets it decides; WithClock beside it is an error", also where New could not ask the store.
func TestAcceptClockBesideTheStoresClock(t *testing.T) {
	s := &mapStore{clock: &handClock{now: oddStart}, down: errors.New("not yet")}
	u := newUser(t, onStore(s)...)
	s.set(func() { s.down = nil })
	_, err := u.Acquire(t.Context(), plain)
	require.ErrorIs(t, err, tokenguard.ErrStore)
	var mistake *tokenguard.ConfigError
	require.ErrorAs(t, err, &mistake)
	assert.Equal(t, "WithClock", mistake.Field)
	assert.Zero(t, u.up.count())
}

// "Unwrap gives the remembered failure, rebuilt after a restart": also the one that closed its own key and, by its
// Retry-After, the whole guard.
func TestAcceptRetryAfterRemembersItsFailure(t *testing.T) {
	file := tokenguard.WithStateFile(t.TempDir() + "/state")
	u := newUser(t, file)
	f := accountBan
	f.Header = map[string][]string{"Retry-After": {"7200"}}
	u.up.next = []tokenguard.RequestFunc{failing(f)}
	failed := u.fails(scoped("a"))
	refusal := u.refused(tokenguard.ReasonRetryAfter, scoped("b"))
	assert.ErrorIs(t, refusal, failed.Unwrap())
	require.NoError(t, u.Close())
	u.Guard = u.open(file)
	refusal = u.refused(tokenguard.ReasonRetryAfter, scoped("b"))
	assert.ErrorContains(t, refusal.Unwrap(), "banned")
}
