package guardui_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
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

// breakable is a store that can go away.
type breakable struct {
	tokenguard.Store
	away atomic.Bool
}

var errAway = errors.New("connection refused")

func (b *breakable) View(ctx context.Context, name string) (tokenguard.Snapshot, error) {
	if b.away.Load() {
		return tokenguard.Snapshot{}, errAway
	}
	return b.Store.View(ctx, name)
}

func (b *breakable) Update(ctx context.Context, name string, fn func(tokenguard.Snapshot) ([]byte, error)) (tokenguard.Snapshot, error) {
	if b.away.Load() {
		return tokenguard.Snapshot{}, errAway
	}
	return b.Store.Update(ctx, name, fn)
}

// scene is a guard that can be put into any state.
type scene struct {
	*tokenguard.Guard
	*testing.T
	clock *tokenguardtest.Clock
	store *breakable
	hold  atomic.Pointer[chan struct{}] // acquisitions wait until it is closed
}

func newScene(t *testing.T, replies ...tokenguardtest.Reply) *scene {
	t.Helper()
	return newSceneWith(t, nil, replies...)
}

func newSceneWith(t *testing.T, opts []tokenguard.Option, replies ...tokenguardtest.Reply) *scene {
	t.Helper()
	clock := tokenguardtest.NewClock(time.Time{})
	store := &breakable{Store: tokenguard.NewMemoryStore()}
	s, script := &scene{T: t, clock: clock, store: store}, tokenguardtest.NewScript(clock, replies...)
	guard, err := tokenguard.New(func(ctx context.Context, req tokenguard.Request) (tokenguard.Token, error) {
		if hold := s.hold.Load(); hold != nil {
			<-*hold
		}
		return script.Request(ctx, req)
	}, append(opts, tokenguard.WithClock(clock), tokenguard.WithStore(store), tokenguard.WithName("scene"))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = guard.Close() })
	s.Guard = guard
	return s
}

func (s *scene) acquire() tokenguard.Token {
	s.Helper()
	grant, err := s.Acquire(s.Context(), tokenguard.Request{})
	require.NoError(s, err)
	return grant.Token
}

// fails reports that a call with the token was refused.
func (s *scene) fails(token tokenguard.Token, f tokenguard.Failure) {
	s.Helper()
	require.NoError(s, s.Report(s.Context(), tokenguard.Outcome{TokenID: token.ID(), Failure: f}))
}

// tried asks for a token that there is none of.
func (s *scene) tried() {
	s.Helper()
	_, err := s.Acquire(s.Context(), tokenguard.Request{})
	require.Error(s, err)
}

var failing = tokenguardtest.Reply{Err: tokenguardtest.ErrScripted}

