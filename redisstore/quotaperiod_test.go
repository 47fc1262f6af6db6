package redisstore

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"
	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// A quota period ends by the wall clock of the process, whatever the server's clock shows: a spent token, or account,
// comes back at the zone's midnight, and one call tries it.
func TestQuotaPeriodIsWallTime(t *testing.T) {
	la, err := time.LoadLocation("America/Los_Angeles")
	require.NoError(t, err)
	for name, policy := range map[string]*tokenguardtest.Upstream{
		"token":   {Quota: 1, Lifetime: 48 * time.Hour},
		"account": {Quota: 1, Lifetime: 50 * time.Minute, Rotation: tokenguardtest.RotateStrict}, // its value ends before midnight
	} {
		t.Run(name, func(t *testing.T) {
			skewed(t, policy, func(t *testing.T, w *accountWorld) {
				period := tokenguard.WithManager(tokenguard.ManagerConfig{QuotaPeriod: tokenguard.Daily(0, 0, la)})
				guards := []*tokenguard.Guard{w.renewing(period), w.renewing(period)}
				now := time.Now().In(la)
				midnight := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, la)
				time.Sleep(time.Until(midnight) - time.Hour)
				token, err := guards[0].Token(t.Context())
				require.NoError(t, err)
				time.Sleep(40 * time.Minute)
				spent := func() {
					t.Helper()
					require.NoError(t, guards[0].Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Limit: 1,
						Failure: tokenguard.Failure{StatusCode: 429, Message: "insufficient_quota: you exceeded your current quota"}}))
				}
				refusedUntil := func(end time.Time) {
					t.Helper()
					for _, g := range guards {
						w.refused(g, tokenguard.ReasonResetsSoon, end)
					}
				}
				spent()
				time.Sleep(time.Second) // the default of WithFreshness
				refusedUntil(midnight)
				time.Sleep(time.Until(midnight) - time.Second)
				refusedUntil(midnight)
				time.Sleep(time.Until(midnight) + tick)
				w.ResetQuota()
				served := 0
				for n := range 20 {
					got, err := guards[n%2].Token(t.Context())
					if err == nil {
						token, served = got, served+1
						continue
					}
					require.Equal(t, tokenguard.ReasonResetsSoon, reason(err), "%v", err)
				}
				require.Equal(t, 1, served, "one call tries it")
				require.NoError(t, guards[1].Report(t.Context(), tokenguard.Outcome{TokenID: token.ID()}))
				time.Sleep(time.Second)
				for _, g := range guards {
					got, err := g.Token(t.Context())
					require.NoError(t, err)
					require.True(t, got.Equal(token))
				}
				renewals := len(w.orderly())
				if policy.Rotation != "" {
					require.Equal(t, 1, renewals, "not before its reset, though its value had ended")
				}
				time.Sleep(time.Hour)
				token, err = guards[0].Token(t.Context())
				require.NoError(t, err)
				spent()
				midnight = midnight.AddDate(0, 0, 1)
				time.Sleep(time.Until(midnight) - time.Second)
				refusedUntil(midnight)
				require.Len(t, w.orderly(), 2*renewals)
				require.Equal(t, 1, w.Counts().Issued)
			})
		})
	}
}
