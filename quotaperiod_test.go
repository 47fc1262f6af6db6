package tokenguard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

func TestQuotaPeriodAsText(t *testing.T) {
	la, err := time.LoadLocation("America/Los_Angeles")
	require.NoError(t, err)
	for text, want := range map[string]tokenguard.QuotaPeriod{
		"daily 00:30 America/Los_Angeles": tokenguard.Daily(0, 30, la),
		"monthly 31 UTC":                  tokenguard.Monthly(31, time.UTC),
		"rolling 24h0m0s":                 tokenguard.Rolling(24 * time.Hour),
		"daily 09:00 UTC+05:30":           tokenguard.Daily(9, 0, time.FixedZone("", 19800)),
	} {
		got, err := tokenguard.ParsePeriod(text)
		require.NoError(t, err)
		assert.Equal(t, want.String(), got.String())
		assert.Equal(t, text, got.String())
		assert.False(t, got.IsZero())
		var config tokenguard.Config
		require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{"manager": {"quota_period": %q}}`, text), &config))
		assert.Equal(t, got.String(), config.Manager.QuotaPeriod.String())
		b, err := json.Marshal(tokenguard.Config{Manager: tokenguard.ManagerConfig{QuotaPeriod: want}})
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf(`{"manager":{"quota_period":%q}}`, text), string(b))
	}
	var none tokenguard.QuotaPeriod
	assert.True(t, none.IsZero())
	assert.Empty(t, none.String())
	require.NoError(t, none.UnmarshalText(nil))
	assert.True(t, none.IsZero())

	wrong := tokenguard.Daily(24, 0, time.UTC)
	assert.False(t, wrong.IsZero(), "or New would not see it")
	assert.Equal(t, "invalid: the hour is 24, from 0 to 23", wrong.String())
	_, err = json.Marshal(tokenguard.Config{Manager: tokenguard.ManagerConfig{QuotaPeriod: wrong}})
	assert.ErrorContains(t, err, "the hour is 24")
}

func TestQuotaPeriodThatCannotBe(t *testing.T) {
	_, err := tokenguard.ParsePeriod("daily 00:00 Mars/Olympus")
	assert.EqualError(t, err, `tokenguard: the quota period "daily 00:00 Mars/Olympus": the zone "Mars/Olympus" is not known here: either its name is wrong, `+
		`or there are no zone data (a program embeds them with import _ "time/tzdata"); want "daily HH:MM ZONE", "monthly DAY ZONE" or "rolling DURATION", `+
		`such as "daily 00:00 America/Los_Angeles"`)
	_, err = tokenguard.ParseConfig([]byte(`{"manager": {"quota_period": "daily 00:00 Mars/Olympus"}}`))
	e, ok := errors.AsType[*tokenguard.ConfigError](err)
	require.True(t, ok)
	assert.Equal(t, "manager.quota_period", e.Field)
	assert.Equal(t, 30, e.Column)
	assert.Contains(t, e.Value, `the zone "Mars/Olympus" is not known here`)
	_, err = tokenguard.New(nil, tokenguard.WithManager(tokenguard.ManagerConfig{QuotaPeriod: tokenguard.Monthly(1, nil)}))
	assert.ErrorContains(t, err, "manager.quota_period is not one (the zone is missing: name one, or UTC)")
}

// A spent account whose value has ended meanwhile is renewed when its period ends, and not before, and one call tries it.
func TestQuotaPeriodOfAnAccount(t *testing.T) {
	la, err := time.LoadLocation("America/Los_Angeles")
	require.NoError(t, err)
	for name, open := range map[string]func(t *testing.T) []tokenguard.Option{
		"memory": func(*testing.T) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithStore(tokenguard.NewMemoryStore()), tokenguard.WithName("guests")}
		},
		"file": func(t *testing.T) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithStateFile(t.TempDir() + "/state"), tokenguard.WithName("guests")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := tokenguardtest.NewClock(time.Date(2026, time.March, 7, 23, 0, 0, 0, la))
			u := &tokenguardtest.Upstream{Clock: clock, Rotation: tokenguardtest.RotateStrict, Lifetime: 50 * time.Minute, Quota: 1}
			store := open(t)
			process := func() *tokenguard.Guard {
				guard, err := tokenguard.New(tokenguardtest.RequestFunc(u.Client(), "http://upstream.example"), append([]tokenguard.Option{
					tokenguard.WithClock(clock), tokenguard.WithRenewal(tokenguardtest.RenewalFunc(u.Client(), "http://upstream.example")),
					tokenguard.WithManager(tokenguard.ManagerConfig{QuotaPeriod: tokenguard.Daily(0, 0, la)})}, store...)...)
				require.NoError(t, err)
				return guard
			}
			one, two := process(), process()
			defer func() { _, _ = one.Close(), two.Close() }()
			token, err := one.Token(t.Context())
			require.NoError(t, err)
			clock.Advance(40 * time.Minute)
			require.NoError(t, one.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Limit: 1,
				Failure: tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}}))
			refused := func(guard *tokenguard.Guard, until time.Time) {
				t.Helper()
				_, err := guard.Token(t.Context())
				e, ok := errors.AsType[*tokenguard.RefusedError](err)
				require.True(t, ok, err)
				assert.Equal(t, tokenguard.ReasonResetsSoon, e.Verdict.Reason)
				assert.Equal(t, until.UTC(), e.Verdict.RetryAt.UTC())
			}
			midnight := time.Date(2026, time.March, 8, 0, 0, 0, 0, la)
			refused(one, midnight)
			clock.Advance(15 * time.Minute)
			require.NoError(t, one.Close())
			one = process()
			refused(one, midnight)
			refused(two, midnight)
			assert.Zero(t, u.Counts().Renewed, "a spent account is not renewed before its reset, though its value has ended")

			clock.Set(midnight)
			u.ResetQuota()
			served := 0
			for n := range 20 {
				guard := []*tokenguard.Guard{one, two}[n%2]
				if got, err := guard.Token(t.Context()); err == nil {
					served, token = served+1, got
				} else {
					refused(guard, midnight.Add(time.Minute))
				}
			}
			assert.Equal(t, 1, served, "one call tries it")
			assert.Equal(t, 1, u.Counts().Renewed)
			require.NoError(t, two.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
			for range 3 {
				for _, guard := range []*tokenguard.Guard{one, two} {
					got, err := guard.Token(t.Context())
					require.NoError(t, err)
					assert.True(t, got.Equal(token))
				}
			}
			assert.Equal(t, 1, u.Counts().Issued)

			// Spent again on the day with 23 hours, through its renewals.
			clock.Advance(time.Hour)
			token, err = one.Token(t.Context())
			require.NoError(t, err)
			require.NoError(t, one.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Limit: 1,
				Failure: tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}}))
			clock.Set(midnight.Add(22*time.Hour + 59*time.Minute))
			refused(one, midnight.Add(23*time.Hour))
		})
	}
}

// A personal token comes back as well, on either kind of store, in whatever process, and also where its source gives the
// same value anew.
func TestQuotaPeriodOfThePersonalToken(t *testing.T) {
	la, err := time.LoadLocation("America/Los_Angeles")
	require.NoError(t, err)
	for name, open := range map[string]func(t *testing.T) []tokenguard.Option{
		"memory": func(*testing.T) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithStore(tokenguard.NewMemoryStore()), tokenguard.WithName("guests")}
		},
		"file": func(t *testing.T) []tokenguard.Option {
			return []tokenguard.Option{tokenguard.WithStateFile(t.TempDir() + "/state"), tokenguard.WithName("guests")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			midnight := time.Date(2026, time.March, 8, 0, 0, 0, 0, la)
			clock := &handClock{now: midnight.Add(-time.Hour)}
			store := open(t)
			process := func() *tokenguard.Guard {
				guard, err := tokenguard.New(issuing("anonymous", 48*time.Hour), append([]tokenguard.Option{tokenguard.WithClock(clock),
					tokenguard.WithManager(tokenguard.ManagerConfig{QuotaPeriod: tokenguard.Daily(0, 0, la)}),
					tokenguard.WithPersonalToken(func(context.Context) (tokenguard.Token, error) {
						return tokenguard.NewTokenIn("mine", 30*time.Minute), nil
					})}, store...)...)
				require.NoError(t, err)
				return guard
			}
			one, two := process(), process()
			defer func() { _, _ = one.Close(), two.Close() }()
			spend := func() {
				t.Helper()
				grant, err := one.Acquire(t.Context(), tokenguard.Request{})
				require.NoError(t, err)
				require.Equal(t, tokenguard.SourcePersonal, grant.Source)
				require.NoError(t, one.Report(t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID(), Failure: noneLeft}))
			}
			refused := func(guard *tokenguard.Guard, until time.Time) {
				t.Helper()
				_, err := guard.Acquire(t.Context(), tokenguard.Request{Kind: tokenguard.Personal})
				e, ok := errors.AsType[*tokenguard.RefusedError](err)
				require.True(t, ok, err)
				assert.Equal(t, tokenguard.ReasonPersonalUnavailable, e.Verdict.Reason)
				assert.Equal(t, until.UTC(), e.Verdict.RetryAt.UTC())
				grant, err := guard.Acquire(t.Context(), tokenguard.Request{})
				require.NoError(t, err)
				assert.Equal(t, "anonymous", grant.Token.Value())
			}
			spend()
			clock.move(50 * time.Minute)
			require.NoError(t, one.Close())
			one = process()
			refused(one, midnight)
			refused(two, midnight)

			clock.set(midnight)
			served := 0
			for n := range 20 {
				guard := []*tokenguard.Guard{one, two}[n%2]
				if grant, err := guard.Acquire(t.Context(), tokenguard.Request{Kind: tokenguard.Personal}); err == nil {
					served++
					assert.Contains(t, grant.Verdict().Detail, "this call tries it")
				} else {
					refused(guard, midnight.Add(time.Minute))
				}
			}
			assert.Equal(t, 1, served, "one call tries it")
			clock.move(time.Minute)
			grant, err := two.Acquire(t.Context(), tokenguard.Request{})
			require.NoError(t, err)
			assert.Equal(t, "mine", grant.Token.Value(), "nothing was reported")
			refused(one, midnight.Add(2*time.Minute))
			require.NoError(t, two.Report(t.Context(), tokenguard.Outcome{TokenID: grant.Token.ID()}))
			for range 3 {
				for _, guard := range []*tokenguard.Guard{one, two} {
					grant, err := guard.Acquire(t.Context(), tokenguard.Request{})
					require.NoError(t, err)
					assert.Equal(t, "mine", grant.Token.Value())
				}
			}

			spend() // on the day with 23 hours
			clock.set(midnight.Add(22*time.Hour + 59*time.Minute))
			refused(one, midnight.Add(23*time.Hour))
		})
	}
}

// What holds for the account that is renewed holds for a token without one, and for each of several that a key has.
func TestQuotaPeriodOfSeveralTokens(t *testing.T) {
	midnight := time.Date(2026, time.March, 8, 0, 0, 0, 0, time.UTC)
	for name, store := range map[string][]tokenguard.Option{
		"memory": {tokenguard.WithStore(tokenguard.NewMemoryStore()), tokenguard.WithName("guests")},
		"file":   {tokenguard.WithStateFile(t.TempDir() + "/state"), tokenguard.WithName("guests")},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &handClock{now: midnight.Add(-time.Hour)}
			process := func() *tokenguard.Guard {
				guard, err := tokenguard.New(failing(serverDown), append([]tokenguard.Option{tokenguard.WithClock(clock),
					tokenguard.WithManager(tokenguard.ManagerConfig{QuotaPeriod: tokenguard.Daily(0, 0, time.UTC)})}, store...)...)
				require.NoError(t, err)
				return guard
			}
			guard := process()
			for _, value := range []string{"first", "second"} {
				require.NoError(t, guard.Adopt(t.Context(), tokenguard.NewToken(value, midnight.Add(48*time.Hour))))
				clock.move(time.Minute)
			}
			for _, value := range []string{"first", "second"} {
				require.NoError(t, guard.Report(t.Context(), tokenguard.Outcome{TokenID: tokenguard.TokenID(value), Failure: noneLeft}))
			}
			require.NoError(t, guard.Close())
			guard = process()
			defer func() { _ = guard.Close() }()
			refused := func(until time.Time) {
				t.Helper()
				_, err := guard.Token(t.Context())
				e, ok := errors.AsType[*tokenguard.RefusedError](err)
				require.True(t, ok, err)
				assert.Equal(t, tokenguard.ReasonResetsSoon, e.Verdict.Reason)
				assert.Equal(t, until.UTC(), e.Verdict.RetryAt.UTC())
			}
			clock.set(midnight.Add(-time.Minute))
			refused(midnight)
			clock.set(midnight)
			tried := map[string]int{}
			for range 2 {
				token, err := guard.Token(t.Context())
				require.NoError(t, err)
				tried[token.Value()]++
			}
			assert.Equal(t, map[string]int{"first": 1, "second": 1}, tried, "each by one call")
			for range 3 {
				refused(midnight.Add(time.Minute))
			}
		})
	}
}

func ExampleParsePeriod() {
	period, err := tokenguard.ParsePeriod("daily 00:00 America/Los_Angeles")
	fmt.Println(period, err)
	// Output: daily 00:00 America/Los_Angeles <nil>
}
