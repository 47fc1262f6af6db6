package tokenguardtest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// signedUp is a client of an upstream, with an account.
type signedUp struct {
	*Upstream
	t     *testing.T
	clock *Clock
	base  string
	net   *http.Client
	first tokenguard.Token
}

func signUp(t *testing.T, u *Upstream) *signedUp {
	t.Helper()
	s := &signedUp{Upstream: u, t: t, clock: NewClock(noon), base: "http://upstream.example", net: u.Client()}
	u.Clock = s.clock
	var err error
	s.first, err = RequestFunc(s.net, s.base)(t.Context(), tokenguard.Request{})
	require.NoError(t, err)
	return s
}

// renew presents the refresh token of old.
func (s *signedUp) renew(old tokenguard.Token) (tokenguard.Token, Result) {
	s.t.Helper()
	token, err := RenewalFunc(s.net, s.base)(s.t.Context(), old)
	last := s.Presentations()[len(s.Presentations())-1]
	if err != nil {
		assert.Empty(s.t, token.Value())
	}
	return token, last.Result
}

func (s *signedUp) call(token tokenguard.Token) int {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+"/api", http.NoBody)
	require.NoError(s.t, err)
	r.Header.Set("Authorization", "Bearer "+token.Value())
	resp, err := s.net.Do(r)
	require.NoError(s.t, err)
	require.NoError(s.t, resp.Body.Close())
	return resp.StatusCode
}

func TestRotations(t *testing.T) {
	s := signUp(t, &Upstream{Rotation: RotateNever})
	again, result := s.renew(s.first)
	assert.Equal(t, Renewed, result)
	assert.Empty(t, again.RefreshToken(), "left out: it stays")
	assert.NotEqual(t, s.first.Value(), again.Value())
	assert.Equal(t, 200, s.call(s.first))
	assert.Equal(t, 200, s.call(again))
	_, result = s.renew(s.first)
	assert.Equal(t, Renewed, result)

	s = signUp(t, &Upstream{Rotation: RotateStrict})
	second, result := s.renew(s.first)
	assert.Equal(t, Renewed, result)
	assert.NotEqual(t, s.first.RefreshToken(), second.RefreshToken())
	_, result = s.renew(s.first)
	assert.Equal(t, Reused, result)
	_, result = s.renew(second)
	assert.Equal(t, WasRevoked, result, "the family is")
	assert.Equal(t, 200, s.call(second), "access tokens last")

	s = signUp(t, &Upstream{Rotation: RotateParent})
	second, _ = s.renew(s.first)
	s.clock.Advance(24 * time.Hour)
	recovered, result := s.renew(s.first)
	assert.Equal(t, Recovered, result)
	assert.Equal(t, second.RefreshToken(), recovered.RefreshToken(), "the active one")
	third, result := s.renew(recovered)
	assert.Equal(t, Renewed, result)
	_, result = s.renew(s.first)
	assert.Equal(t, Reused, result, "a grandparent")
	_, result = s.renew(third)
	assert.Equal(t, WasRevoked, result)

	s = signUp(t, &Upstream{Rotation: RotateLeeway, Leeway: 30 * time.Second})
	second, _ = s.renew(s.first)
	s.clock.Advance(30 * time.Second)
	recovered, result = s.renew(s.first)
	assert.Equal(t, Recovered, result)
	assert.Equal(t, second.RefreshToken(), recovered.RefreshToken())
	s.clock.Advance(1)
	_, result = s.renew(s.first)
	assert.Equal(t, Reused, result)
}

func TestBothExpiries(t *testing.T) {
	s := signUp(t, &Upstream{Rotation: RotateStrict, Lifetime: time.Hour, RefreshLifetime: 24 * time.Hour})
	s.clock.Advance(time.Hour)
	assert.Equal(t, 401, s.call(s.first))
	s.clock.Advance(23*time.Hour - 1)
	second, result := s.renew(s.first)
	require.Equal(t, Renewed, result)
	s.clock.Advance(24 * time.Hour)
	_, result = s.renew(second)
	assert.Equal(t, Expired, result)

	s = signUp(t, &Upstream{Rotation: RotateNever, RefreshLifetime: 24 * time.Hour})
	s.clock.Advance(24 * time.Hour)
	_, result = s.renew(s.first)
	assert.Equal(t, Expired, result)
}

