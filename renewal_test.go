package tokenguard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/inspect"
)

// accounts is an upstream whose accounts are renewed with refresh tokens that rotate strictly: one that is presented a
// second time ends its account.
type accounts struct {
	mu      sync.Mutex
	signups int
	serial  int
	live    map[string]string // refresh token: account
	values  map[string]time.Time
	shown   map[string]int // refresh token: presentations
	inside  map[string]int // account: presentations in progress
	fail    func() error   // of renewals
	cut     bool           // the next renewal's answer is lost
	life    time.Duration
	takes   time.Duration
	overlap bool
}

func newAccounts() *accounts {
	return &accounts{live: map[string]string{}, values: map[string]time.Time{}, shown: map[string]int{}, inside: map[string]int{}, life: time.Hour}
}

func (u *accounts) issue(account string) tokenguard.Token {
	u.serial++
	value, refresh := fmt.Sprintf("value number %d", u.serial), fmt.Sprintf("refresh number %d", u.serial)
	u.live[refresh], u.values[value] = account, time.Now().Add(u.life)
	return tokenguard.NewTokenIn(value, u.life).WithRefreshToken(refresh, time.Time{}).WithAccount(account)
}

func (u *accounts) signUp(context.Context, tokenguard.Request) (tokenguard.Token, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.signups++
	return u.issue(fmt.Sprint("account ", u.signups)), nil
}

func (u *accounts) renew(ctx context.Context, old tokenguard.Token) (tokenguard.Token, error) {
	u.mu.Lock()
	refresh := old.RefreshToken()
	u.shown[refresh]++
	account, ok := u.live[refresh]
	u.inside[account]++
	u.overlap = u.overlap || ok && u.inside[account] > 1
	u.mu.Unlock()
	if u.takes > 0 {
		time.Sleep(u.takes)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inside[account]--
	if u.fail != nil {
		if err := u.fail(); err != nil {
			return tokenguard.Token{}, err
		}
	}
	if !ok {
		return tokenguard.Token{}, tokenguard.Failed(tokenguard.Failure{StatusCode: 400, Message: `{"error":"invalid_grant","error_description":"the refresh token was already used"}`})
	}
	delete(u.live, refresh)
	token := u.issue(account)
	if u.cut {
		u.cut = false
		return tokenguard.Token{}, errors.New("read: connection reset by peer")
	}
	return token, nil
}

func (u *accounts) works(t tokenguard.Token) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Now().Before(u.values[t.Value()])
}

func (u *accounts) twice() (n int) {
	for _, times := range u.shown {
		n += max(0, times-1)
	}
	return n
}

func (u *accounts) presented() (n int) {
	for _, times := range u.shown {
		n += times
	}
	return n
}

func (u *accounts) open(t *testing.T, store tokenguard.Store, opts ...tokenguard.Option) *tokenguard.Guard {
	t.Helper()
	g, err := tokenguard.New(u.signUp, append([]tokenguard.Option{tokenguard.WithStore(store), tokenguard.WithName("guests"), tokenguard.WithRenewal(u.renew)}, opts...)...)
	require.NoError(t, err)
	return g
}

// I11. A fortnight of calls in two processes that are restarted every ten minutes, with strict rotation: one sign-up.
func TestI11(t *testing.T) {
	days := int(amount(1, 14))
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), tokenguard.NewMemoryStore()
		processes := []*tokenguard.Guard{u.open(t, store), u.open(t, store)}
		calls, without := 0, 0
		for began, restarted := time.Now(), time.Now(); time.Since(began) < time.Duration(days)*24*time.Hour; time.Sleep(30 * time.Second) {
			if time.Since(restarted) >= 10*time.Minute {
				restarted = time.Now()
				for i, g := range processes {
					require.NoError(t, g.Close())
					processes[i] = u.open(t, store)
				}
			}
			for _, g := range processes {
				calls++
				grant, err := g.Acquire(t.Context(), tokenguard.Request{Caller: "a call"})
				if err != nil || !u.works(grant.Token) {
					without++
				}
			}
		}
		for _, g := range processes {
			require.NoError(t, g.Close())
		}
		t.Logf("%d calls, %d without a token; %d sign-ups, %d renewals, %d presented twice", calls, without, u.signups, u.presented(), u.twice())
		assert.Equal(t, 1, u.signups)
		assert.Zero(t, without)
		assert.Zero(t, u.twice())
		assert.LessOrEqual(t, u.presented(), 375*days/14+1)
		assert.False(t, u.overlap)
	})
}

