package tokenguard_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
)

// "All that must outlive a process is one small document": whatever state a guard is in, one that opens its state later
// or stands beside it decides the same, at once and as time goes on.
func TestEveryStateOutlivesItsProcess(t *testing.T) {
	paused := tooFast
	paused.Header = map[string][]string{"Retry-After": {"1200"}}
	for name, reach := range map[string]func(*user){
		"nothing": func(*user) {},
		"a token": func(u *user) { u.served(acquired, plain) },
		"adopted": func(u *user) { require.NoError(u.t, u.Adopt(u.t.Context(), tokenguard.NewToken("x", time.Time{}))) },
		"failed":  func(u *user) { u.up.next = []tokenguard.RequestFunc{failing(serverDown)}; u.fails(plain) },
		"closed":  func(u *user) { u.up.next = []tokenguard.RequestFunc{failing(accountBan)}; u.fails(plain) },
		"left alone": func(u *user) {
			u.up.next = []tokenguard.RequestFunc{failing(tokenguard.Failure{StatusCode: 503, Header: map[string][]string{"Retry-After": {"7200"}}})}
			u.fails(plain)
		},
		"paused": func(u *user) { u.refused(tokenguard.ReasonUpstreamRateLimited, tokenguard.Request{Failure: paused}) },
		"rejected": func(u *user) {
			token := u.served(acquired, plain).Token
			u.clock.move(time.Minute)
			u.report(tokenguard.Outcome{TokenID: token.ID(), Failure: unauthorized})
		},
		"suspect": func(u *user) {
			u.report(tokenguard.Outcome{TokenID: u.served(acquired, plain).Token.ID(), Failure: outOfQuota})
		},
		"spent": func(u *user) {
			u.report(tokenguard.Outcome{TokenID: u.served(acquired, plain).Token.ID(), Failure: noneLeft})
		},
		"spent until its reset": func(u *user) {
			u.report(tokenguard.Outcome{TokenID: u.served(acquired, plain).Token.ID(), Failure: noneLeft, ResetAt: u.now().Add(40 * time.Minute)})
		},
		"cleared": func(u *user) {
			u.report(tokenguard.Outcome{TokenID: u.served(acquired, plain).Token.ID(), Failure: noneLeft})
			require.NoError(u.t, u.Clear(u.t.Context(), tokenguard.Clear{Suspicion: "*"}))
		},
		"a start for a failure": func(u *user) { u.served(acquired, tokenguard.Request{Caller: "test", Failure: serverDown}) },
		"three starts": func(u *user) {
			for _, scope := range []string{"1", "2", "3"} {
				u.served(acquired, scoped(scope))
				u.clock.move(300 * time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			u := newUser(t, tokenguard.WithStateFile(path))
			beside := u.open(tokenguard.WithStateFile(path))
			reach(u)
			ask := func(g *tokenguard.Guard) (all []tokenguard.Explanation) {
				for _, req := range []tokenguard.Request{plain, scoped("1"), scoped("other"), {Kind: tokenguard.Personal},
					{Caller: "test", Failure: serverDown}, {Caller: "test", Failure: outOfQuota}, {Failure: accountBan}} {
					for _, value := range []string{"", "secret-value-1"} {
						req.Failing = value
						e, err := g.Explain(t.Context(), req)
						require.NoError(t, err)
						all = append(all, e)
					}
				}
				return all
			}
			for range 3 {
				require.NoError(t, u.Report(t.Context(), tokenguard.Outcome{TokenID: "unknown"}))
				want := ask(u.Guard)
				assert.Equal(t, want, ask(beside), "a process beside it")
				again, err := tokenguard.New(u.up.request, tokenguard.WithClock(u.clock), tokenguard.WithStateFile(path))
				require.NoError(t, err)
				assert.Equal(t, want, ask(again), "a process after it")
				require.NoError(t, again.Close())
				u.clock.move(19 * time.Minute)
			}
		})
	}
}

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
func TestStoreDownServesTokensDueForASuccessor(t *testing.T) {
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
func TestExplainAgreesWithAcquire(t *testing.T) {
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
func TestClockBesideTheStoresClock(t *testing.T) {
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
func TestRetryAfterRemembersItsFailure(t *testing.T) {
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

// Attempts says by the same error as all other methods that the store cannot be read.
func TestAttemptsWithoutAStore(t *testing.T) {
	away := errors.New("no route to it")
	u := newUser(t, onStore(&mapStore{down: away})...)
	_, err := u.Attempts(t.Context())
	require.ErrorIs(t, err, tokenguard.ErrStore)
	require.ErrorIs(t, err, away)
}