// Every state that a guard can be in has one verdict: what the page says of a token, of an acquisition, and what Stats
// says, agree, and so do the rule and the countdown.
func TestOneVerdictInEveryState(t *testing.T) {
	short, long := tokenguardtest.Reply{Lifetime: 10 * time.Minute}, tokenguardtest.Reply{Lifetime: 10 * time.Hour}
	tests := []struct {
		name        string
		replies     []tokenguardtest.Reply
		happens     func(s *scene)
		token       string // the answer
		acquisition string
		rule        tokenguard.Reason // that Stats names
		countdown   string
		not         string // is nowhere on the page
	}{
		{name: "fresh", happens: func(*scene) {}, token: "Yes: the next call acquires one", acquisition: "Yes, now", not: "level"},
		{name: "healthy, just acquired", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) { s.acquire() },
			token: "Yes, at once", acquisition: "No, not before 1 Jan 00:05:00 UTC", rule: "min_interval", countdown: "An acquisition could start in 5 min"},
		{name: "healthy", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) { s.acquire(); s.clock.Advance(time.Hour) },
			token: "Yes, at once", acquisition: "Yes, but none is needed"},
		{name: "spent young", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) {
			token := s.acquire()
			s.fails(token, spent)
			s.clock.Advance(6 * time.Minute)
			s.fails(token, spent)
		}, token: "No, not before 1 Jan 00:30:00 UTC", acquisition: "No, not before 1 Jan 00:30:00 UTC", rule: "token_too_new", countdown: "A token can be had in 24 min", not: "used up at about"},
		{name: "spent old", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) {
			token := s.acquire()
			s.clock.Advance(time.Hour)
			s.fails(token, spent)
			s.clock.Advance(2 * time.Minute)
			s.fails(token, spent)
		}, token: "Yes: the next call acquires one", acquisition: "Yes, now"},
		{name: "expired within the interval", replies: []tokenguardtest.Reply{{Lifetime: 2 * time.Minute}}, happens: func(s *scene) { s.acquire(); s.clock.Advance(3 * time.Minute) },
			token: "No, not before 1 Jan 00:05:00 UTC", acquisition: "No, not before 1 Jan 00:05:00 UTC", rule: "min_interval", countdown: "A token can be had in 2 min", not: "calls of the last"},
		{name: "backing off", replies: []tokenguardtest.Reply{short, failing}, happens: func(s *scene) {
			s.acquire()
			s.clock.Advance(15 * time.Minute)
			s.tried()
		}, token: "No, not before 1 Jan 00:25:00 UTC", acquisition: "No, not before 1 Jan 00:25:00 UTC", rule: "backoff", countdown: "A token can be had in 10 min", not: "99.2"},
		{name: "the hour is used up", replies: []tokenguardtest.Reply{short, short, short}, happens: func(s *scene) {
			for range 3 {
				s.acquire()
				s.clock.Advance(11 * time.Minute)
			}
		}, token: "No, not before 1 Jan 01:00:00 UTC", acquisition: "No, not before 1 Jan 01:00:00 UTC", rule: "hour_limit", countdown: "A token can be had in 27 min"},
		{name: "paused by the upstream", replies: []tokenguardtest.Reply{{Failure: tokenguard.Failure{StatusCode: 429, Message: "slow down", Header: http.Header{"Retry-After": {"7200"}}}}},
			happens: func(s *scene) { s.tried() }, token: "No, not before 1 Jan 02:00:00 UTC", acquisition: "No, not before 1 Jan 02:00:00 UTC", rule: "retry_after", countdown: "A token can be had in 2 h"},
		{name: "in progress", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) {
			hold, done := make(chan struct{}), make(chan struct{})
			s.hold.Store(&hold)
			events := s.Subscribe(s.Context())
			go func() { defer close(done); _, _ = s.Acquire(s.Context(), tokenguard.Request{}) }()
			<-events // it has started
			s.Cleanup(func() { close(hold); <-done })
		}, token: "In a moment: an acquisition is in progress", acquisition: "One is in progress", rule: "joined", countdown: "The acquisition ends in"},
		{name: "store away with a token", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) { s.acquire(); s.clock.Advance(time.Hour); s.store.away.Store(true) },
			token: "Yes, from the cache", acquisition: "No: the state cannot be read", rule: "store_unavailable"},
		{name: "store away without one", replies: []tokenguardtest.Reply{short}, happens: func(s *scene) { s.acquire(); s.clock.Advance(time.Hour); s.store.away.Store(true) },
			token: "No: the state cannot be read", acquisition: "No: the state cannot be read", rule: "store_unavailable"},
		{name: "closed", replies: []tokenguardtest.Reply{long}, happens: func(s *scene) { s.acquire(); _ = s.Close() },
			token: "No: this guard is closed", acquisition: "No: this guard is closed", rule: "closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, tt.replies...)
			tt.happens(s)
			body := ask(guardui.New(s.Guard), "/").Body.String()
			var answers []string
			for _, m := range regexp.MustCompile(`(?s)<div class="card.*?<p class="answer">(.*?)</p>`).FindAllStringSubmatch(body, -1) {
				answers = append(answers, text(m[1]))
			}
			assert.Equal(t, []string{tt.token, tt.acquisition}, answers)
			stats := s.Stats().Limiter
			assert.Equal(t, tt.rule, stats.Binding)
			assert.Equal(t, strings.HasPrefix(tt.acquisition, "Yes"), stats.Open, "Stats agrees")
			if _, at, found := strings.Cut(tt.acquisition, "not before "); found {
				assert.Equal(t, at, stats.NextAllowed.UTC().Format("2 Jan 15:04:05 UTC"))
				assert.Contains(t, text(body), string(tt.rule))
			}
			count := regexp.MustCompile(`(?s)<div id="countdown">(.*?)</div>`).FindStringSubmatch(body)[1]
			if tt.countdown == "" {
				assert.NotContains(t, count, "timer")
			} else {
				assert.Contains(t, text(count), tt.countdown)
			}
			if tt.not != "" {
				assert.NotContains(t, text(body), tt.not)
			}
			assert.NotRegexp(t, `\d{4}-\d\d-\d\dT`, text(body), "one form of instants")
			assert.NotContains(t, text(body), "since the state was lost", "it was not")
			unread := strings.Contains(body, "the state cannot be read")
			assert.Equal(t, unread, strings.Contains(body, "While the state cannot be read there are no plots"))
			assert.Equal(t, unread, !strings.Contains(body, "The hour: "))
			if tt.name == "closed" {
				assert.NotContains(t, text(body), "Advice", "nobody can follow it")
				assert.NotContains(t, text(body), "No operation has reported anything")
			}
		})
	}
}

// A refusal closes its scope and holds nothing else back: the page does not call that no failure.
func TestRefusalsOfAScope(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Failure: tokenguard.Failure{StatusCode: 400, Message: `{"error":"invalid_grant"}`}})
	s.tried()
	body := text(ask(guardui.New(s.Guard), "/").Body.String())
	assert.Contains(t, body, "limiter: backoff refusals of this scope in a row: 1")
	assert.Contains(t, body, "Failures in a row 0 that would hold back the whole guard The default scope alone refusals of this scope in a row: 1")
	body = text(ask(guardui.New(s.Guard), "/?scope=eu").Body.String())
	assert.Contains(t, body, "Failures in a row 0 that would hold back the whole guard Last failure")
}