func renewing(t *testing.T, f func(t *testing.T, u *accounts, g *tokenguard.Guard), opts ...tokenguard.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u := newAccounts()
		g := u.open(t, tokenguard.NewMemoryStore(), opts...)
		f(t, u, g)
		require.NoError(t, g.Close())
	})
}

func upstreamSays(status int, text string, header http.Header) func() error {
	return func() error {
		return tokenguard.Failed(tokenguard.Failure{StatusCode: status, Message: text, Header: header})
	}
}

func TestRenewedTokenKeepsItsIdentity(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		first, err := g.Acquire(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		assert.Empty(t, first.Token.RefreshToken())
		assert.Regexp(t, `^id_[0-9a-f]{16}$`, first.Token.Identity())
		time.Sleep(56 * time.Minute)
		second, err := g.Acquire(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		assert.Equal(t, tokenguard.SourceRenewal, second.Source)
		assert.Equal(t, tokenguard.ReasonRenewed, second.Verdict().Reason)
		assert.Equal(t, first.Token.Identity(), second.Token.Identity())
		assert.False(t, first.Token.Equal(second.Token))
		assert.Empty(t, second.Token.RefreshToken())
		s := g.Stats()
		assert.Equal(t, 1, s.Acquisitions.Day.Used, "a renewal is no start")
		assert.Equal(t, int64(1), s.Calls.Answers[tokenguard.StepRenewal][tokenguard.ReasonRenewed])
		assert.Equal(t, []any{int64(2), int64(2), 0.5}, []any{s.Calls.Total, s.Calls.Served, s.Calls.FilterRate})
	})
}

// What a renewal's failure means.
func TestRenewalFails(t *testing.T) {
	for name, c := range map[string]struct {
		fail    func() error
		hours   int // for which it fails
		signups int // after a day
		ended   bool
	}{
		"an outage":            {upstreamSays(503, "unavailable", nil), 6, 1, false},
		"deleted":              {upstreamSays(400, `{"error":"invalid_grant","error_description":"account deleted"}`, nil), 24, 2, true},
		"ended":                {func() error { return fmt.Errorf("gone: %w", tokenguard.ErrIdentityEnded) }, 24, 2, true},
		"banned":               {upstreamSays(403, `{"error":{"message":"USER_DISABLED"}}`, nil), 24, 1, false},
		"our call":             {upstreamSays(400, `{"error":"invalid_request","error_description":"client_id is missing"}`, nil), 24, 1, false},
		"our key":              {upstreamSays(400, `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}`, nil), 24, 1, false},
		"our client":           {upstreamSays(401, `{"error":"invalid_client"}`, nil), 24, 1, false},
		"slow down":            {upstreamSays(429, "too many requests", http.Header{"Retry-After": {"7200"}}), 6, 1, false},
		"a panic":              {func() error { panic("boom") }, 6, 1, false},
		"a panic in its words": {func() error { panic(`{"error":"invalid_client"}`) }, 6, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
				_, err := g.Token(t.Context())
				require.NoError(t, err)
				began := time.Now()
				u.fail = func() error {
					if time.Since(began) < time.Duration(c.hours)*time.Hour {
						return c.fail()
					}
					return nil
				}
				time.Sleep(55 * time.Minute)
				var back time.Time
				for time.Since(began) < 23*time.Hour {
					token, err := g.Token(t.Context())
					if err == nil && u.works(token) && time.Since(began) > time.Hour && back.IsZero() {
						back = time.Now()
					}
					time.Sleep(time.Duration(amount(2, 1)) * time.Minute)
					if c.ended && time.Since(began) > time.Hour {
						u.fail = nil // the next account is another one
					}
				}
				t.Logf("%d sign-ups, %d presentations, back after %v", u.signups, u.presented(), back.Sub(began))
				assert.Equal(t, c.signups, u.signups)
				if c.hours < 23 && name != "slow down" {
					assert.LessOrEqual(t, back.Sub(began), time.Duration(c.hours)*time.Hour+11*time.Minute)
				}
			})
		})
	}
}

