package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/internal/ledger"
	"github.com/tokenguard/tokenguard/internal/secrets"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// presenting is an upstream with a store before it, both of which see what I11 says of refresh tokens.
type presenting struct {
	t     *testing.T
	up    *tokenguardtest.Upstream
	store *countedStore
	opts  []tokenguard.Option // of each process

	elsewhere bool // the account is renewed elsewhere, too: of that the store knows nothing

	mu        sync.Mutex
	committed map[string]int // by account: the generation of the refresh token that the newest commit holds
	inside    map[string]int // by account: presentations in progress
}

func newPresenting(t *testing.T, rotation tokenguardtest.Rotation) *presenting {
	p := &presenting{t: t, up: &tokenguardtest.Upstream{Rotation: rotation, Leeway: 30 * time.Second}, committed: map[string]int{}, inside: map[string]int{}}
	p.store = &countedStore{Store: tokenguard.NewMemoryStore()}
	return p
}

// View is the store's.
func (p *presenting) View(ctx context.Context, name string) (tokenguard.Snapshot, error) {
	return p.store.View(ctx, name)
}

// Update notes the refresh tokens of the document that is taken.
func (p *presenting) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	snap, err := p.store.Update(ctx, name, fn)
	if err == nil {
		d, err := ledger.Decode(snap.Data)
		assert.NoError(p.t, err)
		p.mu.Lock()
		defer p.mu.Unlock()
		for account, r := range identities(d) {
			p.committed[account] = refreshNames()[r.Identity.Hash].generation
		}
	}
	return snap, err
}

func (p *presenting) Close() error { return nil }

// open is a process whose RenewalFunc hands the upstream's answer to then, if that is set.
func (p *presenting) open(then func(context.Context, tokenguard.Token, error) (tokenguard.Token, error), opts ...tokenguard.Option) *tokenguard.Guard {
	p.t.Helper()
	renew := tokenguardtest.RenewalFunc(p.up.Client(), "http://upstream.example")
	opts = append([]tokenguard.Option{tokenguard.WithStore(p), tokenguard.WithName("guests"), tokenguard.WithFreshness(0), tokenguard.WithRenewal(
		func(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
			name := refreshNames()[secrets.Hash("refresh", old.RefreshToken())]
			p.mu.Lock()
			assert.True(p.t, p.elsewhere || name.generation >= p.committed[name.account], "%s of %s is presented after its successor's commit", old.RefreshToken(), name.account)
			p.inside[name.account]++
			assert.Equal(p.t, 1, p.inside[name.account], "%s is presented twice at once", old.RefreshToken())
			p.mu.Unlock()
			token, err := renew(ctx, old)
			p.mu.Lock()
			p.inside[name.account]--
			p.mu.Unlock()
			if then != nil {
				return then(ctx, token, err)
			}
			return token, err
		})}, append(p.opts, opts...)...)
	g, err := tokenguard.New(tokenguardtest.RequestFunc(p.up.Client(), "http://upstream.example"), opts...)
	require.NoError(p.t, err)
	return g
}

// again is how often the upstream met a refresh token that it had replaced.
func (p *presenting) again() (n int) {
	for _, q := range p.up.Presentations() {
		if q.Result == tokenguardtest.Recovered || q.Result == tokenguardtest.Reused {
			n++
		}
	}
	return n
}

// token is what a call gets; without one its error is nil, too.
func (p *presenting) calls(g *tokenguard.Guard, every time.Duration, d time.Duration) (without int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		if _, err := g.Token(p.t.Context()); err != nil {
			without++
		}
	}
	return without
}