// Where a process keeps to its share of the limits in an outage, the page does not say that nothing may start.
func TestOutageWithAShare(t *testing.T) {
	s := newSceneWith(t, []tokenguard.Option{tokenguard.WithFailOpenToLocalShare(1)}, tokenguardtest.Reply{Lifetime: 10 * time.Minute})
	s.acquire()
	s.clock.Advance(2 * time.Hour)
	s.store.away.Store(true)
	body := text(ask(guardui.New(s.Guard), "/").Body.String())
	assert.Contains(t, body, "Can a caller have a token now? Yes: the next call acquires one")
	assert.Contains(t, body, "Could a new acquisition start? Yes, now")
	assert.Contains(t, body, "it keeps to its share of the limits")
	assert.NotContains(t, body, "nothing new is acquired")
}

// What was saved are acquisitions of callers that got a token: an outage saves nothing.
func TestSavingsLeaveRefusedCallersOut(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Lifetime: 10 * time.Minute}, failing)
	for range 4 {
		s.acquire()
	}
	saved := func() string {
		return regexp.MustCompile(`(\S+ %) saved of (\d+) served`).FindString(text(ask(guardui.New(s.Guard), "/").Body.String()))
	}
	before := saved()
	assert.Equal(t, "75.0 % saved of 4 served", before)
	s.clock.Advance(15 * time.Minute)
	for range 100 {
		s.tried()
	}
	assert.Equal(t, before, saved())
	assert.Greater(t, s.Stats().Calls.FilterRate, 0.9, "the share that started none rises")
}

func TestWhoUsesTheBudget(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Lifetime: 10 * time.Minute}, failing)
	page := guardui.New(s.Guard)
	assert.Contains(t, text(ask(page, "/").Body.String()), "nobody yet")
	for range 3 {
		_, err := s.Acquire(t.Context(), tokenguard.Request{Scope: "eu", Caller: "billing"})
		require.NoError(t, err)
	}
	for range 2 {
		_, err := s.Acquire(t.Context(), tokenguard.Request{Scope: "us", Caller: "search"})
		require.Error(t, err)
	}
	body := text(ask(page, "/").Body.String())
	assert.Contains(t, body, "By scope Scope Acquisitions, 24 h Refused From the cache eu 1 0 2 us 0 2 0")
	assert.Contains(t, body, "By operation Operation Acquisitions, 24 h Refused billing 1 0 search 0 2")
}

// A page that answers for one scope says what callers of the others in use are told, and how to ask for them.
func TestOtherScopes(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Lifetime: 10 * time.Minute}, failing)
	page := guardui.New(s.Guard)
	for _, scope := range []string{"eu", "us & them"} {
		_, _ = s.Acquire(t.Context(), tokenguard.Request{Scope: scope})
	}
	html := ask(page, "/").Body.String()
	assert.Contains(t, text(html), "Can a caller have a token now? (the default scope) No, not before 1 Jan 00:05:00 UTC")
	assert.Contains(t, text(html), "Other scopes in use: eu : Yes, at once; us & them : No, not before 1 Jan 00:05:00 UTC .")
	assert.Contains(t, html, `href="./?scope=us&#43;%26&#43;them"`)
	body := text(ask(page, "/?scope=eu").Body.String())
	assert.Contains(t, body, "Can a caller have a token now? (scope eu ) Yes, at once")
	assert.Contains(t, body, "The other scope in use: us & them : No, not before")
	assert.Contains(t, body, "Since the state was made: 1 acquisition, 1 succeeded.")
	assert.Contains(t, body, "Nobody waits now. 1 token is cached (at most 100 are kept); 1 can go to operations that are not barred from it.")

	require.NoError(t, s.Close())
	assert.NotContains(t, text(ask(page, "/").Body.String()), "in use:", "a closed guard answers for none")
}

// The page says which operations the upstream wants to hear nothing of, for as long as that holds.
func TestPausesOfOperations(t *testing.T) {
	s := newScene(t, tokenguardtest.Reply{Lifetime: 10 * time.Hour})
	token, err := s.Token(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Report(t.Context(), tokenguard.Outcome{TokenID: token.ID(), Caller: "<chat>",
		Failure: tokenguard.Failure{StatusCode: 429, Message: "slow down", Header: http.Header{"Retry-After": {"7200"}}}}))
	page := guardui.New(s.Guard)
	assert.Regexp(t, "The upstream wants to hear nothing of operation .*chat.* until .*, in 2 h", text(ask(page, "/").Body.String()))
	assert.NotContains(t, text(ask(page, "/?scope=eu").Body.String()), "wants to hear nothing")
	s.clock.Advance(2 * time.Hour)
	assert.NotContains(t, text(ask(page, "/").Body.String()), "wants to hear nothing")
}
