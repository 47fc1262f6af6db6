package tokenguard_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
)

// "All that must outlive a process is one small document": whatever state a guard is in, one that opens its state later
// or stands beside it decides the same, at once and as time goes on.
func TestAcceptEveryStateOutlivesItsProcess(t *testing.T) {
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