// An answer that comes long after its context ended, when another process has renewed the account meanwhile, takes no place
// of what came after it, and is used up where nothing did.
func TestRenewalAnswersLate(t *testing.T) {
	pace := time.Duration(amount(3, 1)) * time.Minute
	for _, rotation := range []tokenguardtest.Rotation{tokenguardtest.RotateNever, tokenguardtest.RotateParent, tokenguardtest.RotateLeeway, tokenguardtest.RotateStrict} {
		for _, late := range []time.Duration{12 * time.Second, 13 * time.Second, 16 * time.Second, 18 * time.Second, time.Minute, 30 * time.Minute, 3 * time.Hour} {
			t.Run(fmt.Sprint(rotation, ", ", late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPresenting(t, rotation)
					slow := true
					first := p.open(func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
						if slow {
							slow = false
							time.Sleep(late)
						}
						return token, err
					})
					other := p.open(nil)
					token, err := first.Token(t.Context())
					require.NoError(t, err)
					require.NoError(t, first.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
					time.Sleep(time.Hour)
					go func() { _, _ = first.Token(context.Background()) }()
					time.Sleep(time.Second)
					p.calls(other, time.Second, time.Minute)
					without := p.calls(other, pace, 6*time.Hour)
					assert.Zero(t, without)
					assert.Zero(t, p.calls(first, pace, 3*time.Hour))
					want, again := 1, 0
					if late > 17*time.Second && rotation != tokenguardtest.RotateNever { // it was presented once more
						if again = 1; rotation == tokenguardtest.RotateStrict {
							want = 2
						}
					}
					assert.Equal(t, want, p.up.Counts().Issued, "sign-ups")
					assert.LessOrEqual(t, p.again(), again)
					require.NoError(t, first.Close())
					require.NoError(t, other.Close())
				})
			})
		}
	}
}

// An older value that comes late is not handed out in place of the newer one: an upstream that ends the older with the newer
// would refuse it, and the account with it.
func TestRenewalAnswersLateWithAnOlderValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPresenting(t, tokenguardtest.RotateNever)
		slow := true
		first := p.open(func(_ context.Context, token tokenguard.Token, err error) (tokenguard.Token, error) {
			if slow {
				slow = false
				time.Sleep(10 * time.Minute)
			}
			return token, err
		})
		other := p.open(nil)
		_, err := first.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Hour)
		go func() { _, _ = first.Token(context.Background()) }()
		time.Sleep(time.Minute)
		newer, err := other.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(20 * time.Minute)
		for _, g := range []*tokenguard.Guard{first, other} {
			got, err := g.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, newer.ID(), got.ID())
			require.NoError(t, g.Close())
		}
	})
}

// A function that panics, ends its goroutine or says in many words that the account is gone, in two processes on one file:
// the account lives on but for the last, and the panic's words mean nothing.
func TestRenewalFuncMisbehaves(t *testing.T) {
	for name, c := range map[string]struct {
		does    func()
		err     error
		signUps int
	}{
		"panics":               {does: func() { panic("invalid_grant: the account was deleted") }, signUps: 1},
		"panics with the end":  {does: func() { panic(fmt.Errorf("deep: %w", tokenguard.ErrIdentityEnded)) }, signUps: 1},
		"panics with nil":      {does: func() { panic(new(runtime.PanicNilError)) }, signUps: 1},
		"Goexit":               {does: runtime.Goexit, signUps: 1},
		"ended, deep":          {err: fmt.Errorf("a: %w", errors.Join(errors.New("other"), fmt.Errorf("b: %w", fmt.Errorf("c: %w", errors.Join(tokenguard.ErrIdentityEnded, context.DeadlineExceeded))))), signUps: 2},
		"ended, of a 503":      {err: errors.Join(tokenguard.Failed(serverDown), tokenguard.ErrIdentityEnded), signUps: 2},
		"ended, of a 429":      {err: errors.Join(tokenguard.Failed(tooFast), tokenguard.ErrIdentityEnded), signUps: 2},
		"a nil error in error": {err: (*tokenguard.RequestError)(nil), signUps: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newAccounts()
				file := t.TempDir() + "/state"
				process := func() *tokenguard.Guard {
					g, err := tokenguard.New(u.signUp, tokenguard.WithStateFile(file), tokenguard.WithName("guests"), tokenguard.WithFreshness(0), tokenguard.WithRenewal(u.renew))
					require.NoError(t, err)
					return g
				}
				guards := []*tokenguard.Guard{process(), process()}
				token, err := guards[0].Token(t.Context())
				require.NoError(t, err)
				require.NoError(t, guards[0].Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
				time.Sleep(56 * time.Minute)
				u.fail = func() error {
					if c.does != nil {
						c.does()
					}
					return c.err
				}
				for range 20 {
					for _, g := range guards {
						_, err := g.Token(t.Context())
						require.NoError(t, err, "the value lasts")
					}
					time.Sleep(10 * time.Second)
				}
				u.fail = nil
				time.Sleep(11 * time.Minute)
				for _, g := range guards {
					got, err := g.Token(t.Context())
					require.NoError(t, err)
					assert.True(t, u.works(got))
				}
				assert.Equal(t, c.signUps, u.signups)
				assert.False(t, u.overlap)
				for _, g := range guards {
					require.NoError(t, g.Close())
				}
			})
		})
	}
}