// An endpoint that is down for longer than ReplaceAfter costs one more account.
func TestRenewalReplaceAfter(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		_, err := g.Token(t.Context())
		require.NoError(t, err)
		began := time.Now()
		u.fail = upstreamSays(503, "unavailable", nil)
		for time.Since(began) < 6*time.Hour {
			_, _ = g.Token(t.Context())
			time.Sleep(30 * time.Second)
		}
		assert.Equal(t, 2, u.signups)
	}, tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{ReplaceAfter: time.Hour}))
}

// A process that cannot renew starts nothing while an account lives.
func TestRenewalElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), tokenguard.NewMemoryStore()
		g := u.open(t, store)
		script, err := tokenguard.New(u.signUp, tokenguard.WithStore(store), tokenguard.WithName("guests"))
		require.NoError(t, err)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Hour)
		_, err = script.Token(t.Context())
		var refused *tokenguard.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, tokenguard.ReasonRenewalElsewhere, refused.Verdict.Reason)
		assert.Equal(t, 23*time.Hour, time.Until(refused.Verdict.RetryAt), "ReplaceAfter past the end of the value")
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Second) // the default of WithFreshness
		_, err = script.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, u.signups)
		require.NoError(t, g.Close())
		require.NoError(t, script.Close())
	})
}

// An answer that was cut off after the rotation: the same refresh token is presented once more, and here that ends the
// account.
func TestRenewalAnswerCut(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
		u.cut = true
		time.Sleep(time.Hour)
		for range 20 {
			_, _ = g.Token(t.Context())
			time.Sleep(30 * time.Second)
		}
		assert.Equal(t, 2, u.signups)
		assert.Equal(t, 1, u.twice())
	})
}

// The first call renews and waits; those that come meanwhile go on with the old value, or join.
func TestRenewalWhileOthersGoOn(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		first, err := g.Token(t.Context())
		require.NoError(t, err)
		u.takes = 5 * time.Second
		time.Sleep(56 * time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() {
			grant, err := g.Acquire(t.Context(), tokenguard.Request{})
			assert.NoError(t, err)
			assert.Equal(t, tokenguard.SourceRenewal, grant.Source)
		})
		time.Sleep(time.Second)
		for range 3 {
			before := time.Now()
			grant, err := g.Acquire(t.Context(), tokenguard.Request{})
			require.NoError(t, err)
			assert.True(t, first.Equal(grant.Token))
			assert.Zero(t, time.Since(before))
		}
		wg.Wait()
		time.Sleep(4 * time.Hour) // the value has ended: all wait for one renewal
		presented := u.presented()
		for range 10 {
			wg.Go(func() {
				grant, err := g.Acquire(t.Context(), tokenguard.Request{})
				assert.NoError(t, err)
				assert.True(t, u.works(grant.Token))
			})
		}
		wg.Wait()
		assert.Equal(t, presented+1, u.presented())
		assert.Equal(t, 1, u.signups)
	})
}

// A value that the upstream refuses is renewed at once; one operation that is refused with both causes nothing more.
func TestRenewalOfARefusedValue(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		dead := tokenguard.Failure{StatusCode: 401, Message: "token revoked"}
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		report := func(caller string, token tokenguard.Token, f tokenguard.Failure) {
			require.NoError(t, g.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: caller, Failure: f}))
		}
		for range 60 {
			report("chat", token, tokenguard.Failure{})
			grant, err := g.Acquire(t.Context(), tokenguard.Request{Caller: "profile"})
			if err == nil {
				token = grant.Token
				report("profile", token, dead)
			}
			time.Sleep(30 * time.Second)
			grant, err = g.Acquire(t.Context(), tokenguard.Request{Caller: "chat"})
			require.NoError(t, err)
			token = grant.Token
		}
		assert.Equal(t, 1, u.signups)
		assert.LessOrEqual(t, u.presented(), 2)
	})
}

