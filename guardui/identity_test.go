package guardui_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenguard/tokenguard"
	"github.com/tokenguard/tokenguard/guardui"
	"github.com/tokenguard/tokenguard/tokenguardtest"
)

// guests is a guard whose accounts are renewed: values of an hour, and renewals that fail with what fail says.
func guests(t *testing.T, store tokenguard.Store) (g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
	t.Helper()
	clock, fail = tokenguardtest.NewClock(time.Time{}), new(atomic.Pointer[tokenguard.Failure])
	serial := 0
	issue := func() tokenguard.Token {
		serial++
		return tokenguard.NewToken(fmt.Sprint("guest value ", serial), clock.Now().Add(time.Hour)).WithRefreshToken(fmt.Sprint("refresh ", serial), time.Time{})
	}
	g, err := tokenguard.New(func(context.Context, tokenguard.Request) (tokenguard.Token, error) { return issue(), nil },
		tokenguard.WithClock(clock), tokenguard.WithName("guests"), tokenguard.WithStore(store),
		tokenguard.WithRenewal(func(context.Context, tokenguard.Token) (tokenguard.Token, error) {
			if f := fail.Load(); f != nil {
				return tokenguard.Token{}, tokenguard.Failed(*f)
			}
			return issue(), nil
		}))
	require.NoError(t, err)
	t.Cleanup(func() { _ = g.Close() })
	return g, clock, fail
}

// What the page says of an account in each of its states, in the verdict and in the list, and that it contradicts neither
// Stats nor the two other verdicts.
func TestAccountVerdicts(t *testing.T) {
	down, gone := tokenguard.Failure{StatusCode: 503, Message: "down"}, tokenguard.Failure{StatusCode: 400, Message: `{"error":"invalid_grant"}`}
	banned := tokenguard.Failure{StatusCode: 403, Message: "USER_DISABLED"}
	tests := []struct {
		name    string
		happens func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure])
		token   string
		account string
		says    []string // the page, elsewhere
	}{
		{"living", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, _ *atomic.Pointer[tokenguard.Failure]) {
			clock.Advance(10 * time.Minute)
		},
			"Yes, at once", "Yes; its next renewal is due 1 Jan 00:55:00 UTC",
			[]string{"1 account alive as far as is known; renewals begun in the last hour: 0 of 60", "in 45 min, by the next call that needs it", "is 10 min old"}},
		{"due", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, _ *atomic.Pointer[tokenguard.Failure]) {
			clock.Advance(2 * time.Hour)
		},
			"Yes: the next call renews the account's token", "Yes; its renewal is due", []string{"now, by the next call that needs it"}},
		{"renewed", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, _ *atomic.Pointer[tokenguard.Failure]) {
			clock.Advance(56 * time.Minute)
			_, _ = g.Token(t.Context())
			clock.Advance(4 * time.Minute)
		}, "Yes, at once", "Yes; its next renewal is due 1 Jan 01:51:00 UTC",
			[]string{"begun in the last hour: 1 of 60", "the last at 1 Jan 00:56:00 UTC", "1 renewal succeeded, 0 failed"}},
		{"backing off", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
			fail.Store(&down)
			clock.Advance(61 * time.Minute)
			_, _ = g.Token(t.Context())
		}, "No, not before 1 Jan 01:01:05 UTC", "Not known: it cannot be renewed before 1 Jan 01:01:05 UTC",
			[]string{"renewal backing off", "the last renewal failed at 1 Jan 01:01:00 UTC: 503: down"}},
		{"backing off beside a token", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
			fail.Store(&down)
			clock.Advance(56 * time.Minute)
			_, _ = g.Token(t.Context())
		}, "Yes, at once", "Not known: it cannot be renewed before 1 Jan 00:56:05 UTC", []string{"The next renewal may start in 5 s"}},
		{"banned", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
			fail.Store(&banned)
			clock.Advance(56 * time.Minute)
			_, _ = g.Token(t.Context())
		}, "Yes, at once", "Not known: it cannot be renewed before 1 Jan 01:56:00 UTC", []string{"renewal closed", "(forbidden): 403: USER_DISABLED"}},
		{"dead, its token lives", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
			fail.Store(&gone)
			clock.Advance(56 * time.Minute)
			_, _ = g.Token(t.Context())
		}, "Yes, at once", "No: dead since 1 Jan 00:56:00 UTC",
			[]string{"the upstream no longer knew it: 400:", "invalid_grant", "its token serves until 1 Jan 01:00:00 UTC; after that another account is acquired, as soon as an acquisition may start", "0 accounts alive as far as is known", "1 account ended", "never"}},
		{"dead, its token too", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
			fail.Store(&gone)
			clock.Advance(56 * time.Minute)
			_, _ = g.Token(t.Context())
			clock.Advance(5 * time.Minute)
		}, "No, not before 1 Jan 01:56:00 UTC", "No: dead since 1 Jan 00:56:00 UTC", []string{"another account is acquired as soon as an acquisition may start"}},
		{"cleared", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, fail *atomic.Pointer[tokenguard.Failure]) {
			fail.Store(&down)
			clock.Advance(56 * time.Minute)
			_, _ = g.Token(t.Context())
			_ = g.Clear(t.Context(), tokenguard.Clear{Identity: g.Stats().Renewals.Identities[0].ID})
		}, "Yes: the next call acquires one", "No: dead since 1 Jan 00:56:00 UTC", []string{"an operator cleared it at 1 Jan 00:56:00 UTC"}},
		{"spent", func(g *tokenguard.Guard, clock *tokenguardtest.Clock, _ *atomic.Pointer[tokenguard.Failure]) {
			id := g.Stats().Cache.Tokens[0].ID
			f := tokenguard.Failure{StatusCode: 402, Message: "quota exhausted"}
			clock.Advance(20 * time.Minute)
			_ = g.Report(t.Context(), tokenguard.Outcome{TokenID: id, Failure: f})
			clock.Advance(2 * time.Minute)
			_ = g.Report(t.Context(), tokenguard.Outcome{TokenID: id, Failure: f})
		}, "No, not before 1 Jan 00:30:00 UTC", "Yes, but its quota is spent", []string{"its quota has been spent since 1 Jan 00:20:00 UTC; it is not renewed before its reset"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, clock, fail := guests(t, tokenguard.NewMemoryStore())
			_, err := g.Token(t.Context())
			require.NoError(t, err)
			tt.happens(g, clock, fail)
			body := ask(guardui.New(g), "/").Body.String()
			var answers []string
			for _, m := range regexp.MustCompile(`(?s)<div class="card.*?<p class="answer">(.*?)</p>`).FindAllStringSubmatch(body, -1) {
				answers = append(answers, text(m[1]))
			}
			require.Len(t, answers, 3)
			assert.Equal(t, []string{tt.token, tt.account}, []string{answers[0], answers[2]})
			for _, want := range append(tt.says, "Accounts and their renewals") {
				assert.Contains(t, text(body), want)
			}
			assert.NotRegexp(t, `\d{4}-\d\d-\d\dT`, text(body), "one form of instants")
			assert.NotContains(t, body, "guest value")
			assert.NotContains(t, body, "refresh 1")
		})
	}
}