func TestAccountsThatEnd(t *testing.T) {
	class := func(err error) tokenguard.Class {
		t.Helper()
		guard, gerr := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return tokenguard.Token{}, err })
		require.NoError(t, gerr)
		defer guard.Close()
		_, gerr = guard.Token(t.Context())
		failed, ok := errors.AsType[*tokenguard.RequestError](gerr)
		require.True(t, ok)
		return failed.Class
	}
	for name, c := range map[string]struct {
		do     func(*signedUp)
		result Result
		class  tokenguard.Class
		call   int
	}{
		"deleted":        {func(s *signedUp) { s.Delete() }, Deleted, tokenguard.ClassAuthInvalid, 401},
		"banned":         {func(s *signedUp) { s.Ban("account-1") }, Banned, tokenguard.ClassForbidden, 403},
		"revoked":        {func(s *signedUp) { s.RevokeRefresh("account-1") }, WasRevoked, tokenguard.ClassAuthInvalid, 200},
		"outage":         {func(s *signedUp) { s.SetOutage(true) }, Down, tokenguard.ClassTransient, 503},
		"renewal outage": {func(s *signedUp) { s.SetRenewalOutage(true) }, Down, tokenguard.ClassTransient, 200},
		"another":        {func(s *signedUp) { s.Ban("account-2") }, Renewed, "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := signUp(t, &Upstream{Rotation: RotateParent})
			c.do(s)
			_, err := RenewalFunc(s.net, s.base)(t.Context(), s.first)
			assert.Equal(t, c.result, s.Presentations()[0].Result)
			if c.class == "" {
				assert.NoError(t, err)
			} else {
				assert.Equal(t, c.class, class(err), err)
			}
			assert.Equal(t, c.call, s.call(s.first))
		})
	}
	s := signUp(t, &Upstream{Rotation: RotateParent})
	_, result := s.renew(tokenguard.NewToken("", time.Time{}).WithRefreshToken("made up", time.Time{}))
	assert.Equal(t, Unknown, result)
}

func TestCutAnswer(t *testing.T) {
	for _, over := range []string{"network", "client"} {
		t.Run(over, func(t *testing.T) {
			s := signUp(t, &Upstream{Rotation: RotateStrict})
			if over == "network" {
				server := httptest.NewServer(s.Upstream)
				defer server.Close()
				s.base, s.net = server.URL, server.Client()
			}
			s.CutAnswers(1)
			_, err := RenewalFunc(s.net, s.base)(t.Context(), s.first)
			require.Error(t, err)
			assert.Equal(t, []Presentation{{Began: noon, Ended: noon, Account: "account-1", RefreshToken: s.first.RefreshToken(), Generation: 1,
				Successor: "refresh-1-2", Result: Renewed, Cut: true, Address: s.Presentations()[0].Address}}, s.Presentations(), "presented once")
			assert.Equal(t, 1, s.Counts().Renewed)
			_, result := s.renew(s.first)
			assert.Equal(t, Reused, result)
		})
	}
}

func TestLimitPerAddress(t *testing.T) {
	u := &Upstream{Rotation: RotateNever, IssueLimit: 2, Clock: NewClock(noon)}
	from := func(address string) int {
		r := httptest.NewRequest(http.MethodPost, "/token", http.NoBody)
		if address != "" {
			r.Header.Set("X-Forwarded-For", address)
		}
		w := httptest.NewRecorder()
		u.ServeHTTP(w, r)
		return w.Code
	}
	for _, address := range []string{"198.51.100.1", "198.51.100.2, 203.0.113.9", ""} {
		assert.Equal(t, []int{200, 200, 429}, []int{from(address), from(address), from(address)}, address)
	}
	assert.Equal(t, 429, from("198.51.100.2"))
	assert.Equal(t, 6, u.Counts().Issued)
}

func TestQuotaOfAnAccount(t *testing.T) {
	s := signUp(t, &Upstream{Rotation: RotateNever, Quota: 2})
	second, _ := s.renew(s.first)
	assert.Equal(t, []int{200, 200, 429, 429}, []int{s.call(s.first), s.call(second), s.call(second), s.call(s.first)}, "a renewal is no new quota")
	s.ResetQuota()
	assert.Equal(t, 200, s.call(second))
}

// A presentation lasts as long as its answer takes, in a bubble without a clock of its own.
func TestPresentationsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &Upstream{Rotation: RotateNever}
		token, err := RequestFunc(u.Client(), "http://upstream.example")(t.Context(), tokenguard.Request{})
		require.NoError(t, err)
		u.SetLatency(time.Second)
		start := time.Now()
		_, err = RenewalFunc(u.Client(), "http://upstream.example")(t.Context(), token)
		require.NoError(t, err)
		p := u.Presentations()[0]
		assert.Equal(t, start, p.Began)
		assert.Equal(t, start.Add(time.Second), p.Ended)

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = RenewalFunc(u.Client(), "http://upstream.example")(ctx, token)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, u.Presentations(), 1, "the client left before it was handled")
	})
}

// A guard on each upstream: one account over its renewals, and over a cut answer where the upstream forgives it.
func TestAGuardKeepsItsAccount(t *testing.T) {
	for rotation, signUps := range map[Rotation]int{RotateNever: 1, RotateParent: 1, RotateLeeway: 1, RotateStrict: 2} {
		t.Run(string(rotation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &Upstream{Rotation: rotation, Leeway: time.Minute}
				guard, err := tokenguard.New(RequestFunc(u.Client(), "http://upstream.example"), tokenguard.WithRenewal(RenewalFunc(u.Client(), "http://upstream.example")))
				require.NoError(t, err)
				defer guard.Close()
				for hour := range 12 {
					if hour == 6 {
						u.CutAnswers(1)
					}
					for range 120 {
						_, _ = guard.Token(t.Context())
						time.Sleep(30 * time.Second)
					}
				}
				assert.Equal(t, signUps, u.Counts().Issued)
			})
		})
	}
}