// A value that ends is not the end of the account: not over a restart, nor with keys, nor without persistence.
func TestRenewalOverRestarts(t *testing.T) {
	key := make([]byte, 32)
	for name, c := range map[string]struct {
		opts    []tokenguard.Option
		signups int
	}{
		"plain":         {nil, 1},
		"encrypted":     {[]tokenguard.Option{tokenguard.WithEncryption(key)}, 1},
		"not persisted": {[]tokenguard.Option{tokenguard.WithoutTokenPersistence()}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, store := newAccounts(), tokenguard.NewMemoryStore()
				g := u.open(t, store, c.opts...)
				token, err := g.Token(t.Context())
				require.NoError(t, err)
				require.NoError(t, g.Close())
				time.Sleep(5 * time.Hour)
				g = u.open(t, store, c.opts...)
				next, err := g.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, c.signups, u.signups)
				assert.Equal(t, c.signups == 1, token.Identity() == next.Identity())
				require.NoError(t, g.Close())
			})
		})
	}
}

// A sign-up of several steps that brings a refresh token alone is an account already.
func TestAccountWithoutAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newAccounts()
		signUp := func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			u.signups++
			u.live["the first"] = "account"
			return tokenguard.NewToken("", time.Time{}).WithRefreshToken("the first", time.Time{}).WithSecret("device", "key of the device"), nil
		}
		g, err := tokenguard.New(signUp, tokenguard.WithRenewal(u.renew))
		require.NoError(t, err)
		u.fail = upstreamSays(503, "unavailable", nil)
		_, err = g.Token(t.Context())
		require.Error(t, err)
		u.fail = nil
		time.Sleep(10 * time.Second)
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "key of the device", token.Secret("device"))
		assert.Equal(t, 1, u.signups)
		require.NoError(t, g.Close())
	})
}

// A successor that was renewed elsewhere is no start.
func TestAdoptASuccessor(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		identity := token.Identity()
		for i := range 22 {
			time.Sleep(30 * time.Minute)
			next := tokenguard.NewTokenIn(fmt.Sprint("renewed elsewhere ", i), time.Hour).WithPredecessor(token.ID())
			require.NoError(t, g.Adopt(t.Context(), next))
			token, err = g.Token(t.Context())
			require.NoError(t, err)
			assert.Equal(t, next.Value(), token.Value())
			assert.Equal(t, identity, token.Identity())
		}
		assert.Equal(t, 1, g.Stats().Acquisitions.Day.Used)
		other := tokenguard.NewTokenIn("of another account", time.Hour).WithPredecessor(token.ID()).WithAccount("another")
		require.NoError(t, g.Adopt(t.Context(), other))
		assert.Equal(t, 2, g.Stats().Acquisitions.Day.Used, "which is charged")
	})
}

// A candidate renews as the guard does, without a call of RenewalFunc.
func TestCandidateRenews(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		for range 10 * 60 {
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		assert.Zero(t, u.twice())
		assert.Equal(t, 10, u.presented())
		candidate := g.Stats().Candidate
		assert.Equal(t, []int64{0, 0}, []int64{candidate.Gained, candidate.Lost})
		assert.Equal(t, uint64(1), candidate.Stats.Acquisitions.Attempts)
	}, tokenguard.WithCandidate(tokenguard.Moderate()))
}

// What an operator sees of an account.
func TestRenewalIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, store := newAccounts(), tokenguard.NewMemoryStore()
		g := u.open(t, store)
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(56 * time.Minute)
		_, err = g.Token(t.Context())
		require.NoError(t, err)
		u.fail = upstreamSays(503, "down for maintenance", nil)
		time.Sleep(2 * time.Hour)
		_, err = g.Token(t.Context())
		var refused *tokenguard.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.ErrorContains(t, refused.Cause, "down for maintenance")
		assert.ErrorIs(t, err, tokenguard.ErrBackoff)
		s := g.Stats().Renewals
		assert.Equal(t, []any{1, 2, 2, uint64(1), uint64(1)}, []any{s.Accounts, s.Needed, s.Hour.Used + 1, s.Succeeded, s.Failed})
		report, err := inspect.Store(t.Context(), store, "guests")
		require.NoError(t, err)
		require.Len(t, report.Accounts, 1)
		assert.Equal(t, []any{token.Identity(), 1}, []any{report.Accounts[0].ID, report.Accounts[0].Renewals})
		assert.Contains(t, report.String(), "a renewal failed at ")
		explained, err := g.Explain(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		assert.Equal(t, tokenguard.StepRenewal, explained.Steps[len(explained.Steps)-1].Step)
		kinds := map[tokenguard.EventKind]int{}
		for e := range g.History() {
			kinds[e.Kind]++
			if e.Kind == tokenguard.EventRenewalFailed {
				assert.Equal(t, tokenguard.StepRenewal, e.Verdict.Step)
				assert.Contains(t, e.Verdict.Detail, "renewal failed (")
			}
		}
		assert.Equal(t, []int{1, 1}, []int{kinds[tokenguard.EventRenewed], kinds[tokenguard.EventRenewalFailed]})
		require.NoError(t, g.Close())
	})
}