// A guard that renews nothing says nothing of accounts.
func TestNoAccounts(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Lifetime: time.Hour})
	s.acquire()
	body := ask(guardui.New(s.Guard), "/").Body.String()
	assert.NotContains(t, body, "Is the account alive?")
	assert.NotContains(t, body, "Accounts and their renewals")
}

// What each operation has said of each token, and whether it is barred from it, in plain words.
func TestEvidenceIsShown(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Lifetime: 10 * time.Hour})
	assert.Contains(t, text(ask(guardui.New(s.Guard), "/").Body.String()), "No operation has reported anything of a token of the default scope.")
	token := s.acquire()
	s.clock.Advance(20 * time.Minute)
	say := func(caller string, f tokenguard.Failure) {
		require.NoError(t, s.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: caller, Failure: f}))
	}
	say("get health", tokenguard.Failure{})
	say("post chat", tokenguard.Failure{StatusCode: 401, Message: "invalid token"})
	say("get quota", tokenguard.Failure{StatusCode: 429, Message: "quota exhausted", Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"7200"}}})
	s.clock.Advance(time.Minute)
	body := ask(guardui.New(s.Guard), "/").Body.String()
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)<tr><th scope="row">`+token.ID()+`.*?</tr>`).FindAllString(body, -1) {
		for _, name := range []string{"get health", "post chat", "get quota"} {
			if regexp.MustCompile(regexp.QuoteMeta(name)).MatchString(text(m)) {
				rows[name] = text(m)
			}
		}
	}
	assert.Contains(t, rows["get health"], "1 Jan 00:20:00 UTC 1 in all no none stated not barred")
	assert.Contains(t, rows["post chat"], "none for auth, 1 Jan 00:20:00 UTC none stated barred handed to it as a last resort alone")
	assert.Contains(t, rows["get quota"], "none for quota, 1 Jan 00:20:00 UTC spent for it 1 Jan 02:20:00 UTC as the upstream stated barred")
	link := regexp.MustCompile(`href="\./(\?[^"]*caller=get&#43;quota[^"]*|\?[^"]*caller=get\+quota[^"]*)#explain"`).FindStringSubmatch(body)
	require.NotNil(t, link)
	assert.Contains(t, text(ask(guardui.New(s.Guard), "/"+link[1]).Body.String()), "get quota")
}

// Where accounts are renewed, who had them renewed is shown beside who used the budget.
func TestWhoRenews(t *testing.T) {
	g, clock, _ := guests(t, tokenguard.NewMemoryStore())
	for _, caller := range []string{"signup", "billing", "billing"} {
		_, err := g.Acquire(t.Context(), tokenguard.Request{Scope: "eu", Caller: caller})
		require.NoError(t, err)
		clock.Advance(58 * time.Minute)
	}
	body := text(ask(guardui.New(g), "/").Body.String())
	assert.Contains(t, body, "By scope Scope Acquisitions, 24 h Renewals Refused From the cache eu 1 2 0 0")
	assert.Contains(t, body, "By operation Operation Acquisitions, 24 h Renewals Refused signup 1 0 0 billing 0 2 0")
	assert.Contains(t, body, "renewed the account's token was renewed 2 66.7 %")
	shares := regexp.MustCompile(` (\d+) (\d+\.\d) %`).FindAllStringSubmatch(body[strings.Index(body, "Answer Calls Share"):strings.Index(body, "Nobody waits")], -1)
	calls := 0
	for _, m := range shares {
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		calls += n
	}
	assert.Equal(t, 3, calls, "each call stands in one row: %v", shares)
}