// The state of an account, since when, and from when the next call renews it.
func TestIdentityStats(t *testing.T) {
	type want struct {
		state       string
		since, next time.Duration // after the account was acquired; 0: the zero instant
		failures    int
		failure     string
	}
	for name, c := range map[string]struct {
		fail  func() error
		calls []time.Duration
		at    time.Duration
		want  want
	}{
		"living":         {at: 10 * time.Minute, want: want{"living", 0, 55 * time.Minute, 0, ""}},
		"due":            {at: 57 * time.Minute, want: want{"living", 0, 57 * time.Minute, 0, ""}},
		"renewed":        {calls: []time.Duration{56 * time.Minute}, at: time.Hour, want: want{"living", 0, 111 * time.Minute, 0, ""}},
		"backing off":    {upstreamSays(503, "down", nil), []time.Duration{56 * time.Minute}, 56*time.Minute + time.Second, want{"backing_off", 56 * time.Minute, 56*time.Minute + 5*time.Second, 1, "503: down"}},
		"failing":        {upstreamSays(503, "down", nil), []time.Duration{56 * time.Minute}, 57 * time.Minute, want{"failing", 56 * time.Minute, 57 * time.Minute, 1, "503: down"}},
		"banned":         {upstreamSays(403, "USER_DISABLED", nil), []time.Duration{56 * time.Minute}, 57 * time.Minute, want{"closed", 56 * time.Minute, 116 * time.Minute, 1, "403: USER_DISABLED"}},
		"ended":          {upstreamSays(400, "invalid_grant", nil), []time.Duration{56 * time.Minute}, 57 * time.Minute, want{"ended", 56 * time.Minute, 0, 1, "400: invalid_grant"}},
		"slowed down":    {upstreamSays(429, "slow down", http.Header{"Retry-After": {"3600"}}), []time.Duration{56 * time.Minute}, 57 * time.Minute, want{"backing_off", 56 * time.Minute, 116 * time.Minute, 1, "429: slow down"}},
		"ended and dead": {upstreamSays(400, "invalid_grant", nil), []time.Duration{56 * time.Minute}, 3 * time.Hour, want{"ended", 56 * time.Minute, 0, 1, "400: invalid_grant"}},
	} {
		t.Run(name, func(t *testing.T) {
			renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
				token, err := g.Token(t.Context())
				require.NoError(t, err)
				began := time.Now()
				u.fail = c.fail
				for _, at := range c.calls {
					time.Sleep(time.Until(began.Add(at)))
					_, _ = g.Token(t.Context())
				}
				time.Sleep(time.Until(began.Add(c.at)))
				stats := g.Stats()
				all := stats.Renewals.Identities
				require.Len(t, all, 1)
				if all[0].State == "living" || all[0].State == "failing" {
					assert.Equal(t, "keep_current", stats.Recommendation.Action, "nobody has to wait")
				}
				i := all[0]
				assert.Equal(t, token.Identity(), i.ID)
				assert.WithinDuration(t, began, i.Since, 0)
				after := func(at time.Time) time.Duration {
					if at.IsZero() {
						return 0
					}
					return at.Sub(began)
				}
				assert.Equal(t, c.want, want{i.State, after(i.StateSince), after(i.Next), i.Failures, i.Failure})
				if at := c.want.next; at > c.at { // what is foretold comes true, and no earlier
					u.fail = nil
					time.Sleep(time.Until(began.Add(at)) - time.Millisecond)
					shown := u.presented()
					_, _ = g.Token(t.Context())
					assert.Equal(t, shown, u.presented())
					time.Sleep(time.Millisecond)
					_, err = g.Token(t.Context())
					require.NoError(t, err)
					assert.Equal(t, shown+1, u.presented())
				}
			})
		})
	}
}

// A budget that cannot carry the accounts is said beforehand.
func TestRenewalBudgetWarns(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		for i := range 3 {
			_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: fmt.Sprint(i)})
			require.NoError(t, err)
			time.Sleep(10 * time.Minute)
		}
		time.Sleep(30 * time.Minute)
		_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: "0"})
		require.NoError(t, err)
		warned := 0
		for e := range g.History() {
			if e.Kind == tokenguard.EventWarning && strings.Contains(e.Text, "3 accounts need about 4 renewals an hour, and 2 are allowed") {
				warned++
			}
		}
		assert.Equal(t, 1, warned)
		stats := g.Stats().Renewals
		assert.Equal(t, []int{3, 4, 2}, []int{stats.Accounts, stats.Needed, stats.Hour.Limit})
	}, tokenguard.WithRenewalLimits(tokenguard.RenewalLimits{MaxPerHour: 2}))
}

// A document that holds accounts is one that an older program refuses.
func TestRenewalRaisesTheVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			opts []tokenguard.Option
			want string
		}{{nil, `"version":2`}, {[]tokenguard.Option{}, `"version":1`}} {
			u, store := newAccounts(), tokenguard.NewMemoryStore()
			opts := []tokenguard.Option{tokenguard.WithStore(store), tokenguard.WithName("guests")}
			if c.opts == nil {
				opts = append(opts, tokenguard.WithRenewal(u.renew))
			}
			g, err := tokenguard.New(u.signUp, opts...)
			require.NoError(t, err)
			_, err = g.Token(t.Context())
			require.NoError(t, err)
			snap, err := store.View(t.Context(), "guests")
			require.NoError(t, err)
			assert.Contains(t, string(snap.Data), c.want)
			require.NoError(t, g.Close())
		}
	})
}

func TestRenewalLimitsAreChecked(t *testing.T) {
	for field, l := range map[string]tokenguard.RenewalLimits{
		"RenewalLimits.MinInterval":  {MinInterval: -1},
		"RenewalLimits.MaxPerHour":   {MaxPerHour: 10001},
		"RenewalLimits.BackoffBase":  {BackoffBase: 25 * time.Hour},
		"RenewalLimits.MaxBackoff":   {BackoffBase: time.Hour, MaxBackoff: time.Minute},
		"RenewalLimits.Timeout":      {Timeout: 2 * time.Hour},
		"RenewalLimits.ReplaceAfter": {ReplaceAfter: 32 * 24 * time.Hour},
	} {
		_, err := tokenguard.New(newAccounts().signUp, tokenguard.WithRenewalLimits(l))
		var mistake *tokenguard.ConfigError
		require.ErrorAs(t, err, &mistake, field)
		assert.Equal(t, field, mistake.Field)
	}
	_, err := tokenguard.New(newAccounts().signUp, tokenguard.WithRenewal(nil))
	require.ErrorContains(t, err, "WithRenewal")
}

func TestClearIdentity(t *testing.T) {
	renewing(t, func(t *testing.T, u *accounts, g *tokenguard.Guard) {
		token, err := g.Token(t.Context())
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		require.NoError(t, g.Clear(t.Context(), tokenguard.Clear{Identity: token.Identity()}))
		next, err := g.Token(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, token.Identity(), next.Identity())
		assert.Equal(t, 2, u.signups)
	})
}

// One account may be asked for two scopes, with a refresh token for each: neither's renewal is taken for the other's.
func TestOneAccountOfTwoScopesIsRenewedForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newAccounts()
		g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.signups++
			return u.issue("the only account"), nil
		}, tokenguard.WithRenewal(u.renew))
		require.NoError(t, err)
		defer g.Close()
		for range 12 * 60 {
			for _, scope := range []string{"read", "write"} {
				grant, err := g.Acquire(t.Context(), tokenguard.Request{Scope: scope})
				if err == nil { // the second scope waits for the least interval between two starts
					assert.True(t, u.works(grant.Token))
					assert.Equal(t, scope, grant.Token.Scope())
				}
			}
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 2, u.signups)
		assert.Zero(t, u.twice(), "refresh tokens that were presented again")
		assert.Greater(t, u.presented(), 20)
	})
}
